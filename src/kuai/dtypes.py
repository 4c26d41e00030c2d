"""Data types, their limits, and the rules by which they combine.

The rules are PyTorch's: types fall into categories (bool < integer < floating), and a value of a
higher category decides; within a category the wider type does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray


class dtype:
    """A data type of tensors: `kuai.float32`, `kuai.int64`, ...

    Attributes:
        name: the name without a module, such as `"float32"`.
        itemsize: bytes an element.
        is_floating_point: whether it is a floating type.
    """

    __slots__ = ("_numpy", "category", "is_floating_point", "itemsize", "name", "rank")

    is_complex = False

    def __init__(self, name: str, itemsize: int, category: int, rank: int) -> None:
        self.name = name
        self.itemsize = itemsize
        self.category = category
        self.rank = rank
        self.is_floating_point = category == FLOATING
        self._numpy: np.dtype | None = None if name == "bfloat16" else np.dtype(name)

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype of the arrays that hold it."""
        if self._numpy is None:
            import ml_dtypes  # bfloat16 is not NumPy's own; most programs never need it

            self._numpy = np.dtype(ml_dtypes.bfloat16)
            FROM_NUMPY[self._numpy] = self
        return self._numpy

    @property
    def is_signed(self) -> bool:
        """Whether it holds negative values."""
        return self.category == FLOATING or self.name.startswith("int")

    def to_complex(self) -> dtype:
        """Complex types do not exist in kuai.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"kuai has no complex data types (asked for the complex form of {self})")

    def __repr__(self) -> str:
        return f"kuai.{self.name}"

    def __reduce__(self) -> str:
        return self.name

    def __deepcopy__(self, memo: object) -> dtype:
        return self


BOOL, INTEGER, FLOATING = range(3)

bool_ = dtype("bool", 1, BOOL, 0)
uint8 = dtype("uint8", 1, INTEGER, 0)
int8 = dtype("int8", 1, INTEGER, 0)
int16 = dtype("int16", 2, INTEGER, 1)
int32 = dtype("int32", 4, INTEGER, 2)
int64 = dtype("int64", 8, INTEGER, 3)
float16 = dtype("float16", 2, FLOATING, 0)
bfloat16 = dtype("bfloat16", 2, FLOATING, 0)
float32 = dtype("float32", 4, FLOATING, 1)
float64 = dtype("float64", 8, FLOATING, 2)
half, float_, double = float16, float32, float64
short, int_, long = int16, int32, int64

_PYTHON = {bool: bool_, int: int64, float: float64}


def named(d: Any) -> Any:
    """The data type that is meant: Python's `bool`, `int` and `float` stand for one, too."""
    return _PYTHON.get(d, d)


ALL = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64)
FROM_NUMPY: dict[np.dtype, dtype] = {d.numpy: d for d in ALL if d is not bfloat16}
_default = float32


def from_numpy_dtype(numpy_dtype: np.dtype) -> dtype:
    """The data type of an array with this NumPy dtype.

    Raises:
        TypeError: kuai has no such type.
    """
    found = FROM_NUMPY.get(numpy_dtype)
    if found is None:
        if numpy_dtype.name == "bfloat16":
            return bfloat16
        names = ", ".join(d.name for d in ALL)
        raise TypeError(
            f"can't convert a NumPy array of type {numpy_dtype}; the supported types are: {names}"
        )
    return found


def get_default_dtype() -> dtype:
    """The floating type that new tensors get where nothing says otherwise; float32 at first."""
    return _default


def set_default_dtype(d: dtype) -> None:
    """Set the floating type of new tensors.

    Raises:
        TypeError: `d` is not a floating type.
    """
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, got {d}")
    _default = d


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest type that both types convert to."""
    if a is b:
        return a
    if a.category != b.category:
        return a if a.category > b.category else b
    if a.category == INTEGER and uint8 in (a, b):
        other = b if a is uint8 else a
        return int16 if other is int8 else other
    if a.rank == b.rank:  # float16 with bfloat16
        return float32
    return a if a.rank > b.rank else b


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether values of one type may be stored into the other by an in-place operation."""
    return from_.category <= to.category


class finfo:
    """Limits of a floating type: `bits eps max min tiny smallest_normal resolution dtype`."""

    def __init__(self, type: dtype | None = None) -> None:
        d = type if type is not None else _default
        if not d.is_floating_point:
            raise TypeError(f"finfo needs a floating-point type, got {d}; use iinfo for integers")
        if d is bfloat16:
            import ml_dtypes

            info: Any = ml_dtypes.finfo(d.numpy)  # type: ignore[no-untyped-call]
        else:
            info = np.finfo(d.numpy)
        self.dtype = d.name
        self.bits = 8 * d.itemsize
        self.eps = float(info.eps)
        self.max = float(info.max)
        self.min = float(info.min)
        self.tiny = self.smallest_normal = float(info.smallest_normal)
        self.resolution = float(info.resolution)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, "
            f"tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer type: `bits max min dtype`."""

    def __init__(self, type: dtype) -> None:
        if type.category != INTEGER:
            raise TypeError(f"iinfo needs an integer type, got {type}; use finfo for floats")
        info = np.iinfo(type.numpy)
        self.dtype = type.name
        self.bits = 8 * type.itemsize
        self.max = int(info.max)
        self.min = int(info.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
