"""Tensors from data, and filled ones."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.device import check_device
from kuai.errors import ShapeError
from kuai.ops.movement import as_shape, expand, reshape
from kuai.ops.out import write_out
from kuai.ops.pointwise import broadcast_shapes, sum_to, to_dtype

if TYPE_CHECKING:
    from kuai.tensor import Tensor

_OPTIONS = {"device", "layout", "pin_memory", "memory_format", "names", "out"}


def check_options(options: dict[str, Any]) -> None:
    """Accept the options that say nothing on a CPU, and no others.

    Raises:
        TypeError: an unknown option.
        RuntimeError: a device that is not the CPU.
    """
    for name, value in options.items():
        if name == "device":
            check_device(value)
        elif name not in _OPTIONS:
            raise TypeError(f"got an unexpected keyword argument '{name}'")


def finish(numbers: Any, requires_grad: bool, options: dict[str, Any]) -> Tensor:
    """The new tensor that a function of creation returns, or the one given as `out`."""
    result: Any = numbers if isinstance(numbers, TensorBase) else wrap(numbers)
    if options:
        check_options(options)
        out = options.get("out")
        if out is not None:
            return write_out(out, to_dtype(result, out.dtype))
    if requires_grad:
        result.requires_grad_()
    return result


def array_of(data: Any, dtype: dtypes.dtype | None) -> np.ndarray:
    """A new array with the values of nested sequences, numbers, arrays or tensors.

    Without a dtype, Python floats give the default type, ints int64, bools bool; arrays and
    tensors keep theirs.

    Raises:
        ValueError: a nesting that is not rectangular.
        TypeError: something that is no number.
        RuntimeError: `None`.
    """
    if isinstance(data, TensorBase):
        array = data._payload
        if dtype is None:
            return array.copy()
    elif isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
        if not array.dtype.isnative:
            raise ValueError("given numpy array has byte order different from the native one")
        dtype = dtype or dtypes.from_numpy_dtype(array.dtype)
    elif hasattr(data, "__array__") or hasattr(data, "__dlpack__"):
        return array_of(np.asarray(data), dtype)
    else:
        array, inferred = _from_nested(data)
        dtype = dtype or inferred
    return convert(array, dtypes.named(dtype))


def convert(array: np.ndarray, dtype: dtypes.dtype) -> np.ndarray:
    """A copy of the array in another type; what is not zero becomes True."""
    if dtype.category == dtypes.BOOL and array.dtype != np.bool_:
        return np.asarray(array != 0)
    if dtype.category == dtypes.INTEGER and array.dtype.kind == "f":
        return array.astype(np.int64).astype(dtype.numpy)
    return np.array(array, dtype=dtype.numpy)


def _from_nested(data: Any) -> tuple[np.ndarray, dtypes.dtype]:
    found: set[Any] = set()
    plain = _plain(data, found)
    try:
        array = np.array(plain)
    except ValueError as error:
        raise ValueError(f"expected a rectangular nesting of sequences: {error}") from None
    except OverflowError:
        array = np.array(plain, np.float64)
    if array.dtype.kind not in "biufV":
        raise TypeError(f"can't make a tensor from {type(data).__name__}: {data!r:.80}")
    if array.size == 0 or float in found:
        return array, dtypes.get_default_dtype()
    kinds = [d for d in found if isinstance(d, dtypes.dtype)]
    if kinds and not found - set(kinds):
        result = kinds[0]
        for d in kinds[1:]:
            result = dtypes.promote_types(result, d)
        return array, result
    if any(d.is_floating_point for d in kinds):
        return array, dtypes.get_default_dtype()
    return array, (dtypes.bool_ if array.dtype.kind == "b" else dtypes.int64)


def _plain(data: Any, found: set[Any]) -> Any:
    """Nested lists of numbers; `found` collects `float`, `int`, `bool`, and tensors' types."""
    kind = type(data)
    if kind in (float, int, bool):
        found.add(kind)
        return data
    if isinstance(data, TensorBase):
        found.add(data.dtype)
        return data.tolist()
    if isinstance(data, (np.ndarray, np.generic)):
        found.add(dtypes.from_numpy_dtype(data.dtype))
        return data.tolist() if data.dtype.kind != "V" else data.astype(np.float32).tolist()
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{kind.__name__}'")
    if isinstance(data, (list, tuple)):
        return [_plain(d, found) for d in data]
    if isinstance(data, Sequence) or hasattr(data, "__getitem__"):
        return [_plain(data[i], found) for i in builtins.range(len(data))]
    if isinstance(data, float):
        found.add(float)
    if data is None:
        raise RuntimeError("Could not infer dtype of NoneType")
    return data


