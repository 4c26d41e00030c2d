"""How gradients flow through a captured call: from what it returns to what it was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kuai.compiler.capture import trees
from kuai.compiler.capture.arrivals import arrival_of
from kuai.compiler.capture.numbers import Number
from kuai.compiler.graph import Value
from kuai.compiler.native.interface import Source
from kuai.compiler.run.results import view_of_outside
from kuai.core import tape
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import Meta, meta_of

if TYPE_CHECKING:
    from kuai.compiler.capture.captured import Captured
    from kuai.compiler.capture.recorder import Recorder


def differentiate_results(
    captured: Captured, recorder: Recorder, new_input: Callable[[Meta, str], Value]
) -> None:
    """Add to the graph how gradients flow from the results of a call to the tensors outside.

    Args:
        captured: the call.
        recorder: what it has done.
        new_input: makes an input of the graph.
    """
    tensors: list[Any] = []
    for x in trees.leaves(captured.output):
        if isinstance(x, TensorBase) and captured.source(x) is None and x not in _Same(tensors):
            recorder.value(x)
            if view_of_outside(x, captured.source) is not None:
                continue  # the tape records how it is taken
            if x._requires_grad and x._node is not None and not isinstance(x, Number):
                tensors.append(x)
    for x in tensors:
        (captured.spent if _is_spent(x) else captured.differentiated).append(x)
    if not captured.differentiated:
        return
    seeds = []
    for i, x in enumerate(captured.differentiated):
        seeds.append(wrap(new_input(meta_of(x), f"grad{i}")))
    captured.grad_inputs = [s._payload for s in seeds]  # type: ignore[misc]
    leaves: list[tuple[Source, Any]] = [
        (a.leaf, a.stand_in)
        for a in captured.arguments
        if isinstance(a.given, TensorBase) and a.given._requires_grad and not a.is_grad
    ]
    leaves += [(o.tensor, o.tensor) for o in recorder.outer.values() if o.requires_grad]
    found = _walk(captured.differentiated, seeds, [x for _, x in leaves])
    captured.leaf_gradients = [
        (source, None if g is None else recorder.value(g))
        for (source, _), g in zip(leaves, found, strict=True)
    ]
    captured.arrivals = [arrival_of(g, recorder) for g in found]


def _walk(roots: list[Any], seeds: list[Any], leaves: list[Any]) -> list[Any]:
    hooks = [(x, x._hooks) for x in leaves]
    for x, _ in hooks:
        x._hooks = None  # they run outside, when the gradient arrives there
    entered = [_entry(a) for a in leaves]
    try:
        return tape.backward(roots, seeds, True, False, entered, accumulate=False)
    finally:
        for x, kept in hooks:
            x._hooks = kept


def _is_spent(x: Any) -> bool:
    """Whether `backward` has used up a part of the tape that leads to `x`."""
    seen: set[Any] = set()
    pending = [tape.edge_of(x)]
    while pending:
        edge = pending.pop()
        if edge is None or edge in seen or isinstance(edge, TensorBase):
            continue
        seen.add(edge)
        if getattr(edge, "saved", None) is tape.FREED:
            return True
        pending += [edge.node] if type(edge) is tape.OutputEdge else list(edge.edges)
    return False


def _entry(x: Any) -> Any:
    """A leaf as the tape knows it, even where the tensor has moved on."""
    entry = wrap(x._payload)
    entry._requires_grad = True
    entry._node = x
    return entry


class _Same:
    """A list whose `in` asks for the very object."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __contains__(self, x: object) -> bool:
        return any(x is item for item in self.items)
