"""Changing tensors in place, as seen by the tape and by views of the same memory.

Every in-place operation is its out-of-place form, computed on the tensor as it was, and then
`assign`ed: the memory receives the new values, the version goes up, and where gradients are
recorded, the tensor (and, through `view_scatter`, what it is a view of) gets the new node. Other
views of the memory notice by its generation and derive their nodes anew (`tape.refresh`).
"""

from __future__ import annotations

from collections.abc import Callable
from sys import getrefcount
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core import base
from kuai.core import primitive as primitives
from kuai.core.base import PartView, TensorBase, View, alias, wrap
from kuai.core.primitive import Meta, Primitive, ViewPrimitive, is_floating, primitive
from kuai.core.tape import mode, refresh
from kuai.errors import GradientError, ShapeError

if TYPE_CHECKING:
    from kuai.tensor import Tensor


_new = object.__new__


def snapshot(x: TensorBase) -> Tensor:
    """The tensor as it is on the tape now, to compute from while `x` itself moves on."""
    if x._view is not None:
        refresh(x)
    old = _new(base.tensor_class)
    old._payload = x._payload
    old._requires_grad = x._requires_grad
    old._node = x if x._node is None and x._requires_grad else x._node
    old._counter = x._counter
    old._grad = old._view = old._hooks = None
    return old


def inplace(x: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Change `x` to `function(x, *args, **kwargs)`; returns `x`.

    Raises:
        GradientError: `x` is a leaf that requires grad (or a view of one).
        ShapeError: the result does not have the shape of `x`.
        RuntimeError: the result's type cannot be stored in that of `x`.
    """
    recording = mode.grad
    if (
        x._view is not None
        or (recording and x._requires_grad and x._node is None)
        or type(x._counter) is not list
    ):
        check_writable(x)
    if not recording and primitives.intercept is None:
        old = x  # nothing remembers it
    else:
        touch = getattr(primitives.intercept, "touch", None)
        if touch is not None:
            touch(x)  # before what is only a snapshot of it
        old = snapshot(x)
        if touch is not None:  # a captured value stays what it is, whatever becomes of `x`
            old._counter = list(old._counter)
    new = function(old, *args, **kwargs)
    mine, theirs = x._payload, new._payload
    if old is not x and type(theirs) is np.ndarray and getrefcount(old) > 2:
        # A node keeps the old values for its gradient.
        old._payload = old._payload.copy()
        old._counter = list(old._counter)
    if (
        type(theirs) is np.ndarray
        and type(mine) is np.ndarray
        and theirs.dtype is mine.dtype
        and theirs.shape == mine.shape
        and x._view is None
        and 0 not in mine.strides
    ):
        # What `assign` does, for the plain case.
        mine[...] = theirs
        counter = x._counter
        counter[0] += 1
        if recording and (new._requires_grad or x._requires_grad):
            counter[1] += 1
            x._requires_grad = new._requires_grad
            x._node = new._node
        return x
    assign(x, new)
    return x


def inplace_view(x: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Make `x` itself the view `function(x, *args, **kwargs)` of its memory; returns `x`.

    Raises:
        GradientError: `x` is a leaf that requires grad (or a view of one).
    """
    check_writable(x)
    reshaping = getattr(primitives.intercept, "reshaping", None)
    if reshaping is not None:
        reshaping(x)
    counter = x._counter
    counter[0] += 1
    if x._requires_grad and not mode.grad:
        x._payload = function(alias(x), *args, **kwargs)._payload
        return x
    old = snapshot(x)
    old._view = x._view
    new = function(old, *args, **kwargs)
    if new is old:
        return x
    x._payload = new._payload
    x._node = new._node
    x._requires_grad = new._requires_grad
    x._view = new._view
    # The views that were taken from `x` so far are views of what it was.
    counter[1] += 1
    if x._view is not None:
        x._view.generation = counter[1]
    x.__dict__.setdefault("_was", []).append((counter[1], old))
    return x


def check_writable(x: TensorBase) -> None:
    """Raise where `x` must not be changed in place.

    Raises:
        GradientError: a leaf that requires grad, or a view of one, while recording; or a tensor
            made in inference mode, outside of it.
    """
    if not isinstance(x, TensorBase):
        raise TypeError(f"an in-place operation needs a tensor, got {type(x).__name__}")
    if type(x._counter) is not list and not mode.inference:
        raise GradientError(
            "Inplace update to inference tensor outside InferenceMode is not allowed. You can "
            "make a clone to get a normal tensor before doing inplace update."
        )
    if not mode.grad:
        return
    if x._view is not None:
        refresh(x)
    if x._requires_grad and x._node is None:
        raise GradientError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )
    if x._view is not None:
        _check_view(x, x._view)