def tensor(
    data: Any,
    *,
    dtype: dtypes.dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A new tensor with a copy of `data`: a number, nested sequences, an array or a tensor."""
    return finish(array_of(data, dtype), requires_grad, {"device": device} if device else {})


def as_tensor(data: Any, dtype: dtypes.dtype | None = None, device: Any = None) -> Tensor:
    """A tensor of `data`, sharing its memory and history where it can."""
    check_device(device)
    if isinstance(data, TensorBase):
        return data if dtype is None else to_dtype(data, dtype)  # type: ignore[arg-type, return-value]
    if isinstance(data, np.ndarray):
        result = from_numpy(data)
        return result if dtype is None else to_dtype(result, dtype)
    return tensor(data, dtype=dtype)


def asarray(
    obj: Any,
    *,
    dtype: dtypes.dtype | None = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of `obj`, sharing its memory unless `copy` says otherwise."""
    result = tensor(obj, dtype=dtype) if copy else as_tensor(obj, dtype, device)
    return result.requires_grad_() if requires_grad else result


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor on the array's memory.

    Raises:
        TypeError: not an array, or of a type that kuai does not have.
        ValueError: negative strides.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    dtypes.from_numpy_dtype(array.dtype)
    if any(s < 0 for s in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array with array.copy().)"
        )
    return wrap(array)


