"""Parameters and buffers: tensors that a block recognises as its own when they are assigned."""

from __future__ import annotations

from typing import Any, NoReturn

from kuai import dtypes, ops
from kuai.core.base import TensorBase
from kuai.core.tape import no_grad
from kuai.tensor import Tensor

_new = object.__new__


class Parameter(Tensor):
    """A tensor that a block registers as a parameter when it is assigned as an attribute.

    Args:
        data: the values; the parameter shares their memory. An empty tensor by default.
        requires_grad: whether gradients flow to it, whatever the gradient mode is.

    Raises:
        TypeError: `data` is not a tensor.
        RuntimeError: gradients are wanted of a type that is not floating.
    """

    __slots__ = ()

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        if data is None:
            data = ops.empty(0)
        if not isinstance(data, TensorBase):
            raise TypeError(
                f"a Parameter is made from a tensor, got {type(data).__name__}; "
                "kuai.tensor(...) makes one"
            )
        return _share(cls, data, requires_grad)

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) in memo:
            return memo[id(self)]
        with no_grad():
            result = _share(type(self), self.detach().clone(), self._requires_grad)
        memo[id(self)] = result
        return result

    def __repr__(  # type: ignore[override]
        self, *, tensor_contents: Any = None
    ) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild_parameter, (type(self), self.detach(), self._requires_grad, self.__dict__)


def _share(cls: type[Any], data: TensorBase, requires_grad: bool) -> Any:
    """A leaf of class `cls` on the memory of `data`."""
    if requires_grad and not data.dtype.is_floating_point:
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    t = _new(cls)
    t._payload = data._payload
    t._requires_grad = bool(requires_grad)
    t._grad = None
    t._node = None
    t._counter = data._counter
    t._view = None
    t._hooks = None
    return t


def _rebuild_parameter(
    cls: type[Parameter], data: Tensor, requires_grad: bool, attributes: dict[str, Any]
) -> Parameter:
    result: Parameter = _share(cls, data, requires_grad)
    result.__dict__.update(attributes)
    return result


class _BufferMeta(type(Tensor)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: Any) -> bool:
        if cls is Buffer and isinstance(instance, TensorBase):
            return getattr(instance, "_is_buffer", False)
        return super().__instancecheck__(instance)


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that a block registers as a buffer when it is assigned as an attribute.

    The result is an ordinary tensor with a mark; `isinstance(t, Buffer)` sees the mark.

    Args:
        data: the values; an empty tensor by default.
        persistent: whether the buffer is part of the block's `state_dict`.
    """

    __slots__ = ()

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = ops.empty(0)
        if not isinstance(data, TensorBase):
            raise TypeError(
                f"a Buffer is made from a tensor, got {type(data).__name__}; "
                "kuai.tensor(...) makes one"
            )
        t = _share(Tensor, data, data._requires_grad)
        t.persistent = persistent
        t._is_buffer = True
        return t


class UninitializedError(RuntimeError, ValueError):
    """A value, or the shape, of a parameter or buffer that has none yet."""


class _Unknown:
    """The payload of a tensor whose shape is not known yet: it has a dtype, and nothing else."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    @property
    def shape(self) -> NoReturn:
        raise UninitializedError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually "
            "happens in `load_state_dict` when trying to load an uninitialized parameter into an "
            "initialized one. Call `forward` to initialize the parameters before accessing their "
            "attributes."
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name != "__array__":
            raise AttributeError(name)
        raise UninitializedError(
            "Attempted to use an uninitialized parameter. This error happens when you are using "
            "a `LazyModule` or explicitly manipulating `kuai.nn.parameter.UninitializedParameter` "
            "objects. When using LazyModules Call `forward` with a dummy batch to initialize the "
            "parameters before calling kuai functions"
        )

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self.__getattr__("__array__")


