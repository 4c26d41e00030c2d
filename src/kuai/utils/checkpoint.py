"""Gradients that need less memory: what a part of a network computed is computed again for them.

As in `torch.utils.checkpoint`. Source: Chen et al. (2016), Training Deep Nets with Sublinear Memory
Cost.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from kuai.autograd.packing import packed
from kuai.core.tape import enable_grad
from kuai.errors import GradientError
from kuai.random import fork_rng, get_rng_state, set_rng_state

__all__ = ["checkpoint", "checkpoint_sequential", "noop_context_fn", "set_checkpoint_early_stop"]

_early_stop = True


def noop_context_fn() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Two contexts that change nothing."""
    return nullcontext(), nullcontext()


@contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Whether a part that is computed again stops as soon as all that was saved is there again."""
    global _early_stop
    before, _early_stop = _early_stop, enable
    try:
        yield
    finally:
        _early_stop = before


class _Stop(Exception):
    """All that was saved is there again."""


class _Frame:
    """One run of a function, and what it saved: nothing, until that is needed."""

    def __init__(self, again: Callable[[], None]) -> None:
        self.again = again
        self.count = 0
        self.found: dict[int, Any] = {}
        self.early_stop = _early_stop

    def pack(self, x: Any) -> int:
        """Keep the number of a tensor instead of the tensor."""
        self.count += 1
        return self.count - 1

    def unpack(self, number: int) -> Any:
        """The tensor of that number, for which the function runs once more.

        Raises:
            GradientError: this time it saved something else.
        """
        if number not in self.found:
            self.found = {}
            try:
                with enable_grad(), packed(self._keep, self._refuse):
                    self.again()
            except _Stop:
                pass
            if len(self.found) != self.count:
                raise GradientError(
                    "checkpoint: A different number of tensors was saved during the original "
                    f"forward and recomputation: {self.count} and {len(self.found)}"
                )
        return self.found.pop(number)

    def _keep(self, x: Any) -> None:
        self.found[len(self.found)] = x.detach()
        if self.early_stop and len(self.found) == self.count:
            raise _Stop

    def _refuse(self, content: Any) -> Any:
        raise GradientError("checkpoint: a gradient was computed while computing again")


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """What `function(*args, **kwargs)` gives, without keeping what its gradient needs.

    When the gradient is computed, the function runs once more.

    Args:
        function: computes the same every time that it is called with the same arguments.
        args: its arguments.
        use_reentrant: accepted; both values do the same here.
        context_fn: gives two contexts, for the first run and for the second.
        determinism_check: accepted; only the number of saved tensors is checked.
        debug: accepted, and without effect.
        early_stop: whether the second run stops as soon as everything needed is there.
        preserve_rng_state: whether the second run draws the random numbers of the first.
        kwargs: more arguments of the function.
    """
    if use_reentrant is None:
        warnings.warn(
            "kuai.utils.checkpoint: the use_reentrant parameter should be passed explicitly.",
            stacklevel=2,
        )
    state = get_rng_state() if preserve_rng_state else None
    first, second = context_fn()

    def again() -> None:
        with fork_rng(enabled=preserve_rng_state), second:
            if state is not None:
                set_rng_state(state)
            function(*args, **kwargs)

    frame = _Frame(again)
    frame.early_stop = frame.early_stop and early_stop
    with packed(frame.pack, frame.unpack), first:
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any,
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Apply functions one after the other, the last segment of them plainly, the others with
    `checkpoint`.

    Args:
        functions: a `Sequential`, or a list of functions.
        segments: into how many parts to divide them.
        input: what the first one gets.
        use_reentrant: accepted; both values do the same here.
        kwargs: `preserve_rng_state`.
    """
    parts: list[Callable[..., Any]] = list(functions)
    size = max(len(parts) // segments, 1)
    start = 0
    for start in range(0, size * (segments - 1), size):
        input = checkpoint(
            _in_turn(parts[start : start + size]), input, use_reentrant=False, **kwargs
        )
    last = size * (segments - 1) if segments > 1 else 0
    return _in_turn(parts[last:])(input)


def _in_turn(functions: Sequence[Callable[..., Any]]) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        for function in functions:
            x = function(x)
        return x

    return run
