"""Making a block without initialising its parameters."""

from __future__ import annotations

from typing import Any

from kuai.nn.module import Module


def skip_init(module_cls: type[Any], *args: Any, **kwargs: Any) -> Any:
    """A block whose parameters and buffers are not initialised.

    Args:
        module_cls: the block's class, whose constructor takes `device`.
        *args: the constructor's arguments.
        **kwargs: the constructor's keyword arguments.

    Raises:
        RuntimeError: `module_cls` is no block's class, or takes no `device`.
    """
    import inspect

    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    device = kwargs.get("device", "cpu")
    return module_cls(*args, **kwargs).to_empty(device=device)


__all__ = ["skip_init"]
