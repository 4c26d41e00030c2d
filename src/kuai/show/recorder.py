"""Listen to a run of a network: to hooks on its blocks, and to the primitives applied meanwhile."""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from kuai.core.base import TensorBase, alias
from kuai.core.primitive import Primitive
from kuai.show.calls import Call, Op, Trace, Value

if TYPE_CHECKING:
    from kuai.nn import Module
    from kuai.tensor import Tensor


def _per_position(inputs: Sequence[Any]) -> int:
    """How many products a convolution adds for one of the positions that it runs over."""
    return math.prod(inputs[1].shape[1:])


MULTIPLY_ADDS: dict[str, Callable[[Sequence[Any], Any], int]] = {
    "matmul": lambda inputs, result: result.numel() * inputs[0].shape[-1],
    "linear": lambda inputs, result: result.numel() * inputs[0].shape[-1],
    "convolution": lambda inputs, result: result.numel() * _per_position(inputs),
    "convolution_input_gradient": lambda inputs, result: inputs[0].numel() * _per_position(inputs),
}
"""How many products a primitive multiplies and adds; the others count as none."""


class Recorder:
    """Fills in a `Trace`: `enter` and `leave` are for the hooks, `applied` for the primitives."""

    def __init__(self, net: Module) -> None:
        self.trace = Trace(net)
        self.stack: list[Call] = []
        self.values: dict[int, Value] = {}
        self.readers: dict[int, tuple[list[int], Op]] = {}
        self.frame: FrameType | None = None
        self.op: Op | None = None
        for module in net.modules():
            for name, t in tensors_of(module):
                self.remember(t, Value(t, None, name))

    # A tensor is known by its array. An in-place operation changes the version and not the array.

    def remember(self, t: TensorBase, value: Value) -> None:
        key = id(t._payload)
        values = self.values
        value.alive = weakref.ref(t._payload, lambda _: values.pop(key, None))
        values[key] = value

    def value_of(self, t: TensorBase) -> Value | None:
        value = self.values.get(id(t._payload))
        if value is not None and value.version != t._counter[0]:
            reader = self.readers.get(id(t._counter))
            if reader is not None:  # whoever read it last is who then changed it in place
                value = Value(t, reader[1])
                self.remember(t, value)
        return value

    def enter(self, module: Module, _: Any) -> None:
        scope = self.stack[-1] if self.stack else None
        call = self.trace.root if scope is None else Call(module, scope)
        if scope is not None:
            scope.items.append(call)
        self.stack.append(call)
        self.trace.calls.append(call)
        self.frame = None

    def leave(self, module: Module, _: Any, output: Any) -> Any:
        call = self.stack[-1]
        call.output = [tuple(t.shape) for t in tensors_in(output)]
        output = mapped(output, self.passed_through)
        self.stack.pop()
        self.frame = None
        return output

    def passed_through(self, t: Tensor) -> Tensor:
        """A block that returns what it was given is still a station on the way."""
        value = self.value_of(t)
        call = self.stack[-1]
        if value is None or value.producer is None or _inside(value.producer, call):
            return t
        op = Op("unchanged", call)
        op.reads.append(value)
        call.items.append(op)
        other = alias(t)
        other._payload = t._payload.view()
        self.remember(other, Value(other, op))
        return other

    def applied(
        self,
        primitive: Primitive,
        inputs: tuple[Any, ...],
        parameters: dict[str, Any],
        result: Any,
    ) -> None:
        count = MULTIPLY_ADDS.get(primitive.name)
        if count is not None:
            for call in self.stack:
                call.multiply_adds += count(inputs, result)
        op, is_new = self.operation(primitive)
        computed = False
        names: list[str] = []
        for i, x in enumerate(inputs):
            if isinstance(x, TensorBase):
                value = self.value_of(x)
                if value is None:
                    if is_new and x._payload.ndim == 0:  # a number that was made a tensor
                        op.numbers.append(f"{float(x._payload):g}")
                        op.leading = i == 0
                    continue
                if value.producer is None:
                    names.append(value.name)
                else:
                    computed = True
                    if value.producer is not op and value not in op.reads:
                        op.reads.append(value)
            elif is_new and isinstance(x, (bool, int, float)):
                op.numbers.append(f"{x:g}")
                op.leading = i == 0
        for x in inputs:
            if isinstance(x, TensorBase):
                self.readers[id(x._counter)] = (x._counter, op)
        results = list(tensors_in(result))
        if computed or op.reads:
            op.operands.extend(n for n in names if n not in op.operands)
            for r in results:
                self.remember(r, Value(r, op))
        else:  # computed from parameters and constants alone: as constant as they are
            for r in results:
                self.remember(r, Value(r, None, names[0] if names else ""))

    def operation(self, primitive: Primitive) -> tuple[Op, bool]:
        """The operation to which this application belongs, and whether it begins it.

        A function such as `softmax` applies several primitives; what the program said is the
        outermost function of this package between the primitive and the block's `forward`.
        """
        frame, name = _outermost(sys._getframe(2), primitive.name)
        if frame is self.frame and self.op is not None:
            return self.op, False
        scope = self.stack[-1] if self.stack else None
        self.frame, self.op = frame, Op(name, scope)
        if scope is not None:
            scope.items.append(self.op)
        return self.op, True


def tensors_of(module: Module) -> Iterator[tuple[str, Tensor]]:
    """A block's own parameters, buffers and constants, by name."""
    seen: set[int] = set()  # a parameter stands in two of these tables
    for table in (module._parameters, module._buffers, vars(module)):
        for name, t in table.items():
            if isinstance(t, TensorBase) and id(t) not in seen:
                seen.add(id(t))
                yield name, t  # type: ignore[misc]


_MACHINERY = (
    "__call__", "run_and_tell", "run", "method", "operator", "explained_call", "inplace",
    "change_in_place", "applied", "<lambda>",
)  # fmt: skip


def _outermost(frame: FrameType | None, name: str) -> tuple[FrameType | None, str]:
    found: FrameType | None = None
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        function = frame.f_code.co_name
        if not module.startswith("kuai.") or module == "kuai.demo" or function == "forward":
            break
        if function not in _MACHINERY:
            name = function.strip("_") if function.startswith("__") else function.rstrip("_")
        found = frame
        frame = frame.f_back
    return found, name


def _inside(op: Op, call: Call) -> bool:
    scope = op.scope
    while scope is not None and scope is not call:
        scope = scope.scope
    return scope is call


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a value, however deep in tuples, lists and dicts."""
    if isinstance(value, TensorBase):
        yield value  # type: ignore[misc]
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """`value` with each tensor in it replaced by `function` of it."""
    if isinstance(value, TensorBase):
        return function(value)
    if type(value) is dict:
        return {key: mapped(item, function) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(mapped(item, function) for item in value)
    return value


@contextmanager
def hooked(net: Module, before: Callable[..., Any], after: Callable[..., Any]) -> Iterator[None]:
    """Call `before` and `after` around every block's `forward`, for a while."""
    handles = []
    try:
        for m in net.modules():
            handles.append(m.register_forward_pre_hook(before))
            handles.append(m.register_forward_hook(after))
        yield
    finally:
        for handle in handles:
            handle.remove()
