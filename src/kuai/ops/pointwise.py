"""What all elementwise primitives share: promotion of types, broadcasting, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kuai import config, dtypes
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.errors import OperandError, ShapeError
from kuai.ops.out import write_out as write_out

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Number = bool | int | float


@primitive
class cast(Primitive):
    """The same values in another data type."""

    gradient_name = "ToCopyBackward0"

    def kernel(self, x: np.ndarray, dtype: dtypes.dtype) -> np.ndarray:
        target = dtype.numpy
        if dtype.category == dtypes.BOOL:
            return np.not_equal(x, np.zeros((), x.dtype))
        if dtype.category == dtypes.INTEGER and x.dtype.kind in "fV" and dtype is not dtypes.int64:
            # NaN, infinity and what does not fit: as C's conversion to int64, then wrapped.
            return x.astype(np.int64).astype(target)
        return x.astype(target)

    def infer(self, x: Meta, dtype: dtypes.dtype) -> Meta:
        return Meta(x.shape, dtype)

    def gradient(self, grad, x_dtype):
        return cast(grad, dtype=x_dtype)

    def lower(self, emit, x, dtype):
        return emit.cast(x, dtype)


def is_known_as(scale: Any, number: int) -> bool:
    """Whether a factor is this number; false where only the program will know."""
    return not isinstance(scale, TensorBase) and bool(scale == number)


def to_dtype(x: Tensor, dtype: dtypes.dtype) -> Tensor:
    """`x` in the given data type; `x` itself when it has it."""
    dtype = dtypes.named(dtype)
    return x if x.dtype is dtype else cast(x, dtype=dtype)


def lowered(*operands: Any) -> tuple[Any, ...]:
    """The operands of a product, float32 ones in the type that autocasting computes in."""
    dtype = config.autocast_dtype
    if dtype is None:
        return operands
    short = (dtypes.float32, dtypes.bfloat16, dtypes.float16)
    return tuple(
        [to_dtype(x, dtype) if x is not None and x.dtype in short else x for x in operands]
    )


def _category(x: Any) -> int:
    if isinstance(x, bool):
        return dtypes.BOOL
    if isinstance(x, int):
        return dtypes.INTEGER
    return dtypes.FLOATING


def _scalar_dtype(x: Any) -> dtypes.dtype:
    category = _category(x)
    if category == dtypes.FLOATING:
        return dtypes.get_default_dtype()
    return dtypes.int64 if category == dtypes.INTEGER else dtypes.bool_


def result_type(*operands: Any) -> dtypes.dtype:
    """The type in which PyTorch's promotion rules combine tensors and Python numbers.

    Tensors with dimensions decide over zero-dimensional ones, and those over Python numbers,
    unless the other is of a higher category (bool < integer < floating).
    """
    found: list[dtypes.dtype | None] = [None, None, None]  # dimensioned, zero-dimensional, number
    for x in operands:
        if isinstance(x, TensorBase):
            if x._weak:
                d = x.dtype
                level, d = 2, dtypes.get_default_dtype() if d.is_floating_point else d
            else:
                level, d = (0 if len(x._payload.shape) else 1), x.dtype
        elif isinstance(x, dtypes.dtype):
            level, d = 0, x
        else:
            level, d = 2, _scalar_dtype(x)
        have = found[level]
        found[level] = d if have is None else dtypes.promote_types(have, d)
    result: dtypes.dtype | None = None
    for have in found:
        if have is None:
            continue
        if result is None:
            result = have
        elif have.category > result.category:
            result = dtypes.promote_types(result, have)
    assert result is not None
    return result


def as_operand(x: Any, dtype: dtypes.dtype) -> Any:
    """An operand in the type of the operation: a tensor, cast, or a zero-dimensional one."""
    if isinstance(x, TensorBase):
        return x if x.dtype is dtype else cast(x, dtype=dtype)
    if dtype.category == dtypes.INTEGER:
        x = int(x)
        bits = 8 * dtype.itemsize
        x &= (1 << bits) - 1  # wraps, as storing it would
        if dtype.is_signed and x >= 1 << (bits - 1):
            x -= 1 << bits
    elif dtype.category == dtypes.BOOL:
        x = bool(x)
    return wrap(np.asarray(x).astype(dtype.numpy))


def broadcast_shapes(*shapes: Sequence[int] | int) -> tuple[int, ...]:
    """The common shape to which all of these broadcast.

    Raises:
        ShapeError: they do not.
    """
    given = [(s,) if isinstance(s, int) else s for s in shapes]
    ndim = max(map(len, given), default=0)
    result = [1] * ndim
    for shape in given:
        offset = ndim - len(shape)
        for i, n in enumerate(shape):
            if n == 1 or n == result[offset + i]:
                continue
            if result[offset + i] != 1:
                listed = ", ".join(str(list(s)) for s in given)
                raise ShapeError(
                    f"The size of tensor a ({result[offset + i]}) must match the size of tensor b "
                    f"({n}) at non-singleton dimension {offset + i}: shapes {listed} do not "
                    "broadcast"
                )
            result[offset + i] = n
    return tuple(result)


_LEADING = [tuple(range(n)) for n in range(65)]


def sum_to(grad: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum over the dimensions that broadcasting from `shape` added or stretched."""
    have = grad._payload.shape
    if have == shape:
        return grad
    extra = len(have) - len(shape)
    if have[extra:] == shape:
        return primitives.PRIMITIVES["sum"](grad, dim=_LEADING[extra], keepdim=False)
    stretched = tuple(
        i for i in range(len(have)) if i < extra or (shape[i - extra] == 1 and have[i] != 1)
    )
    summed = primitives.PRIMITIVES["sum"](grad, dim=stretched, keepdim=True)
    if summed._payload.shape != shape:
        summed = primitives.PRIMITIVES["reshape"](summed, shape=shape)
    return summed


