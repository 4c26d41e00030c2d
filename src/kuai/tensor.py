"""The class `Tensor`: its methods are the functions of `kuai.ops`, with itself as the first
argument; here stands only what is a tensor's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core import primitive as primitives
from kuai.core import tape
from kuai.core.base import (
    TensorBase,
    alias,
    bind_tensor_class,
    grad_readers,
    layout_of,
    wrap,
)
from kuai.core.inplace import detach, inplace, inplace_view
from kuai.device import CPU, check_device
from kuai.errors import GradientError, OperandError, ShapeError
from kuai.layout import strided
from kuai.ops.arguments import numpy_named
from kuai.ops.creation import overwrite
from kuai.ops.elementwise import ARITHMETIC, Unary, change_in_place
from kuai.ops.indexing import getitem, setitem
from kuai.ops.movement import (
    as_shape,
    contiguous_copy,
    matrix_transpose,
    normalize_dim,
    reverse_dims,
)
from kuai.ops.random import RANDOM_METHODS

Method = Callable[..., Any]

# The methods themselves: calling an instance goes a longer way in Python.
_plus: Method = ops.plus.__call__
_mul: Method = ops.mul.__call__
_quotient: Method = ops.quotient.__call__
_lt: Method = ops.lt.__call__
_le: Method = ops.le.__call__
_gt: Method = ops.gt.__call__
_ge: Method = ops.ge.__call__
_neg: Method = ops.neg.__call__
_abs: Method = ops.abs.__call__


def _operator(function: Method) -> Any:
    """An operator: what is neither a tensor nor a number may know how to work with one."""

    def method(self: Tensor, other: Any) -> Any:
        try:
            return function(self, other)
        except OperandError:
            return NotImplemented

    return method


def _mirrored(function: Method) -> Method:
    return lambda x, other: function(other, x)


def _ratio_to(x: Any, other: Any) -> Any:
    return tape.called(ops.quotient(other, x), "MulBackward0")


def _comparable(x: object) -> bool:
    return isinstance(x, (TensorBase, int, float, np.generic, np.ndarray))


def in_place(function: Method, change: Method = inplace) -> Method:
    """The in-place method of an out-of-place function."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return change(self, function, *args, **kwargs)

    method.__name__ = getattr(function, "__name__", "operation") + "_"
    method.__doc__ = f"In place: {function.__doc__}"
    return method


