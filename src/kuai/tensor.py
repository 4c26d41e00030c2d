"""The class `Tensor`: its methods are the functions of `kuai.ops`, with itself as the first
argument; here stands only what is a tensor's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kuai import ops
from kuai.core import tape
from kuai.core.base import TensorBase, alias, bind_tensor_class, wrap
from kuai.core.inplace import inplace
from kuai.errors import GradientError, ShapeError

Method = Callable[..., Any]


def in_place(function: Method) -> Method:
    """The in-place method of an out-of-place function."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return inplace(self, function, *args, **kwargs)  # type: ignore[no-any-return]

    method.__name__ = getattr(function, "__name__", "operation") + "_"
    method.__doc__ = f"In place: {function.__doc__}"
    return method


@bind_tensor_class
class Tensor(TensorBase):
    """A multi-dimensional array that remembers how it was computed."""

    __slots__ = ()
    __array_priority__ = 1000  # NumPy arrays on the left leave the operation to the tensor

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
            inputs = (inputs,)  # type: ignore[assignment]
        if inputs is not None and len(inputs) == 0:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        seed = seed_gradient(self, gradient)
        keep = create_graph if retain_graph is None else retain_graph
        tape.backward([self], [seed], keep, create_graph, inputs)

    def detach(self) -> Tensor:
        """A tensor on the same memory, off the tape."""
        return alias(self)

    def detach_(self) -> Tensor:
        """Take this tensor off the tape."""
        if self._view is not None:
            raise RuntimeError(
                "Can't detach views in-place. Use detach() instead."
            )
        self._node = None
        self._requires_grad = False
        return self

    @property
    def data(self) -> Tensor:
        """The same memory off the tape, whose changes the tape does not notice."""
        return wrap(self._payload)

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
            raise GradientError(
                "cannot register a hook on a tensor that doesn't require gradient"
            )
        if self._node is not None:
            return self._node.add_tensor_hook(hook)  # type: ignore[no-any-return]
        if self._hooks is None:
            self._hooks = {}
        handle = tape.RemovableHandle(self._hooks)
        self._hooks[handle.id] = hook
        return handle

    @property
    def _version(self) -> int:
        return self._counter[0]

    # -- operators --------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return ops.plus(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return ops.plus(self, other)

    def __sub__(self, other: Any) -> Tensor:
        return ops.minus(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return ops.minus(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return ops.mul(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return ops.mul(self, other)

    def __truediv__(self, other: Any) -> Tensor:
        return ops.quotient(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return ops.quotient(other, self)

    def __pow__(self, other: Any) -> Tensor:
        return ops.pow(self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return ops.pow(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return ops.matmul(self, other)

    def __neg__(self) -> Tensor:
        return ops.neg(self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return ops.abs(self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return ops.eq(self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return ops.ne(self, other)

    def __lt__(self, other: Any) -> Tensor:
        return ops.lt(self, other)

    def __le__(self, other: Any) -> Tensor:
        return ops.le(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return ops.gt(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return ops.ge(self, other)

    __hash__ = object.__hash__

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
        return self._payload

    def item(self) -> Any:
        """The value of a tensor of one element as a Python number."""
        if self._payload.size != 1:
            raise RuntimeError(
                f"a Tensor with {self._payload.size} elements cannot be converted to Scalar"
            )
        value = self._payload.reshape(())[()]
        return float(value) if self._payload.dtype.kind == "V" else value.item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        if self._payload.dtype.kind == "V":
            return self._payload.astype(np.float32).tolist()
        return self._payload.tolist()

    def __bool__(self) -> bool:
        if self._payload.size != 1:
            raise RuntimeError(
                "Boolean value of Tensor with "
                f"{'more than one value' if self._payload.size else 'no values'} is ambiguous"
            )
        return bool(self._payload)

    def __repr__(self) -> str:
        return f"tensor({self._payload!r})"


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
            setattr(Tensor, name, _as_method(function))
    for name in method_names.IN_PLACE:
        if name + "_" not in Tensor.__dict__ and hasattr(ops, name):
            setattr(Tensor, name + "_", in_place(getattr(ops, name)))
    for operator, name in method_names.IN_PLACE_OPERATORS.items():
        if hasattr(ops, name):
            setattr(Tensor, operator, in_place(getattr(ops, name)))


def _as_method(function: Any) -> Any:
    if hasattr(function, "__get__"):
        return function

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    method.__name__ = function.name
    method.__doc__ = function.__doc__
    return method


_attach_functions()

