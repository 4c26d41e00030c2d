"""Elements read at computed positions: what a primitive's `pull` computes with.

`pull(emit, at, *inputs, **parameters)` gives the element of the result at the position `at`, an
`Index` for each dimension. An input is a `Source`, which is read at any position; those that the
primitive names in `here` are read at `at` itself, and come as scalars.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kuai import dtypes
from kuai.compiler.emit.builder import Ref, number
from kuai.compiler.emit.scalars import Emit, Scalar
from kuai.compiler.graph import Value
from kuai.compiler.layout import Layout


class Index(Scalar):
    """A position along one dimension, int64: one number, or one for each lane.

    Attributes:
        base: the number, or that of the first lane.
        step: how much greater each lane's is than that of the lane before; 0 for one number.
        dim: the dimension of the domain along which it runs.
    """

    __slots__ = ("base", "dim", "step")

    def __init__(self, emit: Emit, base: Ref, step: int = 0, dim: int = -1) -> None:
        f = emit.function
        self.base = base
        self.step = step if emit.lanes else 0
        self.dim = dim
        ref = base
        if self.step:
            lanes = f.lanes([i * step for i in range(emit.lanes)], "i64")
            ref = f.add(f.splat(base, emit.lanes), lanes)
        super().__init__(ref, dtypes.int64)


Position = Scalar | int


class Source:
    """An array, of which elements are read at computed positions.

    Attributes:
        shape, dtype: of the array.
    """

    def __init__(
        self,
        emit: Emit,
        where: Layout,
        pointer: Ref | None,
        mask: Ref | None = None,
        number: Any = None,
    ) -> None:
        self._emit = emit
        self._where = where
        self._pointer = pointer
        self._mask = mask if emit.lanes else None
        self._number = number
        self.shape = where.shape
        self.dtype = where.dtype

    def at(self, *position: Position, where: Scalar | None = None) -> Scalar:
        """The element at a position: an index, without lanes or with, for each dimension.

        Args:
            position: one for each dimension, within bounds; along a dimension of size 1, all
                mean the one element.
            where: which lanes to read (bool); the others are zero.
        """
        emit, f = self._emit, self._emit.function
        if self._pointer is None:
            return emit.const(self._number, self.dtype)
        if 0 in self.shape:
            return emit.const(0, self.dtype)
        start, step, offsets = self._offsets(position)
        if not emit.lanes:
            if where is None:
                return emit.load(self._moved(start), self.dtype)
            start = f.select(where.ref, start, Ref("0", "i64"))
            read = emit.load(self._moved(start), self.dtype)
            return emit.where(where, read, emit.const(0, self.dtype))
        mask = self._under(where)
        if offsets is None and step == 0 and where is None:
            return Emit(f, 0).load(self._moved(start), self.dtype)
        size = self.dtype.itemsize
        if offsets is None and step and step % size == 0:
            return emit.load(self._moved(start), self.dtype, step // size, mask=mask)
        steps = f.lanes([i * step for i in range(emit.lanes)], "i64")
        offsets = steps if offsets is None else f.add(offsets, steps) if step else offsets
        return emit.load_at(self._moved(start), offsets, self.dtype, mask)

    def put(self, x: Scalar, *position: Position) -> None:
        """Store an element at a position; where lanes meet there, any of them may remain."""
        emit, f = self._emit, self._emit.function
        start, step, offsets = self._offsets(position)
        if not emit.lanes:
            emit.store(x, self._moved(start))
            return
        size = self.dtype.itemsize
        if offsets is None and step % size == 0 and step:
            emit.store(x, self._moved(start), step // size, mask=self._mask)
            return
        steps = f.lanes([i * step for i in range(emit.lanes)], "i64")
        emit.store_at(
            x, self._moved(start), f.add(offsets or f.const(0, steps.type), steps), self._mask
        )

    def _under(self, where: Scalar | None) -> Ref | None:
        if where is None:
            return self._mask
        chosen = self._emit.splat(where).ref
        return (
            chosen if self._mask is None else self._emit.function.binary("and", chosen, self._mask)
        )

    def _moved(self, start: Ref) -> Ref:
        assert self._pointer is not None
        f = self._emit.function
        return self._pointer if start.text == "0" else f.at(self._pointer, start, "i8")

    def _offsets(self, position: Sequence[Position]) -> tuple[Ref, int, Ref | None]:
        """Bytes to the element of the first lane, from lane to lane, and what each lane adds."""
        f = self._emit.function
        assert len(position) == len(self.shape), f"{len(position)} indices into {self.shape}"
        start, step, offsets = Ref("0", "i64"), 0, None
        for index, n, stride in zip(position, self.shape, self._where.strides, strict=True):
            if n == 1 or stride == 0:
                continue
            if isinstance(index, int):
                start = f.add(start, number(index * stride))
            elif isinstance(index, Index):
                start = f.add(start, f.mul(index.base, number(stride)))
                step += index.step * stride
            elif index.ref.lanes:
                moved = f.mul(index.ref, f.const(stride, index.ref.type))
                offsets = moved if offsets is None else f.add(offsets, moved)
            else:
                start = f.add(start, f.mul(index.ref, number(stride)))
        return start, step, offsets

    def checked(
        self,
        index: Scalar,
        dim: int,
        exception: type[Exception],
        message: str,
        wraps: bool = False,
    ) -> Scalar:
        """An index into a dimension, which the program refuses where it is out of range.

        Args:
            index: of any integer type.
            dim: the dimension.
            exception, message: what eager raises; a `{}` in the message is the index.
            wraps: whether negative ones count from the end.
        """
        return checked(self._emit, index, self.shape[dim], exception, message, wraps)


def checked(
    emit: Emit, index: Scalar, n: int, exception: type[Exception], message: str, wraps: bool
) -> Scalar:
    """An index below `n` as int64: 0 where it is out of range, which the program refuses."""
    alone = emit if index.ref.lanes else Emit(emit.function, 0)
    given = index = alone.cast(index, dtypes.int64)
    if wraps:
        index = alone.where(alone.lt(index, 0), alone.add(index, n), index)
    f = emit.function
    bad = Scalar(f.compare("uge", index.ref, f.const(n, index.ref.type)), dtypes.bool_)
    emit.check(bad, exception, message, given)
    return alone.where(bad, alone.const(0, dtypes.int64), index)


class Place:
    """Where a nest is while it computes its body: for pulls.

    Args:
        at: the position in the domain.
        sources: how to reach the arrays that are read elsewhere.
        mask: the lanes that count.
    """

    def __init__(
        self,
        at: Sequence[Index],
        sources: dict[Value, tuple[Layout, Ref]],
        mask: Ref | None,
    ) -> None:
        self.at = tuple(at)
        self.sources = sources
        self.mask = mask

    def source(self, emit: Emit, x: Any, constants: dict[Value, Any]) -> Any:
        """An input of a pull that is read at computed positions."""
        if not isinstance(x, Value):
            return x
        if x in constants:
            where = Layout(x.shape, (0,) * len(x.shape), 0, x.meta.dtype)
            return Source(emit, where, None, self.mask, constants[x])
        where, pointer = self.sources[x]
        return Source(emit, where, pointer, self.mask)