@bind_tensor_class
class Tensor(TensorBase):
    """A multi-dimensional array that remembers how it was computed."""

    __slots__ = ()
    __module__ = "kuai"  # the name under which programs know it, and print its type
    __array_priority__ = 1000  # NumPy arrays on the left leave the operation to the tensor

    if TYPE_CHECKING:  # the functions of `ops`, attached below

        def __getattr__(self, name: str) -> Any: ...

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        from kuai.legacy import construct

        check_device(kwargs.pop("device", None))
        result = construct(dtypes.get_default_dtype(), args)
        return result if cls is Tensor else _rebuild(cls, result._payload, False)

    # -- differentiation ------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it."""
        if self._view is not None:
            tape.refresh(self)
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for gradients of this tensor, or stop asking.

        Raises:
            RuntimeError: its type is not floating, or it is not a leaf and this would cut it off.
        """
        if requires_grad:
            if self._payload.dtype.kind not in "fV":
                raise RuntimeError("only Tensors of floating point dtype can require gradients")
        elif self._node is not None:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        if requires_grad and type(self._counter) is not list and not tape.mode.inference:
            raise RuntimeError(
                "Setting requires_grad=True on inference tensor outside InferenceMode is not "
                "allowed."
            )
        self._requires_grad = bool(requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user, or needs no gradient."""
        if self._view is not None:
            tape.refresh(self)
        return self._node is None

    @property
    def grad_fn(self) -> Any:
        """The node of the tape that computed it; `None` for a leaf."""
        if self._view is not None:
            tape.refresh(self)
        node = self._node
        return node.node if isinstance(node, tape.OutputEdge) else node

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` left here."""
        if grad_readers:
            grad_readers[-1](self)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, TensorBase):
                raise TypeError(f"assigned grad expected to be a Tensor or None but got {value!r}")
            if value._payload.shape != self._payload.shape:
                raise RuntimeError(
                    f"assigned grad has data of a different size: got {list(value.shape)}, "
                    f"expected {list(self.shape)}"
                )
            if value.dtype is not self.dtype:
                raise RuntimeError(
                    f"assigned grad has data of a different type: got {value.dtype}, expected "
                    f"{self.dtype}"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Sequence[Tensor] | Tensor | None = None,
    ) -> None:
        """Add the gradients of this tensor to `grad` of the leaves it was computed from.

        Args:
            gradient: the gradient with respect to this tensor; 1 for a tensor of one element.
            retain_graph: keep the tape for another `backward`.
            create_graph: record the differentiation itself, for higher orders.
            inputs: the only tensors whose `grad` to add to.

        Raises:
            GradientError: it has no gradient, or more than one element and no `gradient` is given.
        """
        if isinstance(inputs, TensorBase):
            inputs = (inputs,)
        if inputs is not None and len(inputs) == 0:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        seed = seed_gradient(self, gradient)
        keep = create_graph if retain_graph is None else retain_graph
        tape.backward([self], [seed], keep, create_graph, inputs)

    def detach(self) -> Tensor:
        """A tensor on the same memory, off the tape."""
        return alias(self) if primitives.intercept is None else detach(self)

    def detach_(self) -> Tensor:
        """Take this tensor off the tape."""
        if self._view is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self._node = None
        self._requires_grad = False
        return self

    @property
    def data(self) -> Tensor:
        """The same memory off the tape, whose changes the tape does not notice."""
        if primitives.intercept is not None:
            return detach(self)
        result = wrap(self._payload)
        if type(self._counter) is not list:
            result._counter = self._counter  # made in inference mode, and stays so
        return result

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, TensorBase):
            raise TypeError(f"data must be a Tensor, got {type(value).__name__}")
        self._payload = value._payload

    def retain_grad(self) -> None:
        """Keep the gradient of this tensor too, though it is no leaf."""
        tape.retain_grad(self)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> tape.RemovableHandle:
        """Call `hook(grad)` when its gradient is computed; what it returns replaces it."""
        if not self.requires_grad:
            raise GradientError("cannot register a hook on a tensor that doesn't require gradient")
        if self._node is not None:
            return self._node.add_tensor_hook(hook)
        if self._hooks is None:
            self._hooks = {}
        handle = tape.RemovableHandle(self._hooks)
        self._hooks[handle.id] = hook
        return handle

    def register_post_accumulate_grad_hook(
        self, hook: Callable[[Tensor], None]
    ) -> tape.RemovableHandle:
        """Call `hook(self)` each time that `backward` has added to the `grad` of this leaf.

        Raises:
            GradientError: the tensor needs no gradient, or is no leaf.
        """
        if not self.requires_grad:
            raise GradientError("cannot register a hook on a tensor that doesn't require gradient")
        if self._node is not None:
            raise GradientError(
                "post accumulate grad hooks cannot be registered on non-leaf tensors"
            )
        if self._hooks is None:
            self._hooks = {}  # the walk looks for this hook only where there is this
        hooks = self.__dict__.setdefault("_accumulate_hooks", {})
        handle = tape.RemovableHandle(hooks)
        hooks[handle.id] = hook
        return handle

    @property
    def _version(self) -> int:
        if type(self._counter) is not list:
            raise RuntimeError("Inference tensors do not track version counter.")
        return self._counter[0]

    # -- operators --------------------------------------------------------------------------

    __add__ = __radd__ = _operator(_plus)
    __sub__ = _operator(ops.sub)
    __rsub__ = _operator(ops.rsub)
    __mul__ = __rmul__ = _operator(_mul)
    __truediv__ = _operator(_quotient)
    __rtruediv__ = __rdiv__ = _operator(_ratio_to)
    __floordiv__ = _operator(ops.floor_divide)
    __rfloordiv__ = _operator(_mirrored(ops.floor_divide))
    __mod__ = _operator(ops.remainder)
    __rmod__ = _operator(_mirrored(ops.remainder))
    __pow__ = _operator(ops.pow)
    __rpow__ = _operator(_mirrored(ops.pow))

    def __rmatmul__(self, other: Any) -> Tensor:
        if not isinstance(other, Tensor):
            return NotImplemented
        return ops.matmul(other, self)

    __and__ = __rand__ = _operator(ops.bitwise_and)
    __or__ = __ror__ = _operator(ops.bitwise_or)
    __xor__ = __rxor__ = _operator(ops.bitwise_xor)
    __lshift__ = _operator(ops.bitwise_left_shift)
    __rshift__ = _operator(ops.bitwise_right_shift)

    def __invert__(self) -> Tensor:
        if self._payload.dtype.kind in "fV":
            raise TypeError(
                "~ (operator.invert) is only implemented on integer and Boolean-type tensors"
            )
        return ops.bitwise_not(self)

    def __matmul__(self, other: Any) -> Tensor:
        if not isinstance(other, Tensor):
            return NotImplemented
        return ops.matmul(self, other)

    def __neg__(self) -> Tensor:
        return _neg(self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return _abs(self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return ops.eq(self, other) if _comparable(other) else NotImplemented

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return ops.ne(self, other) if _comparable(other) else NotImplemented

    __lt__, __le__ = _operator(_lt), _operator(_le)
    __gt__, __ge__ = _operator(_gt), _operator(_ge)

    __hash__ = object.__hash__

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """This tensor's values where `condition` holds, else those of `other`."""
        return ops.where(condition, self, other)

    def float_power_(self, exponent: Any) -> Tensor:
        """In place, for float64: the values to the power `exponent`.

        Raises:
            RuntimeError: the tensor is of another type.
        """
        if self.dtype is not dtypes.float64:
            raise RuntimeError(
                f"the base given to float_power_ has dtype {self.dtype.name} but the operation's "
                "result requires dtype float64"
            )
        return inplace(self, ops.float_power, exponent)

    # -- indexing -----------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Tensor:
        return getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        setitem(self, index, value)

    def __len__(self) -> int:
        if not self._payload.shape:
            raise TypeError("len() of a 0-d tensor")
        return self._payload.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self._payload.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(ops.unbind(self))

    def __reversed__(self) -> Tensor:
        return ops.flip(self, 0) if self._payload.shape else self

    @property
    def T(self) -> Tensor:
        """A view with the dimensions in reverse order."""
        return reverse_dims(self)

    @property
    def mT(self) -> Tensor:
        """A view with the last two dimensions exchanged."""
        return matrix_transpose(self)

    @property
    def H(self) -> Tensor:
        """The transpose of a matrix.

        Raises:
            RuntimeError: it is no matrix.
        """
        if self._payload.ndim not in (0, 2):
            raise RuntimeError(
                "tensor.H is only supported on matrices (2-D tensors). Got "
                f"{self._payload.ndim}-D tensor. For batches of matrices, consider using tensor.mH"
            )
        return reverse_dims(self)

    @property
    def mH(self) -> Tensor:
        """A view with the last two dimensions exchanged."""
        return ops.adjoint(self)

    # -- values -------------------------------------------------------------------------------

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The array itself, without a copy.

        Raises:
            RuntimeError: it requires grad (use `detach()`, or `force=True`).
        """
        if self.requires_grad and not force:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() "
                "instead."
            )
        return self._values()

    def _values(self) -> np.ndarray:
        """The array, to look at its elements; a capture refuses that."""
        asked = getattr(primitives.intercept, "asked", None)
        if asked is not None:
            asked(self)
        return self._payload

    def item(self) -> Any:
        """The value of a tensor of one element as a Python number."""
        if self._payload.size != 1:
            raise RuntimeError(
                f"a Tensor with {self._payload.size} elements cannot be converted to Scalar"
            )
        value = self._values().reshape(())[()]
        return float(value) if self._payload.dtype.kind == "V" else value.item()

    def __bool__(self) -> bool:
        if self._payload.size != 1:
            raise RuntimeError(
                "Boolean value of Tensor with "
                f"{'more than one value' if self._payload.size else 'no values'} is ambiguous"
            )
        return bool(self._values())

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        values = self._values()
        return values.astype(np.float32).tolist() if values.dtype.kind == "V" else values.tolist()

    def _number(self) -> Any:
        if self._payload.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return self.item()

    def __float__(self) -> float:
        return float(self._number())

    def __int__(self) -> int:
        return int(self._number())

    def __index__(self) -> int:
        if self._payload.dtype.kind not in "iub" or self._payload.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self._number())

    def __contains__(self, element: Any) -> bool:
        if not isinstance(element, (TensorBase, int, float, bool)):
            raise RuntimeError(
                "Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
                f"{type(element)}."
            )
        return bool(ops.any(ops.eq(self, element)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __array_wrap__(
        self, array: np.ndarray, context: Any = None, return_scalar: bool = False
    ) -> Tensor:
        return ops.from_numpy(np.asarray(array))  # what NumPy's functions of tensors give

    def __dlpack__(self, **options: Any) -> Any:
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return self._payload.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._payload.__dlpack_device__()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from kuai.printing import format_tensor

        return format_tensor(self)

    def __format__(self, spec: str) -> str:
        if self._payload.ndim == 0 and not self._requires_grad and type(self) is Tensor:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    # -- copies -------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol at the moment."
            )
        import copy

        payloads = memo.setdefault("kuai memory", {})  # type: ignore[call-overload]
        result = _rebuild(type(self), _copy_memory(self._payload, payloads), self._requires_grad)
        memo[id(self)] = result
        result._grad = copy.deepcopy(self._grad, memo)
        result.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return result

    def __reduce_ex__(self, protocol: Any) -> Any:
        if not self.is_leaf:
            raise RuntimeError(
                "Only leaf tensors can be pickled; detach() this one, which was computed from "
                "others"
            )
        payload: Any = self._payload
        name = None
        if payload.dtype.kind == "V":
            payload, name = payload.view(np.int16), self.dtype.name
        state = self.__dict__ or None
        return _unpickle, (type(self), payload, name, self._requires_grad), state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    # -- shape and type -----------------------------------------------------------------------

    def size(self, dim: int | None = None) -> Any:
        """The sizes of the dimensions, or of one."""
        shape = self.shape
        return shape if dim is None else shape[normalize_dim(dim, len(shape))]

    def dim(self) -> int:
        """The number of dimensions."""
        return self._payload.ndim

    ndimension = dim

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._payload.ndim

    def numel(self) -> int:
        """The number of elements."""
        return self._payload.size

    nelement = numel

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return self._payload.dtype.itemsize

    def element_size(self) -> int:
        """Bytes an element."""
        return self._payload.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._payload.nbytes

    def stride(self, dim: int | None = None) -> Any:
        """The strides in elements, of all dimensions or of one."""
        size = self._payload.dtype.itemsize
        strides = tuple([s // size for s in layout_of(self).strides])
        return strides if dim is None else strides[dim]

    def storage_offset(self) -> int:
        """How many elements of the memory stand before the first."""
        base: Any = self._payload
        while isinstance(base.base, np.ndarray):
            base = base.base
        start = base.__array_interface__["data"][0]
        return (self.data_ptr() - start) // self._payload.dtype.itemsize

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._payload.__array_interface__["data"][0]

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie in memory in order."""
        return layout_of(self).flags.c_contiguous

    def contiguous(self, memory_format: Any = None) -> Tensor:
        """The tensor, copied if its elements do not lie in memory in order."""
        return self if layout_of(self).flags.c_contiguous else contiguous_copy(self)

    def is_floating_point(self) -> bool:
        """Whether its type is floating."""
        return self._payload.dtype.kind in "fV"

    def is_complex(self) -> bool:
        """False: kuai has no complex numbers."""
        return False

    def is_signed(self) -> bool:
        """Whether its type holds negative numbers."""
        return self.dtype.is_signed

    def is_inference(self) -> bool:
        """Whether its memory was made in inference mode, so that no gradient can need it."""
        return type(self._counter) is not list

    def is_set_to(self, tensor: Tensor) -> bool:
        """Whether both are the same memory, read the same way."""
        a, b = self._payload, tensor._payload
        return self.data_ptr() == tensor.data_ptr() and (a.shape, a.strides) == (b.shape, b.strides)

    is_cuda = is_sparse = is_quantized = is_meta = is_mps = is_xpu = is_mkldnn = is_nested = False
    is_cpu = True
    layout = strided
    names: tuple[()] = ()

    @property
    def device(self) -> Any:
        """Where it lives: the CPU."""
        return CPU

    def get_device(self) -> int:
        """-1, which stands for the CPU."""
        return -1

    @property
    def real(self) -> Tensor:
        """The tensor itself."""
        return self

    @property
    def _base(self) -> Tensor | None:
        view = self._view
        if view is None:
            return None
        source = view.source
        while source._view is not None:
            source = source._view.source
        return source  # type: ignore[return-value]

    def _is_view(self) -> bool:
        return self._view is not None

    output_nr = 0

    @property
    def retains_grad(self) -> bool:
        """Whether `retain_grad` was asked of a tensor that is no leaf."""
        return bool(self.__dict__.get("_retains_grad", False))

    # -- conversion -----------------------------------------------------------------------------

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """The tensor in another type: `to(dtype)`, `to(device)`, `to(device, dtype)`, `to(other)`.

        Raises:
            RuntimeError: a device other than the CPU.
        """
        dtype = kwargs.pop("dtype", None)
        check_device(kwargs.pop("device", None))
        copy = kwargs.pop("copy", False)
        for name in ("non_blocking", "memory_format", "other"):
            value = kwargs.pop(name, None)
            if name == "other" and value is not None:
                dtype = value.dtype
        if kwargs:
            raise TypeError(f"to() received unexpected arguments: {sorted(kwargs)}")
        for i, argument in enumerate(args):
            if isinstance(argument, (dtypes.dtype, type)):
                dtype = argument
            elif isinstance(argument, TensorBase):
                dtype = argument.dtype
            elif isinstance(argument, bool):
                copy = copy or (argument and i == len(args) - 1 and i > 1)
            elif argument is not None:
                check_device(argument)
        dtype = dtypes.named(dtype)
        if dtype is not None and dtype is not self.dtype:
            return ops.cast(self, dtype=dtype)
        return self.clone() if copy else self

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The name of its legacy type; or the tensor in another type."""
        if dtype is None:
            return f"kuai.{LEGACY_NAMES[self.dtype]}"
        if isinstance(dtype, str):
            dtype = _DTYPES_BY_LEGACY_NAME[dtype.rpartition(".")[2]]
        elif not isinstance(dtype, dtypes.dtype):
            dtype = dtype.dtype
        return self.to(dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """The tensor in the type of another."""
        return self.to(other.dtype)

    def cpu(self, memory_format: Any = None) -> Tensor:
        """The tensor itself, which is on the CPU."""
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> Tensor:
        """Raise: there is no such device."""
        check_device("cuda")
        return self

    def pin_memory(self, device: Any = None) -> Tensor:
        """The tensor itself."""
        return self

    def share_memory_(self) -> Tensor:
        """The tensor itself."""
        return self

    def is_shared(self) -> bool:
        """False."""
        return False

    def is_pinned(self) -> bool:
        """False."""
        return False

    def double(self, memory_format: Any = None) -> Tensor:
        """The tensor in float64."""
        return self.to(dtypes.float64)

    def half(self, memory_format: Any = None) -> Tensor:
        """The tensor in float16."""
        return self.to(dtypes.float16)

    def bfloat16(self, memory_format: Any = None) -> Tensor:
        """The tensor in bfloat16."""
        return self.to(dtypes.bfloat16)

    def long(self, memory_format: Any = None) -> Tensor:
        """The tensor in int64."""
        return self.to(dtypes.int64)

    def short(self, memory_format: Any = None) -> Tensor:
        """The tensor in int16."""
        return self.to(dtypes.int16)

    def char(self, memory_format: Any = None) -> Tensor:
        """The tensor in int8."""
        return self.to(dtypes.int8)

    def byte(self, memory_format: Any = None) -> Tensor:
        """The tensor in uint8."""
        return self.to(dtypes.uint8)

    def float(self, memory_format: Any = None) -> Tensor:
        """The tensor in float32."""
        return self.to(dtypes.float32)

    def int(self, memory_format: Any = None) -> Tensor:
        """The tensor in int32."""
        return self.to(dtypes.int32)

    def bool(self, memory_format: Any = None) -> Tensor:
        """The tensor in bool."""
        return self.to(dtypes.bool_)

    # -- filling --------------------------------------------------------------------------------

    def copy_(self, src: Tensor, non_blocking: Any = False) -> Tensor:
        """Store the values of `src`, broadcast and converted."""
        return inplace(self, overwrite, src)

    def fill_(self, value: Any) -> Tensor:
        """Store one value everywhere."""
        if isinstance(value, TensorBase) and value._payload.ndim:
            raise RuntimeError(
                "fill_ only supports 0-dimension value tensor but got tensor with "
                f"{value._payload.ndim} dimensions."
            )
        return inplace(self, overwrite, value)

    def zero_(self) -> Tensor:
        """Store zeros."""
        return inplace(self, overwrite, 0)

    def fill_diagonal_(self, fill_value: Any, wrap: Any = False) -> Tensor:
        """Store one value on the diagonal."""
        if wrap:
            raise NotImplementedError("fill_diagonal_ with wrap=True")
        ops.diagonal(self).fill_(fill_value)
        return self

    def set_(self, source: Tensor) -> Tensor:
        """Take over the memory of another tensor."""
        self._payload = source._payload
        self._counter = source._counter
        return self

    def resize_(self, *sizes: Any) -> Tensor:
        """Change the shape in place; new elements have any value."""
        shape = as_shape(sizes)
        array = np.zeros(shape, self._payload.dtype)
        count = min(array.size, self._payload.size)
        array.reshape(-1)[:count] = self._payload.reshape(-1)[:count]
        self._payload = array
        return self

    def resize_as_(self, other: Tensor, *, memory_format: Any = None) -> Tensor:
        """Change the shape in place to that of another tensor."""
        return self.resize_(other._payload.shape)

    def new_tensor(self, data: Any, *, dtype: Any = None, **options: Any) -> Tensor:
        """A new tensor of `data`, in this one's type where nothing else is said."""
        return ops.tensor(data, dtype=dtype or self.dtype, **options)

    def new_zeros(self, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
        """Zeros in this tensor's type."""
        return ops.zeros(*size, dtype=dtype or self.dtype, **options)

    def new_ones(self, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
        """Ones in this tensor's type."""
        return ops.ones(*size, dtype=dtype or self.dtype, **options)

    def new_empty(self, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
        """An empty tensor in this tensor's type."""
        return ops.empty(*size, dtype=dtype or self.dtype, **options)

    def new_full(self, size: Any, fill_value: Any, *, dtype: Any = None, **options: Any) -> Tensor:
        """One value, in this tensor's type."""
        return ops.full(size, fill_value, dtype=dtype or self.dtype, **options)

    def new_empty_strided(self, size: Any, stride: Any, *, dtype: Any = None, **o: Any) -> Tensor:
        """An empty tensor of this tensor's type with the given strides."""
        return ops.empty_strided(size, stride, dtype=dtype or self.dtype, **o)

    def apply_(self, function: Callable[[Any], Any]) -> Tensor:
        """Replace each element by what a Python function makes of it."""
        flat = [function(v) for v in self._payload.reshape(-1).tolist()]
        new = np.asarray(flat, self._payload.dtype).reshape(self._payload.shape)
        return self.copy_(wrap(new))

    def untyped_storage(self) -> Storage:
        """The memory of the tensor."""
        return Storage(self)

    storage = untyped_storage


class Storage:
    """The memory under a tensor and its views."""

    def __init__(self, tensor: Tensor) -> None:
        base: Any = tensor._payload
        while isinstance(base.base, np.ndarray):
            base = base.base
        self._array = base

    def data_ptr(self) -> int:
        """Its address."""
        return self._array.__array_interface__["data"][0]

    def nbytes(self) -> int:
        """Its size in bytes."""
        return self._array.nbytes

    def size(self) -> int:
        """Its size in bytes."""
        return self._array.nbytes

    __len__ = size


def _rebuild(cls: type, payload: np.ndarray, requires_grad: bool) -> Any:
    result = wrap(payload)
    if cls is not Tensor:
        other: Any = object.__new__(cls)
        for name in ("_payload", "_grad", "_node", "_counter", "_view", "_hooks"):
            setattr(other, name, getattr(result, name))
        result = other
    result._requires_grad = requires_grad
    return result


def _unpickle(cls: type, payload: np.ndarray, name: str | None, requires_grad: bool) -> Any:
    if name is not None:
        payload = payload.view(getattr(dtypes, name).numpy)
    return _rebuild(cls, payload, requires_grad)


def _copy_memory(array: np.ndarray, copies: dict[int, Any]) -> np.ndarray:
    """A copy of the array; arrays on one memory become arrays on one copy of it."""
    base: Any = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    if base is array and id(array) not in copies:
        copy = array.copy("K")
        if copy.strides == array.strides:
            copies[id(array)] = (array, copy)
        return copy
    if id(base) not in copies:
        copies[id(base)] = (base, base.copy("K"))
    new = copies[id(base)][1]
    if new.strides != base.strides:
        return array.copy()
    offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return np.ndarray(
        array.shape,
        array.dtype,
        new.data.cast("B") if new.flags.c_contiguous else (new),
        offset,
        array.strides,
    )


LEGACY_NAMES = {
    dtypes.float32: "FloatTensor",
    dtypes.float64: "DoubleTensor",
    dtypes.float16: "HalfTensor",
    dtypes.bfloat16: "BFloat16Tensor",
    dtypes.uint8: "ByteTensor",
    dtypes.int8: "CharTensor",
    dtypes.int16: "ShortTensor",
    dtypes.int32: "IntTensor",
    dtypes.int64: "LongTensor",
    dtypes.bool_: "BoolTensor",
}
_DTYPES_BY_LEGACY_NAME = {name: d for d, name in LEGACY_NAMES.items()}


def seed_gradient(root: Tensor, gradient: Tensor | None) -> Tensor:
    """The gradient to start `backward` with.

    Raises:
        GradientError: `root` is not on the tape, or not of one element where none is given.
        ShapeError: `gradient` is not of the root's shape.
    """
    if tape.edge_of(root) is None:
        raise GradientError(
            "element 0 of tensors does not require grad and does not have a grad_fn"
        )
    payload = root._payload
    if gradient is None:
        if payload.size != 1:
            raise GradientError("grad can be implicitly created only for scalar outputs")
        return wrap(np.ones(payload.shape, payload.dtype))
    if not isinstance(gradient, TensorBase):
        raise TypeError(
            f"gradients can be either Tensors or None, but got {type(gradient).__name__}"
        )
    if gradient._payload.shape != payload.shape:
        raise ShapeError(
            f"Mismatch in shape: grad_output[0] has a shape of {gradient.shape} and output[0] has "
            f"a shape of {root.shape}."
        )
    return gradient


def _attach_functions() -> None:
    """Give `Tensor` the functions of `ops` as methods, and their in-place forms."""
    from kuai.ops import method_names

    for name in method_names.METHODS:
        if name not in Tensor.__dict__ and hasattr(ops, name):
            function = getattr(ops, name)
            function = getattr(function, "__wrapped__", function)  # a method takes no `out`
            setattr(Tensor, name, _as_method(function))
            if isinstance(function, FunctionType) and name not in ("sum", "mean"):  # have both
                setattr(Tensor, name, numpy_named(function))
    for name in method_names.IN_PLACE:
        if name + "_" not in Tensor.__dict__ and hasattr(ops, name):
            function = getattr(ops, name)
            setattr(Tensor, name + "_", in_place(getattr(function, "__wrapped__", function)))
    for function in RANDOM_METHODS:
        setattr(Tensor, function.__name__, function)
    for name in method_names.IN_PLACE_VIEWS:
        setattr(Tensor, name + "_", in_place(getattr(ops, name), inplace_view))
    for operator, name in method_names.IN_PLACE_OPERATORS.items():
        if hasattr(ops, name):
            setattr(Tensor, operator, _in_place_operator(getattr(ops, name)))


def _in_place_operator(function: Any) -> Any:
    if function in ARITHMETIC:
        return _in_place_arithmetic(function, ARITHMETIC[function])

    def operator(self: Tensor, other: Any) -> Tensor:
        return inplace(self, function, other)

    return operator


def _in_place_arithmetic(function: Any, primitive: Any) -> Any:
    def operator(self: Tensor, other: Any) -> Tensor:
        return change_in_place(self, primitive, function, other)

    return operator


def _as_method(function: Any) -> Any:
    if hasattr(function, "__get__"):
        return function
    method = _unary_method(function) if isinstance(function, Unary) else _any_method(function)
    method.__name__ = function.name
    method.__doc__ = function.__doc__
    return method


def _unary_method(function: Any) -> Any:
    apply = function.__call__

    def method(self: Tensor) -> Any:
        return apply(self)

    return method


def _any_method(function: Any) -> Any:
    apply = function.__call__

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return apply(self, *args, **kwargs)

    return method


_attach_functions()
