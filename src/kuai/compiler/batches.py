"""Which tensors among the arguments of a call have the batch for their first dimension."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from kuai.compiler.capture.trees import map_leaves
from kuai.compiler.run.program import Call
from kuai.compiler.struct import Struct
from kuai.core.base import TensorBase, wrap

HINT = 3  # batch sizes after which a program for any of them is tried unasked
MOST_FORMS = 64  # of calls, that are remembered
MOST_KEPT = 8  # first dimensions of calls that are remembered


class Batched(Struct):
    """The batch of a call.

    Attributes:
        kind: the same for all calls that differ in nothing but the size of the batch.
        size: of the batch.
        leaves: the numbers of the leaves that have it.
        sizes: how many sizes have been seen.
    """

    kind: Hashable
    size: int
    leaves: frozenset[int]
    sizes: int


class Batches:
    """Remembers calls, to see which first dimensions change from one to the next.

    Before any has changed, the batch is taken to be the first dimension of the first tensor, and
    of all tensors that have as many rows.
    """

    def __init__(self) -> None:
        self._seen: dict[Hashable, list[tuple[int, ...]]] = {}

    def of(self, call: Call) -> Batched | None:
        """The batch of a call; `None` where it has none, or none that can be of any size."""
        places = [i for i, x in enumerate(call.leaves) if _has_rows(x)]
        rows = tuple([call.leaves[i]._payload.shape[0] for i in places])
        form = call.structure, call.mode, tuple([_form(x) for x in call.leaves])
        seen = self._seen.setdefault(form, [])
        if len(self._seen) > MOST_FORMS:
            del self._seen[next(iter(self._seen))]
        if rows not in seen:
            seen.append(rows)
            del seen[:-MOST_KEPT]
        moved = [k for k in range(len(places)) if len({r[k] for r in seen}) > 1]
        chosen = moved or [k for k, n in enumerate(rows) if n == rows[0]]
        sizes = {rows[k] for k in chosen}
        leaves = frozenset([places[k] for k in chosen])
        if len(sizes) != 1:
            return None
        if not all(call.leaves[i]._payload.flags.c_contiguous for i in leaves):
            return None
        others = tuple([n for k, n in enumerate(rows) if k not in chosen])
        return Batched((form, leaves, others), min(sizes), leaves, len(seen))


def _has_rows(x: Any) -> bool:
    return isinstance(x, TensorBase) and x._payload.ndim > 0


def _form(x: Any) -> Any:
    """A leaf without its first dimension."""
    if isinstance(x, TensorBase):
        return x._payload.shape[1:], x._payload.ndim, x._payload.dtype, x._requires_grad
    value: Any = x if type(x) in (bool, int, str, type(None)) else type(x)
    return value


def resized(call: Call, batched: Batched, size: int) -> Call:
    """The call as it is for another batch size; its tensors have no elements worth reading."""
    if size == batched.size:
        return call
    others: dict[int, Any] = {}
    for i in batched.leaves:
        x = call.leaves[i]
        array = x._payload
        other = others[id(x)] = wrap(np.zeros((size, *array.shape[1:]), array.dtype))
        other._requires_grad = x._requires_grad

    def other_of(x: Any) -> Any:
        return others.get(id(x), x)

    args = tuple([map_leaves(other_of, x) for x in call.args])
    kwargs = {name: map_leaves(other_of, x) for name, x in call.kwargs.items()}
    return Call(args, kwargs, [other_of(x) for x in call.leaves], call.structure, call.mode)
