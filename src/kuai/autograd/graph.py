"""The tape's nodes, and contexts about what is saved, as in `torch.autograd.graph`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kuai.core.tape import Node, edge_of

__all__ = ["Node", "get_gradient_edge", "save_on_cpu", "saved_tensors_hooks"]


def get_gradient_edge(tensor: Any) -> Any:
    """Where the gradient of a tensor goes."""
    return edge_of(tensor)


class saved_tensors_hooks:
    """Not supported: what is saved is the tensors themselves.

    Raises:
        NotImplementedError: always.
    """

    def __init__(self, pack_hook: Callable[..., Any], unpack_hook: Callable[..., Any]) -> None:
        raise NotImplementedError("kuai saves the tensors themselves; there are no packing hooks")


class save_on_cpu:
    """A context that changes nothing: everything is on the CPU."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        pass
