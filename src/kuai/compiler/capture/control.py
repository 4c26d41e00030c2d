"""Loops, branches and checks as operations of a graph.

Their regions use values of the regions around them freely (`Region.free`). Each evaluates itself
with NumPy, operation by operation, as `Graph.evaluate` needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kuai.compiler.graph import Operation, StackMeta, evaluate_region
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.tensor import Tensor


class Control(Primitive):
    """An operation that is not computed from its inputs alone, or not in order."""

    is_control = True
    differentiable = False

    def evaluate(self, operation: Operation, found: dict[Any, Any]) -> list[Any]:
        """The arrays of the results, where `found` has those of the values so far."""
        raise NotImplementedError


@primitive
class while_loop(Control):
    """Rounds of a body, for as long as a test on the carried values holds.

    Inputs: the first carried values. Regions: `test`, whose parameters are the carried values and
    whose one result is a bool; `body`, which yields the next carried values and then the values
    that are pushed on stacks. Results: the last carried values, the number of rounds (int64), and
    a stack for each pushed value, with one array for each round.
    """

    def evaluate(self, operation: Operation, found: dict[Any, Any]) -> list[Any]:
        test, body = operation.regions
        carried = [found[v] for v in operation.inputs]
        count = len(carried)
        stacks: list[list[Any]] = [[] for _ in body.results[count:]]
        rounds = 0
        while True:
            found.update(zip(test.parameters, carried, strict=True))
            if not bool(evaluate_region(test, found)[0]):
                break
            found.update(zip(body.parameters, carried, strict=True))
            results = evaluate_region(body, found)
            carried = results[:count]
            for stack, pushed in zip(stacks, results[count:], strict=True):
                stack.append(pushed)
            rounds += 1
        return [*carried, np.int64(rounds), *stacks]


@primitive
class cond(Control):
    """One of two regions, as a bool says: `then` and `else`, which yield the results."""

    inputs = ("predicate",)

    def evaluate(self, operation: Operation, found: dict[Any, Any]) -> list[Any]:
        then, orelse = operation.regions
        chosen = then if bool(found[operation.inputs[0]]) else orelse
        return evaluate_region(chosen, found)


class StackGradient(Tensor):
    """The gradient of a loop's stack, or of items of it.

    Attributes:
        items: gradients of single items, each with the number of the item where that is known,
            and else in the round that used it.
        stacks: gradients of all items, as stacks, each with 1 or -1: whether they lie in the
            order of the stack that they belong to, or in the reverse one.
    """

    __slots__ = ("items", "stacks")

    items: list[tuple[int | None, Tensor]]
    stacks: list[tuple[Tensor, int]]

    def __add__(self, other: Any) -> StackGradient:
        return stack_gradient(self, self.items + other.items, self.stacks + other.stacks)


def stack_gradient(
    like: Any,
    items: Sequence[tuple[int | None, Tensor]] = (),
    stacks: Sequence[tuple[Tensor, int]] = (),
) -> StackGradient:
    """The gradient of a stack."""
    result: StackGradient = object.__new__(StackGradient)
    result._payload = like._payload
    result._requires_grad = False
    result._grad = result._node = result._view = result._hooks = None
    result._counter = [0, 0]
    result.items, result.stacks = list(items), list(stacks)
    return result


@primitive
class stack_item(Control):
    """What a loop kept in one of its rounds."""

    inputs = ("stack", "index")
    differentiable = True

    def kernel(self, stack: list[np.ndarray], index: np.ndarray) -> np.ndarray:
        return stack[int(index)]

    def infer(self, stack: StackMeta, index: Meta) -> Meta:
        return Meta(stack.shape, stack.dtype)

    def gradient(self, grad: Any, index: Any) -> Any:
        known = int(index._payload) if isinstance(index._payload, np.ndarray) else None
        return stack_gradient(grad, [(known, grad)]), None


@primitive
class check(Control):
    """Raises `error(message)` unless the condition holds."""

    inputs = ("condition",)
    has_effects = True

    def kernel(self, condition: np.ndarray, error: type[Exception], message: str) -> tuple[()]:
        if not bool(condition):
            raise error(message)
        return ()

    def infer(self, condition: Meta, error: type[Exception], message: str) -> tuple[()]:
        return ()


@primitive
class check_each(Primitive):
    """Raises `error(message)`, with a value in the message, unless all conditions hold.

    It is computed element by element, as arithmetic is, and costs no pass over memory of its own.
    """

    inputs = ("condition", "value")
    has_effects = True
    may_fail = True

    def kernel(
        self, condition: np.ndarray, value: np.ndarray, error: type[Exception], message: str
    ) -> np.ndarray:
        wrong = value[~condition]
        if wrong.size:
            raise error(message.format(wrong[0]))
        return condition

    def infer(self, condition: Meta, value: Meta, error: type[Exception], message: str) -> Meta:
        return condition

    def lower(self, emit: Any, condition: Any, value: Any, **told: Any) -> Any:
        emit.check(emit.logical_not(condition), told["error"], told["message"], value)
        return condition
