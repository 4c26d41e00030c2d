"""Calling a block with other parameters than its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kuai.core.base import TensorBase
from kuai.nn import registry
from kuai.nn.module import Module
from kuai.tensor import Tensor

_MISSING: Any = object()


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a block with other tensors in the place of its parameters and buffers.

    Args:
        module: the block.
        parameters_and_buffers: the tensors by name, as in `named_parameters`. What the block
            puts in their place while it runs is found here afterwards.
        args: the arguments, as a tuple, or one argument.
        kwargs: the keyword arguments.
        tie_weights: whether a tensor given for one name of a shared parameter stands for all.
        strict: whether every parameter and buffer has to be given, and nothing else.

    Returns:
        What the block returns.

    Raises:
        RuntimeError: names are missing or unknown, and `strict` is set.
        ValueError: a shared parameter is given two values, and `tie_weights` is set.
    """
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    with _reparametrize_module(module, parameters_and_buffers, tie_weights, strict):
        return module(*args, **(kwargs or {}))


@contextmanager
def _reparametrize_module(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    tie_weights: bool = False,
    strict: bool = False,
) -> Iterator[None]:
    given: Mapping[str, Tensor] = parameters_and_buffers
    own: dict[str, Any] = dict(module.named_parameters(remove_duplicate=False))
    own.update(module.named_buffers(remove_duplicate=False))
    if tie_weights:
        given = _with_tied(given, own)
    if strict:
        _check_names(module, given, own)
    before: dict[str, Any] = {}
    try:
        for path, x in given.items():
            before[path] = _swap(module, path, x)
        yield
    finally:
        after = {path: _swap(module, path, x) for path, x in reversed(before.items())}
        parameters_and_buffers.update(
            {path: after[path] for path in parameters_and_buffers if path in after}
        )


def _with_tied(given: Mapping[str, Tensor], own: Mapping[str, Any]) -> dict[str, Tensor]:
    """`given`, with the same tensor for all names of each shared parameter."""
    names_of: dict[int, list[str]] = {}
    for path, x in own.items():
        names_of.setdefault(id(x), []).append(path)
    result = dict(given)
    for names in names_of.values():
        values = {id(given[name]): given[name] for name in names if name in given}
        if len(values) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(names)}, which are tied. "
                "Consider using tie_weights=False"
            )
        for x in values.values():
            result.update(dict.fromkeys(names, x))
    return result


def _check_names(module: Module, given: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    unexpected = [name for name in given if name not in own]
    missing = [name for name in own if name not in given]
    errors = [
        f"{kind} key(s): {', '.join(map(repr, names))}."
        for kind, names in (("Unexpected", unexpected), ("Missing", missing))
        if names
    ]
    if errors:
        lines = "\n\t".join(errors)
        raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t{lines}")


def _swap(module: Module, path: str, x: Any) -> Any:
    """Put `x` at `path`, and return what was there before."""
    with registry.unwatched():
        return _swapped(module, path, x)


def _swapped(module: Module, path: str, x: Any) -> Any:
    block_path, _, name = path.rpartition(".")
    block = module.get_submodule(block_path)
    for members in (block._parameters, block._buffers):
        if name in members:
            before = members[name]
            if x is _MISSING:
                del members[name]
            else:
                members[name] = x
            return before
    before = getattr(block, name, _MISSING)
    if before is not _MISSING and not isinstance(before, TensorBase):
        raise TypeError(f"{path}: {before} is not an instance of kuai.Tensor")
    if x is _MISSING:
        delattr(block, name)
    else:
        setattr(block, name, x)
    return before


__all__ = ["functional_call"]