class UninitializedTensorMixin(Tensor):
    """What the parameters and buffers of lazy blocks do until their shape is known."""

    __slots__ = ()

    cls_to_become: type[Any]

    def materialize(
        self, shape: Any, device: Any = None, dtype: dtypes.dtype | None = None
    ) -> None:
        """Become an ordinary parameter (or tensor) of this shape, its values not set.

        Args:
            shape: the shape.
            device: the device; the one given to the constructor by default.
            dtype: the data type; the one given to the constructor by default.
        """
        fresh = ops.empty(shape, dtype=self.dtype if dtype is None else dtype, device=device)
        self._payload = fresh._payload
        self._counter = fresh._counter
        self.__class__ = self.cls_to_become

    @property
    def data(self) -> Any:
        """Itself: there are no values to share."""
        return self

    @data.setter
    def data(self, value: Any) -> None:
        self._payload = value._payload

    def _with_dtype(self, dtype: dtypes.dtype | None) -> Any:
        other: Any = _new(type(self))
        for name in ("_requires_grad", "_grad", "_node", "_counter", "_view", "_hooks"):
            setattr(other, name, getattr(self, name))
        other._payload = _Unknown(self._payload.dtype if dtype is None else dtype.numpy)
        other.__dict__.update(self.__dict__)
        return other

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """One of another data type; there is nothing to move."""
        dtype = kwargs.get("dtype")
        for x in args:
            if isinstance(x, dtypes.dtype):
                dtype = x
            elif isinstance(x, TensorBase):
                dtype = x.dtype
        return self._with_dtype(dtype)

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """One of another data type."""
        return self._with_dtype(dtype)

    def float(self, memory_format: Any = None) -> Any:
        """One of float32."""
        return self._with_dtype(dtypes.float32)

    def double(self, memory_format: Any = None) -> Any:
        """One of float64."""
        return self._with_dtype(dtypes.float64)

    def half(self, memory_format: Any = None) -> Any:
        """One of float16."""
        return self._with_dtype(dtypes.float16)

    def bfloat16(self, memory_format: Any = None) -> Any:
        """One of bfloat16."""
        return self._with_dtype(dtypes.bfloat16)

    def cpu(self, memory_format: Any = None) -> Any:
        """Itself."""
        return self

    def is_floating_point(self) -> bool:
        """Whether the data type is floating."""
        return self.dtype.is_floating_point

    def share_memory_(self) -> Any:
        """Itself; its memory is shared when it has some.

        Raises:
            RuntimeError: always, as there is none yet.
        """
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to "
            "initialize the parameters before calling `module.share_memory()`."
        )

    def __repr__(  # type: ignore[override]
        self, *, tensor_contents: Any = None
    ) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = self._with_dtype(None)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild_uninitialized, (
            type(self),
            self._requires_grad,
            self.dtype,
            self.__dict__,
        )


def _uninitialized(cls: type[Any], requires_grad: bool, dtype: dtypes.dtype | None) -> Any:
    t = _share(cls, ops.empty(0, dtype=dtype), requires_grad)
    t._payload = _Unknown(t._payload.dtype)
    return t


def _rebuild_uninitialized(
    cls: type[Any], requires_grad: bool, dtype: dtypes.dtype, attributes: dict[str, Any]
) -> Any:
    result = _uninitialized(cls, requires_grad, dtype)
    result.__dict__.update(attributes)
    return result


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[misc]
    """A parameter of a lazy block, whose shape is not known yet.

    Args:
        requires_grad: whether gradients will flow to it.
        device: where it will lie.
        dtype: its data type; the default one where not given.
    """

    __slots__ = ()

    cls_to_become = Parameter

    def __new__(
        cls, requires_grad: bool = True, device: Any = None, dtype: dtypes.dtype | None = None
    ) -> Any:
        return _uninitialized(cls, requires_grad, dtype)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer of a lazy block, whose shape is not known yet.

    Args:
        requires_grad: whether gradients will flow to it.
        device: where it will lie.
        dtype: its data type; the default one where not given.
        persistent: whether it is part of the block's `state_dict`.
    """

    __slots__ = ()

    cls_to_become = Tensor

    def __new__(
        cls,
        requires_grad: bool = False,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
        persistent: bool = True,
    ) -> Any:
        t = _uninitialized(cls, requires_grad, dtype)
        t.persistent = persistent
        t._is_buffer = True
        return t

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


def is_lazy(param: Any) -> bool:
    """Whether `param` is an uninitialised parameter or buffer."""
    return isinstance(param, UninitializedTensorMixin)


__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "UninitializedTensorMixin",
    "is_lazy",
]
