"""What a captured call leaves outside: memory that it has changed, and gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kuai.compiler.capture.arrivals import arrival_of
from kuai.compiler.capture.records import OfTensor
from kuai.compiler.graph import Value
from kuai.core.base import TensorBase
from kuai.core.tape import hooks_of

if TYPE_CHECKING:
    from kuai.compiler.capture.captured import Argument, Captured
    from kuai.compiler.capture.recorder import Recorder


class Leaving:
    """Notes what is left in the tensors that live outside, when the code has run.

    Args:
        captured: what it is noted in.
        recorder: what the code has done.
        grads: by the id of what stands for a tensor among the arguments, the `grad` that it had.
    """

    def __init__(self, captured: Captured, recorder: Recorder, grads: dict[int, Argument]) -> None:
        self._captured, self._recorder, self._grads = captured, recorder, grads

    def note_everything(self) -> None:
        """Note it for all arguments, and all tensors from outside that were used."""
        captured, recorder = self._captured, self._recorder
        for argument in list(captured.arguments):
            payload = recorder.value(argument.stand_in)
            if not isinstance(argument.given, TensorBase):
                continue
            self._refuse_other_flag(argument.stand_in, argument.given._requires_grad)
            if payload is not argument.value:
                self._update(argument.value, payload)
            if not argument.is_grad:
                self._note_grad(argument)
        updated: set[Value] = set()
        for outer in list(recorder.outer.values()):
            self._note_outer(outer, updated)
        recorder.check_overlaps(updated)
        captured._outer = dict(recorder.outer)

    def _update(self, old: Value, new: Value) -> None:
        """Note what a tensor from outside holds in the end."""
        if new.meta != old.meta:
            self._recorder.refuse(
                f"a tensor from outside of the compiled function that becomes {new.meta!r} and was "
                f"{old.meta!r}",
                "make a new tensor, or change its type and shape outside",
            )
        self._recorder.graph.updates.append((old, new))

    def _note_grad(self, argument: Argument) -> None:
        """Note what becomes of the `grad` of a tensor among the arguments."""
        captured, recorder, graph = self._captured, self._recorder, self._recorder.graph
        x, given = argument.stand_in, argument.given
        before = self._grads.get(id(x))
        changed = x._grad is not (None if before is None else before.stand_in)
        added = before is not None and recorder.value(before.stand_in) is not before.value
        if changed and given._node is not None:
            recorder.refuse(
                "backward() reaches an argument that was computed outside of the compiled function",
                "detach() it, or compute it within; or use kuai.autograd.grad",
            )
        if (changed or added) and hooks_of(given):
            recorder.refuse(
                "a change of the gradient of an argument that has hooks, as backward() makes it",
                "return the loss, and call backward() on the result",
            )
        self._is_grad(x, argument.leaf)
        looked = (changed or argument.reads_grad) and not argument.overwritten
        argument.lacks_grad = looked and before is None
        argument.is_leaf = changed or added
        if before is not None and not looked:
            unused = all(before.value not in operation.used for operation in graph.walk())
            if unused and (changed or not argument.reads_grad):
                captured.arguments.remove(before)
                graph.inputs.remove(before.value)
        if changed or argument.overwritten:
            self._gradient(argument.value, x._grad)

    def _gradient(self, value: Value, grad: Any) -> None:
        """Note what becomes the `grad` of the tensor whose input that is."""
        recorder, gradients = self._recorder, self._recorder.graph.gradients
        arrives = arrival_of(grad, recorder)
        if arrives is not None:
            self._captured.grad_arrivals[len(gradients)] = arrives
        gradients.append((value, None if grad is None else recorder.value(grad)))

    def _is_grad(self, x: Any, owner: int | TensorBase) -> None:
        """Note what the `grad` of a tensor is in the end: that object, whoever returns it."""
        grad = x._grad
        if grad is not None and grad._arrives is None and not grad._requires_grad:
            self._captured._grads[id(grad)] = owner

    def _note_outer(self, outer: Any, updated: set[Value]) -> None:
        recorder = self._recorder
        x, value = outer.tensor, outer.value
        self._is_grad(x, x)
        self._refuse_other_flag(x, outer.requires_grad)
        if x._view is not None:
            recorder.value(x)
        elif isinstance(x._payload, Value) and value not in updated:
            updated.add(value)
            self._update(value, x._payload)
        read = OfTensor(x, outer.payload, outer.requires_grad, outer.node is None)
        looked = outer.requires_grad and (x._grad is not outer.grad or outer.reads_grad)
        if looked and not outer.overwritten:
            read.grad = outer.grad is None
        self._captured.reads.add(read)
        if x._grad is not outer.grad or outer.overwritten:
            if outer.node is not None:
                recorder.refuse(
                    "backward() reaches a tensor that was computed outside of the compiled "
                    "function",
                    "detach() it, or compute it within",
                )
            self._gradient(value, x._grad)

    def _refuse_other_flag(self, x: Any, before: bool) -> None:
        """Refuse what makes a tensor from outside require a gradient, or not any more."""
        if x._requires_grad != before:
            self._recorder.refuse(
                "a tensor from outside of the compiled function that begins or ceases to require "
                "a gradient there",
                "change a clone(), or change it in place under no_grad()",
            )
