"""The tape's nodes, and contexts about what is saved, as in `torch.autograd.graph`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kuai.autograd.packing import packed, refused
from kuai.core.tape import Node, edge_of

__all__ = [
    "Node",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "save_on_cpu",
    "saved_tensors_hooks",
]


def get_gradient_edge(tensor: Any) -> Any:
    """Where the gradient of a tensor goes."""
    return edge_of(tensor)


class saved_tensors_hooks:
    """A context in which what operations save for their gradients passes through two functions.

    Args:
        pack_hook: is called with each tensor that is saved; what it returns is kept in its place.
        unpack_hook: is called with that when the gradient is computed, and gives a tensor of the
            same values back.
    """

    def __init__(self, pack_hook: Callable[[Any], Any], unpack_hook: Callable[[Any], Any]) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook
        self._contexts: list[Any] = []

    def __enter__(self) -> None:
        context = packed(self.pack_hook, self.unpack_hook)
        context.__enter__()
        self._contexts.append(context)

    def __exit__(self, *exc: Any) -> None:
        self._contexts.pop().__exit__(*exc)


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """A context in which `saved_tensors_hooks` may not be entered.

    Args:
        error_message: what the error says.

    Raises:
        RuntimeError: it is entered.
    """
    with refused(error_message):
        yield


class save_on_cpu:
    """A context that changes nothing: everything is on the CPU."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        pass
