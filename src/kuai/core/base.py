"""What a tensor is made of; its operations come in `kuai.ops`, its methods in `kuai.tensor`."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kuai import dtypes
from kuai.errors import GradientError

if TYPE_CHECKING:
    from kuai.core.tape import Edge
    from kuai.tensor import Tensor

_new = object.__new__


class Size(tuple[int, ...]):
    """The shape of a tensor: a tuple of ints."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        count = 1
        for n in self:
            count *= n
        return count

    def __repr__(self) -> str:
        return f"kuai.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, index: Any) -> Any:
        item = tuple.__getitem__(self, index)
        return Size(item) if isinstance(index, slice) else item

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other: Any) -> Size:
        return Size(tuple(other) + tuple(self))


class View:
    """How a view came from another tensor: `primitive(source, **parameters)`.

    `generation` is the source memory's generation for which the view's payload and node hold;
    when an in-place operation has moved it on, both are derived from the source again.
    """

    __slots__ = ("generation", "parameters", "primitive", "source")

    def __init__(
        self, source: TensorBase, primitive: Any, parameters: dict[str, Any], generation: int
    ) -> None:
        self.source = source
        self.primitive = primitive
        self.parameters = parameters
        self.generation = generation


class PartView(View):
    """A view that was taken together with others, by an operation that gives several.

    Attributes:
        name: which result of which operation it is: `Output 0 of Split`.
    """

    __slots__ = ("name",)

    name: str


inferring: set[int] = set()  # the threads in inference mode; 0 while a capture counts births
births: dict[int, Callable[[list[int]], None]] = {}  # who wants to know of a thread's new memory
grad_readers: list[Callable[[Any], None]] = []  # who wants to know whose `grad` is asked for


class InferenceCounter(list[int]):
    """The counter of a tensor made in inference mode: nothing that the tape keeps can name it."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        if index == 0 and get_ident() not in inferring:
            raise GradientError(
                "Inference tensors cannot be saved for backward. To work around you can make a "
                "clone to get a normal tensor and use it in autograd."
            )
        return list.__getitem__(self, index)


def new_counter() -> list[int]:
    """The counter of new memory, which remembers whether it was made in inference mode."""
    thread = get_ident()
    counter = InferenceCounter((0, 0)) if thread in inferring else [0, 0]
    if births and thread in births:
        births[thread](counter)
    return counter


class TensorBase:
    """The fields of a tensor.

    Attributes:
        _payload: a NumPy array, or a value of the graph that is being captured.
        _requires_grad: whether gradients flow to it.
        _grad: the gradient that `backward` left here (leaves, and after `retain_grad`).
        _node: what computed it on the tape; `None` for a leaf.
        _counter: `[version, generation]`, shared by all tensors on the same memory. The version
            counts changes in place; the generation counts those that changed the tape or graph.
        _view: for a differentiable view, how it was taken.
        _hooks: functions to call with its gradient.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_counter",
        "_grad",
        "_hooks",
        "_node",
        "_payload",
        "_requires_grad",
        "_view",
    )

    _payload: np.ndarray
    _requires_grad: bool
    _grad: Tensor | None
    _node: Edge | None
    _counter: list[int]
    _view: View | None
    _hooks: dict[int, Any] | None
    _weak: ClassVar[bool] = False  # a captured Python number, which gives way in promotion
    _arrives: Any = None  # of a captured gradient that may be missing, whether it is there
    _retains_grad: bool  # only on a tensor that `retain_grad` was called on

    if TYPE_CHECKING:  # every tensor is a `Tensor`: what that adds

        def __getattr__(self, name: str) -> Any: ...

    @property
    def shape(self) -> Size:
        """The sizes of the dimensions."""
        return Size(self._payload.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        """The data type of the elements."""
        numpy_dtype = self._payload.dtype
        return dtypes.FROM_NUMPY.get(numpy_dtype) or dtypes.from_numpy_dtype(numpy_dtype)


tensor_class: type[Tensor] = TensorBase  # type: ignore[assignment]  # until kuai.tensor binds it


def bind_tensor_class(cls: type[Tensor]) -> type[Tensor]:
    """Make `cls` the class of all results; `kuai.tensor` calls it once."""
    global tensor_class
    tensor_class = cls
    return cls


def wrap(payload: Any) -> Tensor:
    """A new tensor on this array (or captured value), without gradient."""
    t = _new(tensor_class)
    t._payload = payload
    t._requires_grad = False
    t._grad = None
    t._node = None
    t._counter = new_counter() if inferring else [0, 0]
    t._view = None
    t._hooks = None
    return t


def layout_of(x: TensorBase) -> np.ndarray:
    """An array that lies in memory as the tensor does: its own, or one without meaningful values.

    A captured value has no memory; it is thought of as contiguous where it was computed, and its
    views as lying in it. Those from outside lie as they did in the call that was captured.
    """
    payload = x._payload
    if type(payload) is np.ndarray:
        return payload
    if x._view is None:
        outer: np.ndarray | None = getattr(payload, "lies_as", None)
        return np.empty(payload.shape, payload.dtype) if outer is None else outer
    source = layout_of(x._view.source)
    result: np.ndarray = x._view.primitive.kernel(source, **x._view.parameters)
    return result


def alias(source: TensorBase) -> Tensor:
    """A new tensor on the same memory, sharing its version, detached from the tape."""
    t = wrap(source._payload)
    t._counter = source._counter
    return t