def require_tensor(name: str, *operands: Any) -> None:
    """Refuse operands that are all Python numbers.

    Raises:
        TypeError: no operand is a tensor.
    """
    if not any(isinstance(x, TensorBase) for x in operands):
        kinds = ", ".join(type(x).__name__ for x in operands)
        raise TypeError(f"{name}(): at least one argument must be a Tensor, got ({kinds})")


class Elementwise(Primitive):
    """A primitive that works element by element on operands that broadcast.

    Operands are tensors or Python numbers. `floating` makes integers floats first; `comparison`
    says that the result is bool.
    """

    broadcasts = True
    floating: ClassVar[bool] = False
    comparison: ClassVar[bool] = False
    numbers: ClassVar[bool] = True  # whether the kernel takes Python numbers as they are
    tensors: ClassVar[int] = 0  # how many of the first operands must be tensors
    some_tensor: ClassVar[bool] = False  # whether one operand at least must be a tensor

    def __call__(self, *inputs: Any, out: Any = None, **parameters: Any) -> Any:
        if out is not None:
            return write_out(out, self(*inputs, **parameters))
        first = inputs[0]
        if isinstance(first, TensorBase):
            numpy_dtype = first._payload.dtype
            kind = numpy_dtype.kind
            if self.floating and kind not in "fV":
                inputs = self.promote(inputs)
            else:
                for x in inputs[1:]:
                    if isinstance(x, TensorBase):
                        if x._payload.dtype is not numpy_dtype:
                            inputs = self.promote(inputs)
                            break
                    elif not (
                        self.numbers
                        and kind == "f"
                        and (type(x) is float or (type(x) is int and -65504 < x < 65504))
                    ):
                        inputs = self.promote(inputs)
                        break
        else:
            inputs = self.promote(inputs)
        if primitives.intercept is not None:
            return primitives.intercept(self, inputs, parameters)
        return self.run(inputs, parameters)

    def promote(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """Bring the operands to their common type."""
        inputs = [wrap(x) if type(x) is np.ndarray else x for x in inputs]
        for x in inputs:
            if not isinstance(x, (TensorBase, bool, int, float, np.generic)):
                raise OperandError(
                    f"{self.name}(): expected tensors and numbers, got {type(x).__name__}"
                )
        if self.some_tensor:
            require_tensor(self.name, *inputs)
        for i, x in enumerate(inputs[: self.tensors]):
            if not isinstance(x, TensorBase):
                raise TypeError(
                    f"{self.name}(): argument {i + 1} must be Tensor, not {type(x).__name__}"
                )
        common = result_type(*[x.item() if isinstance(x, np.generic) else x for x in inputs])
        if self.floating and not common.is_floating_point:
            common = dtypes.get_default_dtype()
        return tuple([as_operand(x, common) for x in inputs])

    def infer(self, *metas: Meta, **parameters: Any) -> Meta:
        try:
            shape = broadcast_shapes(*[m.shape for m in metas])
        except ShapeError as error:
            raise ShapeError(f"{self.name}: {error}") from None
        self._check_types(tuple([m.dtype for m in metas]), parameters)
        return Meta(shape, dtypes.bool_ if self.comparison else metas[0].dtype)

    def _check_types(self, types: tuple[dtypes.dtype, ...], parameters: dict[str, Any]) -> None:
        """Let the kernel refuse types, as it does in eager: it gets arrays without elements."""
        if (self.name, types) not in _TAKEN:
            with np.errstate(all="ignore"):
                self.kernel(*[np.zeros(0, t.numpy) for t in types], **parameters)
            _TAKEN.add((self.name, types))


_TAKEN: set[tuple[str, tuple[dtypes.dtype, ...]]] = set()  # types that primitives do not refuse
