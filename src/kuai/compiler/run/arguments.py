"""The arguments of a call, taken apart into leaves: tensors, numbers, and everything else."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from kuai.compiler.capture.held import Held
from kuai.compiler.capture.records import MISSING
from kuai.compiler.capture.trees import parts
from kuai.compiler.native import descriptor as d
from kuai.compiler.native.interface import Form
from kuai.core.base import TensorBase, wrap

Structure = Any
"""How arguments nest, without their leaves; equal for calls of the same structure."""

LEAF = "leaf"
_ITEMS: dict[type, int] = {list: d.LIST_ITEM, tuple: d.TUPLE_ITEM, dict: d.DICT_ITEM}
_VALUES = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))


def flatten(
    args: tuple[Any, ...], kwargs: dict[str, Any], held: Sequence[Held] = ()
) -> tuple[list[Any], Structure]:
    """The leaves of all arguments in order, then of attributes, and the structure."""
    leaves: list[Any] = []
    nested = [_flatten(x, leaves) for x in args]
    named = [(name, _flatten(x, leaves)) for name, x in kwargs.items()]
    kept = [_flatten(h.now(), leaves) for h in held]
    return leaves, (tuple(nested), tuple(named), tuple(kept))


def _flatten(x: Any, leaves: list[Any]) -> Structure:
    found = None if isinstance(x, (TensorBase, *_VALUES)) else parts(x)
    if found is None:
        leaves.append(x)
        return LEAF
    kind, items = found
    return kind, tuple([_flatten(item, leaves) for _, item in items])


def same_leaf(x: Any, other: Any) -> bool:
    """Whether one leaf may stand for another that a program was made for: equal values of the
    same type, else the very object.
    """
    if x is other:
        return True
    return type(x) is type(other) and isinstance(x, _VALUES) and bool(x == other)


def repeated(leaves: Sequence[Any]) -> list[int]:
    """For each leaf that is a tensor, the number of the first one that is the same object."""
    first: dict[int, int] = {}
    return [
        first.setdefault(id(x), i) if isinstance(x, TensorBase) else i for i, x in enumerate(leaves)
    ]


class Argument:
    """A leaf as it is remembered when its call is over: a tensor while somebody else has it."""

    def __init__(self, leaf: Any) -> None:
        self._leaf: Callable[[], Any] = lambda: leaf
        self._form: Form | None = None
        if isinstance(leaf, TensorBase):
            array = leaf._payload
            self._leaf = weakref.ref(leaf)
            self._form = Form(array.dtype, array.shape, array.strides)

    def get(self, draw: Callable[[Form], np.ndarray]) -> Any:
        """The leaf; for a tensor that is gone, or has another form now, one that is drawn."""
        found = self._leaf()
        if self._form is None or (found is not None and self._form.fits(found._payload)):
            return found
        return wrap(draw(self._form))


class Objects:
    """How native code takes arguments apart.

    Attributes:
        rows: the records, or `None` where it cannot.
        places: for each leaf, its place among the objects.
        kept: what the records have addresses of.
    """

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        held: Sequence[Held],
        inputs: set[int],
        unread: Collection[int] = (),
    ) -> None:
        self.rows: list[dict[str, int]] | None = []
        self.places: list[int] = []
        self.kept: list[Any] = []
        self._inputs, self._unread = inputs, unread
        for i, x in enumerate([*args, *kwargs.values()]):
            self._add(x, {"kind": d.ARGUMENT, "item": i})
        for h in held:
            self.kept += (h.fields, h.name)
            outer = {"kind": d.DICT_VALUE, "parent": len(self.rows or ()), "item": id(h.name)}
            self._row({"kind": d.FIXED, "item": id(h.fields), "same": id(h.fields)})
            self._add(h.now(), outer)
        if len(self.rows or ()) > d.MOST_OBJECTS:
            self._give_up()

    def _give_up(self) -> None:
        self.rows = None

    def _add(self, x: Any, source: dict[str, int]) -> None:
        place = len(self.rows or ())
        found = None if isinstance(x, (TensorBase, *_VALUES)) else parts(x)
        if found is None:
            self._add_leaf(x, source, place)
            return
        cls = type(x)
        if cls not in (list, tuple, dict):
            self._give_up()
        self._row({**source, "type": id(cls), "size": len(found[1]) + 1})
        for i, (_, item) in enumerate(found[1]):
            key = list(x)[i] if cls is dict else i
            if cls is dict and type(key) is not str:
                self._give_up()
            self.kept.append(key)
            where = id(key) if cls is dict else i
            source = {"kind": _ITEMS.get(cls, 0), "parent": place, "item": where, "position": i}
            self._add(item, source)

    def _add_leaf(self, x: Any, source: dict[str, int], place: int) -> None:
        from kuai.nn.parameter import Parameter
        from kuai.tensor import Tensor

        leaf = len(self.places)
        self.places.append(place)
        if leaf in self._unread:
            self.places[-1] = 0  # nobody looks
        elif x is MISSING:
            self._give_up()
        elif isinstance(x, TensorBase):
            if type(x) not in (Tensor, Parameter):
                self._give_up()
            self._row({**source, "type": id(Tensor)})
        elif leaf in self._inputs:
            self._row({**source, "type": id(type(x))})
        else:
            self.kept.append(x)
            self._row({**source, "same": id(x)})

    def _row(self, row: dict[str, int]) -> None:
        if self.rows is not None:
            self.rows.append(row)