def frombuffer(
    buffer: Any,
    *,
    dtype: dtypes.dtype,
    count: int = -1,
    offset: int = 0,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor on the memory of a buffer."""
    return finish(np.frombuffer(buffer, dtype.numpy, count, offset), requires_grad, {})


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor on the memory of another library's array, by the DLPack protocol."""
    return wrap(np.from_dlpack(ext_tensor))


def scalar_tensor(s: Any, *, dtype: dtypes.dtype | None = None, **options: Any) -> Tensor:
    """A zero-dimensional tensor."""
    return full((), s, dtype=dtype or dtypes.get_default_dtype(), **options)


# -- filled ----------------------------------------------------------------------------------------


def _shape(size: Sequence[Any], options: dict[str, Any]) -> tuple[int, ...]:
    if "size" in options:
        size = (options.pop("size"),)
    shape = as_shape(size)
    for n in shape:
        if n < 0:
            raise RuntimeError(
                f"Trying to create tensor with negative dimension {n}: {list(shape)}"
            )
    return shape


def zeros(
    *size: Any, dtype: dtypes.dtype | None = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """Zeros."""
    d = dtypes.named(dtype) or _default(options)
    return finish(np.zeros(_shape(size, options), d.numpy), requires_grad, options)


def ones(
    *size: Any, dtype: dtypes.dtype | None = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """Ones."""
    d = dtypes.named(dtype) or _default(options)
    return finish(np.ones(_shape(size, options), d.numpy), requires_grad, options)


def empty(
    *size: Any, dtype: dtypes.dtype | None = None, requires_grad: bool = False, **options: Any
) -> Tensor:
    """A tensor whose values are whatever the memory holds."""
    d = dtypes.named(dtype) or _default(options)
    return finish(np.empty(_shape(size, options), d.numpy), requires_grad, options)


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """One value everywhere."""
    value = fill_value
    if isinstance(value, TensorBase):
        if primitives.intercept is not None:  # it may have no value yet
            return _full_of(value, _shape((size,), options), dtype, requires_grad, options)
        value = value.item()
    if isinstance(value, str):
        raise TypeError("full(): argument 'fill_value' (position 2) must be Number, not str")
    d = dtypes.named(dtype)
    if d is None:
        d = (
            dtypes.bool_
            if isinstance(value, bool)
            else dtypes.int64
            if isinstance(value, int)
            else dtypes.get_default_dtype()
        )
        if options.get("out") is not None:
            d = _default(options)
    array = np.empty(_shape((size,), options), d.numpy)
    array[...] = _fitting(value, d)
    return finish(array, requires_grad, options)


def _full_of(
    value: Any,
    shape: tuple[int, ...],
    dtype: dtypes.dtype | None,
    requires_grad: bool,
    options: dict[str, Any],
) -> Tensor:
    """`full` of the value of a tensor, as one of the Python number that its `item()` is."""
    known = dtypes.named(dtype)
    if known is None:
        known = value.dtype if value.dtype is dtypes.bool_ else dtypes.int64
        if value.dtype.is_floating_point or options.get("out") is not None:
            known = _default(options)
    filled = expand(reshape(to_dtype(value.detach(), known), ()), shape)
    return finish(filled.clone(), requires_grad, options)


def _fitting(value: Any, d: dtypes.dtype) -> Any:
    """A number as a value of the type; unsigned types count negative ones from their end.

    Raises:
        RuntimeError: the type has no such value.
    """
    if d.category != dtypes.INTEGER or not isinstance(value, (int, float)):
        return value
    limits = dtypes.iinfo(d)
    whole = int(value) if math.isfinite(value) else math.inf
    if not -limits.max <= whole <= limits.max and whole != limits.min:
        raise RuntimeError(f"value cannot be converted to type {d.name} without overflow")
    return whole + limits.max + 1 if whole < 0 and not d.is_signed else whole


def empty_strided(size: Any, stride: Any, **options: Any) -> Tensor:
    """An empty tensor with the given strides, in elements."""
    dtype = dtypes.named(options.pop("dtype", None)) or dtypes.get_default_dtype()
    span = 1 + builtins.sum((n - 1) * s for n, s in zip(size, stride, strict=True) if n)
    memory = np.empty(span, dtype.numpy)
    strides = [s * dtype.itemsize for s in stride]
    array = np.lib.stride_tricks.as_strided(memory, tuple(size), strides)
    return finish(array, options.pop("requires_grad", False), options)


def empty_permuted(size: Any, physical_layout: Any, **options: Any) -> Tensor:
    """An empty tensor whose dimensions lie in memory in the order `physical_layout`.

    Raises:
        RuntimeError: the order does not name each dimension once.
    """
    shape, order = as_shape((size,)), as_shape((physical_layout,))
    if sorted(order) != list(builtins.range(len(shape))):
        raise RuntimeError(
            f"Number of dimensions in size does not match the length of the physical_layout, or a "
            f"dimension is named twice: {list(shape)} and {list(order)}"
        )
    dtype = dtypes.named(options.pop("dtype", None)) or dtypes.get_default_dtype()
    memory = np.empty([shape[d] for d in order], dtype.numpy)
    array = memory.transpose([order.index(d) for d in builtins.range(len(shape))])
    return finish(array, options.pop("requires_grad", False), options)


def _like(x: Tensor, dtype: dtypes.dtype | None) -> tuple[tuple[int, ...], np.dtype]:
    return x._payload.shape, x._payload.dtype if dtype is None else dtypes.named(dtype).numpy


def zeros_like(
    input: Tensor,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Zeros in the shape and type of `input`."""
    return finish(np.zeros(*_like(input, dtype)), requires_grad, options)


def ones_like(
    input: Tensor,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Ones in the shape and type of `input`."""
    return finish(np.ones(*_like(input, dtype)), requires_grad, options)


def empty_like(
    input: Tensor,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """An empty tensor in the shape and type of `input`."""
    return finish(np.empty(*_like(input, dtype)), requires_grad, options)


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """One value in the shape and type of `input`."""
    return full(
        input._payload.shape,
        fill_value,
        dtype=dtype or input.dtype,
        requires_grad=requires_grad,
        **options,
    )


# -- sequences -------------------------------------------------------------------------------------


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, TensorBase) else x


def _default(options: dict[str, Any]) -> dtypes.dtype:
    """The type of a result whose type nobody gave: that of `out`, or the default type."""
    out = options.get("out") if options else None
    return dtypes.get_default_dtype() if out is None else out.dtype


def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """The numbers from `start` (0 where only one is given) by `step`, without `end`.

    Raises:
        RuntimeError: a step of 0, or in the wrong direction.
    """
    if end is None:
        start, end = options.pop("start", 0), options.pop("end", start)
    start, end, step = _number(start), _number(end), _number(step)
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is None:
        floating = any(isinstance(v, float) for v in (start, end, step))
        dtype = _default(options) if floating else dtypes.int64
    dtype = dtypes.named(dtype)
    if dtype is dtypes.int64:
        start, end, step = int(start), int(end), int(step)
        if step == 0:
            raise RuntimeError("step must be nonzero")
    count = math.ceil((end - start) / step)
    if dtype.category == dtypes.INTEGER:
        start, step = int(start), int(step)
    whole = all(isinstance(v, int) for v in (start, end, step))
    base = np.arange(count, dtype=np.int64 if whole else np.float64)
    return finish(convert(base * step + start, dtype), requires_grad, options)


def range(start: Any, end: Any = None, step: Any = 1, **options: Any) -> Tensor:
    """The numbers from `start` by `step`, with `end`."""
    if end is None:
        start, end = 0, start
    dtype = dtypes.named(options.pop("dtype", None)) or dtypes.get_default_dtype()
    count = math.floor((end - start) / step) + 1
    return finish(convert(np.arange(count) * step + start, dtype), False, options)


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """`steps` evenly spaced numbers from `start` to `end`, both among them."""
    d = dtypes.named(dtype) or _default(options)
    return finish(_converted(_line(start, end, steps, d), d), requires_grad, options)


def _line(start: Any, end: Any, steps: int, dtype: dtypes.dtype) -> Any:
    """Evenly spaced numbers, counted from both ends; an integer type has integer ends.

    They are in an array, or in a tensor where a capture has no value of an end yet.
    """
    _check_line(start, end, steps)
    if _has_value(start) and _has_value(end):
        where: Any = np.where
        index: Any = np.arange(steps)
        a, b = _number(start), _number(end)
        if dtype.category == dtypes.INTEGER:
            a, b = int(a), int(b)
    else:
        from kuai.ops import elementwise

        where = elementwise.where
        index = wrap(np.arange(steps))
        a, b = (scalar_tensor(x, dtype=dtypes.float64).detach() for x in (start, end))
        if dtype.category == dtypes.INTEGER:
            a, b = a.trunc(), b.trunc()
    if steps <= 1:
        return a + 0.0 * index
    step = (b - a) / (steps - 1)
    return where(index < steps // 2, a + step * index, b - step * (steps - 1 - index))


def _has_value(x: Any) -> bool:
    return not isinstance(x, TensorBase) or type(x._payload) is np.ndarray


def _converted(line: Any, dtype: dtypes.dtype) -> Any:
    return convert(line, dtype) if type(line) is np.ndarray else to_dtype(line, dtype)


def _check_line(start: Any, end: Any, steps: int) -> None:
    if not isinstance(steps, int):
        raise TypeError(f"the number of steps must be an int, not {type(steps).__name__}")
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    for x in (start, end):
        if isinstance(x, TensorBase) and x._payload.ndim:
            raise RuntimeError(
                "linspace and logspace only support 0-dimensional start and end tensors, but got "
                f"one of {x._payload.ndim} dimensions"
            )


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """`base` to the power of evenly spaced numbers from `start` to `end`."""
    d = dtypes.named(dtype) or _default(options)
    with np.errstate(all="ignore"):
        values = np.float64(base) ** _line(start, end, steps, d)
        return finish(_converted(values, d), requires_grad, options)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """A matrix with ones on the diagonal."""
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"n must be greater or equal to 0, got {n if n < 0 else m}")
    d = dtypes.named(dtype) or _default(options)
    return finish(np.eye(n, m, dtype=d.numpy), requires_grad, options)


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: dtypes.dtype = dtypes.int64, **options: Any
) -> Tensor:
    """The rows and columns of the entries on and below a diagonal.

    Shape:
        `(2, n)`.
    """
    _check_sizes(row, col)
    array = np.stack(np.tril_indices(row, offset, col)).astype(dtype.numpy)
    return finish(array, options.pop("requires_grad", False), options)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: dtypes.dtype = dtypes.int64, **options: Any
) -> Tensor:
    """The rows and columns of the entries on and above a diagonal.

    Shape:
        `(2, n)`.
    """
    _check_sizes(row, col)
    array = np.stack(np.triu_indices(row, offset, col)).astype(dtype.numpy)
    return finish(array, options.pop("requires_grad", False), options)


def _check_sizes(row: int, col: int) -> None:
    if row < 0 or col < 0:
        raise RuntimeError(f"row and col must be non-negative, got {row} and {col}")


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of each element of a vector, from `N - 1` down to 0, or up where `increasing`."""
    if x._payload.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = x._payload.shape[0] if N is None else N
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    from kuai.ops import elementwise, joining

    powers = builtins.range(n) if increasing else builtins.range(n - 1, -1, -1)
    if not n:
        return wrap(np.empty((x._payload.shape[0], 0), x._payload.dtype))
    return joining.stack([elementwise.pow(x, i) for i in powers], 1)


# -- overwriting -----------------------------------------------------------------------------------


@primitive
class overwrite_(Primitive):
    """The values of `y`, broadcast to the shape of `x`, in its type; `x` itself is forgotten."""

    inputs = ("x", "y")
    gradient_name = "CopyBackwards"
    aliased = 1

    def kernel(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.broadcast_to(y, x.shape)

    def alias(self, y: np.ndarray) -> np.ndarray:
        return y

    def infer(self, x: Meta, y: Meta) -> Meta:
        if broadcast_shapes(x.shape, y.shape) != x.shape:
            raise ShapeError(
                f"values of shape {list(y.shape)} do not fit a tensor of shape {list(x.shape)}"
            )
        return x

    def gradient(self, grad, y_shape):
        return (
            lambda: wrap(np.zeros(grad._payload.shape, grad._payload.dtype)),
            lambda: sum_to(grad, y_shape),
        )


def overwrite(x: Tensor, y: Any) -> Tensor:
    """`y` in the shape and type of `x`: what `copy_`, `fill_` and `zero_` store."""
    if not isinstance(y, TensorBase):
        array = np.empty((), x._payload.dtype)
        array[()] = y
        y = wrap(array)
    payload = y._payload
    extra = payload.ndim - x._payload.ndim
    if extra > 0 and builtins.all(n == 1 for n in payload.shape[:extra]):
        y = reshape(y, payload.shape[extra:])
    return overwrite_(x, to_dtype(y, x.dtype))


def fill(input: Tensor, value: Any) -> Tensor:
    """One value in the shape and type of `input`.

    Raises:
        RuntimeError: the value is a tensor with dimensions.
    """
    if isinstance(value, TensorBase) and value._payload.ndim:
        raise RuntimeError(
            "fill only supports 0-dimension value tensor but got tensor with "
            f"{value._payload.ndim} dimensions."
        )
    return overwrite(input, value)


__all__ = [
    "arange",
    "as_tensor",
    "asarray",
    "empty",
    "empty_like",
    "empty_permuted",
    "empty_strided",
    "eye",
    "fill",
    "from_dlpack",
    "from_numpy",
    "frombuffer",
    "full",
    "full_like",
    "linspace",
    "logspace",
    "ones",
    "ones_like",
    "range",
    "scalar_tensor",
    "tensor",
    "tril_indices",
    "triu_indices",
    "vander",
    "zeros",
    "zeros_like",
]