def _check_view(x: TensorBase, view: View) -> None:
    """Raise where a view must not be changed in place while recording."""
    part = ""
    of_a_leaf = of_the_tape = False
    on_the_tape = is_floating(x._payload)
    link: View | None = view
    while link is not None:
        if isinstance(link, PartView) and not part:
            part = link.name if link is view else f"Output 0 of {view.primitive.name.capitalize()}"
        source = link.source
        on_the_tape = on_the_tape and link.primitive.differentiable
        of_the_tape = of_the_tape or (on_the_tape and source._requires_grad)
        of_a_leaf = of_a_leaf or (source._requires_grad and source._node is None)
        link = source._view
    if not x._requires_grad:
        if of_the_tape:
            raise GradientError(
                "A view was created in no_grad mode and is being modified inplace with grad mode "
                "enabled. Given that this use case is ambiguous and error-prone, it is forbidden. "
                "Move both the view and the inplace operation either inside the no_grad block (if "
                "you don't want it to be tracked) or outside of it (if you do)."
            )
        return
    if part:
        raise GradientError(
            f"{part} is a view and is being modified inplace. This view is the output of a "
            "function that returns multiple views. Such functions do not allow the output views to "
            "be modified inplace. You should replace the inplace operation by an out-of-place one."
        )
    if of_a_leaf:
        raise GradientError(
            "a view of a leaf Variable that requires grad is being used in an in-place operation."
        )


def assign(x: TensorBase, new: TensorBase) -> None:
    """Give `x` the values of `new` and its place on the tape."""
    mine, theirs = x._payload, new._payload
    if theirs.shape != mine.shape:
        raise ShapeError(
            f"output with shape {list(mine.shape)} doesn't match the broadcast shape "
            f"{list(theirs.shape)}"
        )
    if theirs.dtype is not mine.dtype and theirs.dtype != mine.dtype:
        to, from_ = x.dtype, new.dtype
        if not dtypes.can_cast(from_, to):
            raise RuntimeError(
                f"result type {from_.name} can't be cast to the desired output type {to.name}"
            )
        new = primitives.PRIMITIVES["cast"](new, dtype=to)
        theirs = new._payload
    recording = mode.grad and (new._requires_grad or x._requires_grad)
    if type(mine) is np.ndarray and type(theirs) is np.ndarray:
        if 0 in mine.strides and _overlaps(mine):
            raise RuntimeError(
                "unsupported operation: more than one element of the written-to tensor refers to "
                "a single memory location. Please clone() the tensor before performing the "
                "operation."
            )
        np.copyto(mine, theirs)
        counter = x._counter
        counter[0] += 1
        if recording:
            _move_on(x, new, recording)
        return
    x._counter[0] += 1
    _move_on(x, new, recording)


def _move_on(x: TensorBase, new: TensorBase, recording: bool) -> None:
    """Give `x`, and what it is a view of, their new nodes (and values, in a capture)."""
    captured = type(new._payload) is not np.ndarray
    counter = x._counter
    if captured:
        primitives.intercept.changing(x)  # type: ignore[union-attr]
    counter[1] += 1
    while True:
        view = x._view
        old = snapshot_of_view(x) if view is not None else None
        if recording:
            x._requires_grad = new._requires_grad
            x._node = new._node
        if captured:
            x._payload = new._payload
        if view is None or old is None:
            return
        view.generation = counter[1]
        parameters = {"view": view.primitive, "parameters": view.parameters}
        if captured:
            new = view_scatter(old, new, **parameters)
        else:
            scattered = alias(old)
            if old._requires_grad or new._requires_grad:
                recorded = (scattered, (old, new), parameters)
                view_scatter.record(*recorded)  # type: ignore[call-arg, arg-type]
            new = scattered
        if view.primitive is detach:
            recording = False  # the memory is the source's, the place on the tape is not
        x = view.source


@primitive
class detach(ViewPrimitive):
    """The same memory off the tape, for a capture, which has no memory to share."""

    differentiable = False

    def kernel(self, x: np.ndarray) -> np.ndarray:
        return x[...]

    def infer(self, x: Meta) -> Meta:
        return x


def snapshot_of_view(x: TensorBase) -> Tensor:
    """A snapshot of what `x` is a view of."""
    assert x._view is not None
    source = x._view.source
    old = alias(source)
    old._requires_grad = source._requires_grad
    old._node = source._node
    return old


def _overlaps(array: np.ndarray) -> bool:
    return array.size > 0 and any(
        stride == 0 and n > 1 for stride, n in zip(array.strides, array.shape, strict=True)
    )


@primitive
class view_scatter(Primitive):
    """`x` with the part that a view of it shows replaced by `y`."""

    inputs = ("x", "y")
    gradient_name = "CopySlices"

    def kernel(
        self, x: np.ndarray, y: np.ndarray, view: Primitive, parameters: dict[str, Any]
    ) -> np.ndarray:
        result = x.copy()
        view.kernel(result, **parameters)[...] = y
        return result

    def pieces(
        self,
        result: np.ndarray,
        x: np.ndarray,
        y: np.ndarray,
        view: Primitive,
        parameters: dict[str, Any],
    ) -> list[tuple[np.ndarray, int, np.ndarray]]:
        return [(result, 0, x), (view.alias(result, **parameters), 1, y)]

    def infer(self, x: Meta, y: Meta, view: Primitive, parameters: dict[str, Any]) -> Meta:
        return x

    def gradient(self, grad, view, parameters):
        def of_x() -> Any:
            part = view(grad, **parameters)._payload
            zeros = wrap(np.zeros(part.shape, part.dtype))
            return view_scatter(grad, zeros, view=view, parameters=parameters)

        return of_x, lambda: view(grad, **parameters)
