"""L-BFGS as a program: the same steps as `kuai.optim.lbfgs`, with its memory in tensors.

How long the list of remembered changes is depends on values, and so do the numbers of iterations
and evaluations. A program keeps all of that in tensors of fixed sizes, which it changes in place;
the lists and numbers of PyTorch's state are made of them when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kuai import dtypes, ops
from kuai.core.tape import no_grad
from kuai.optim.line_search import Point, strong_wolfe
from kuai.tensor import Tensor

if TYPE_CHECKING:
    from kuai.optim.lbfgs import LBFGS


class Memory:
    """What L-BFGS remembers, in tensors.

    Attributes:
        counts: the numbers of iterations and of evaluations so far, of remembered changes, and the
            row of the oldest of them.
        numbers: the last step length, loss, and scale of the inverse Hessian's diagonal.
        direction, gradient: the last ones.
        changes, steps: rows of changes of the gradient and of the parameters, used as a ring.
        inverses, factors: what belongs to each row.
    """

    def __init__(self, size: int, rows: int, dtype: dtypes.dtype) -> None:
        self.counts = ops.zeros(4, dtype=dtypes.int64)
        self.numbers = ops.zeros(3, dtype=dtypes.float64)
        self.direction, self.gradient = ops.zeros(size, dtype=dtype), ops.zeros(size, dtype=dtype)
        self.changes = ops.zeros(rows, size, dtype=dtype)
        self.steps = ops.zeros(rows, size, dtype=dtype)
        self.inverses, self.factors = ops.zeros(rows, dtype=dtype), ops.zeros(rows, dtype=dtype)
        self._known = 0

    @property
    def is_news(self) -> bool:
        """Whether a program has changed it since it was last in step with the state."""
        return self.counts._counter[0] != self._known

    def tensors(self) -> list[Tensor]:
        """All of it."""
        return [x for x in vars(self).values() if isinstance(x, Tensor)]

    def load(self, state: dict[str, Any]) -> None:
        """Take over the lists and numbers of an optimizer's state."""
        rows = self.changes.shape[0]
        changes, steps, inverses = (
            state.get(k, [])[-rows:] for k in ("old_dirs", "old_stps", "ro")
        )
        count = len(changes)
        counts = [state.get("n_iter", 0), state.get("func_evals", 0), count, 0]
        self.counts.copy_(ops.tensor(counts))
        scale = state.get("H_diag", 1)
        numbers = [float(x) for x in (state.get("t", 0), state.get("prev_loss", 0), scale)]
        self.numbers.copy_(ops.tensor(numbers, dtype=dtypes.float64))
        if "d" in state:
            self.direction.copy_(state["d"])
            self.gradient.copy_(state["prev_flat_grad"])
        factors = state.get("al", [])
        for i in range(count):
            self.changes[i] = changes[i]
            self.steps[i] = steps[i]
            self.inverses[i] = inverses[i]
            if i < len(factors) and factors[i] is not None:
                self.factors[i] = factors[i]
        self._known = self.counts._counter[0]

    def store(self, state: dict[str, Any]) -> None:
        """Give an optimizer's state its lists and numbers."""
        iterations, evaluations, count, oldest = self.counts.tolist()
        state["func_evals"], state["n_iter"] = evaluations, iterations
        self._known = self.counts._counter[0]
        if not iterations:
            return
        rows = self.changes.shape[0]
        places = [(oldest + i) % rows for i in range(count)]
        t, loss, scale = self.numbers.tolist()
        state["d"], state["prev_flat_grad"] = self.direction.clone(), self.gradient.clone()
        state["old_dirs"] = [self.changes[i].clone() for i in places]
        state["old_stps"] = [self.steps[i].clone() for i in places]
        state["ro"] = [self.inverses[i].clone() for i in places]
        state["H_diag"] = ops.tensor(scale, dtype=self.direction.dtype) if count else 1
        state["prev_loss"], state["t"] = loss, t
        if iterations > 1:
            known: list[Tensor | None] = [self.factors[i].clone() for i in places]
            state["al"] = known + [None] * (rows - count)


@no_grad()
def take_steps(optimizer: LBFGS, memory: Memory, closure: Callable[[], Any]) -> Any:
    """Take up to `max_iter` steps, as `LBFGS.step` does; it is captured as source.

    Args:
        optimizer: whose parameters and options they are.
        memory: what it remembers.
        closure: computes the loss and its gradients.
    """
    group = optimizer.param_groups[0]
    max_iter, max_eval = group["max_iter"], group["max_eval"]
    tolerance_grad, tolerance_change = group["tolerance_grad"], group["tolerance_change"]
    lr = float(group["lr"])
    first_loss = closure()
    loss, gradient = float(first_loss), optimizer._flat_gradient()
    evaluations, iteration = 1, 0
    goes_on = not gradient.abs().max() <= tolerance_grad
    while goes_on and iteration < max_iter:
        iteration += 1
        memory.counts[0] += 1
        direction = choose_direction(memory, gradient)
        previous_loss, t = loss, lr
        if memory.counts[0] == 1:
            t = min(1.0, 1.0 / float(gradient.abs().sum())) * lr
        memory.gradient.copy_(gradient)
        memory.numbers[1] = previous_loss
        slope = gradient.dot(direction)
        goes_on = not slope > -tolerance_change
        if goes_on:
            calls = 0
            if group["line_search_fn"] is not None:
                start = Point(0.0, loss, gradient, slope)
                found, calls = search(
                    optimizer, closure, direction, start, t, max_eval - evaluations
                )
                loss, gradient, t = found.loss, found.gradient, found.t
                optimizer._move(t, direction)
            else:
                optimizer._move(t, direction)
                if iteration != max_iter:
                    loss, gradient = float(closure()), optimizer._flat_gradient()
                    calls = 1
            evaluations += calls
            goes_on = not (
                evaluations >= max_eval
                or gradient.abs().max() <= tolerance_grad
                or (direction * t).abs().max() <= tolerance_change
                or abs(loss - previous_loss) < tolerance_change
            )
        memory.numbers[0] = t
    memory.counts[1] += evaluations
    return first_loss


def search(
    optimizer: LBFGS,
    closure: Callable[[], Any],
    direction: Tensor,
    start: Point,
    t: Any,
    max_evaluations: Any,
) -> tuple[Point, Any]:
    """A step length that the line search finds, and the number of evaluations."""
    origin = [p.clone() for p in optimizer._params]

    def evaluate(length: Any) -> tuple[Any, Tensor]:
        optimizer._move(length, direction)
        loss, gradient = float(closure()), optimizer._flat_gradient()
        for p, before in zip(optimizer._params, origin, strict=True):
            p.copy_(before)
        return loss, gradient

    return strong_wolfe(evaluate, t, direction, start, max_evaluations=max_evaluations)


def choose_direction(memory: Memory, gradient: Tensor) -> Tensor:
    """Minus the gradient times the estimated inverse Hessian; remembers the last change."""
    counts, numbers = memory.counts, memory.numbers
    if counts[0] == 1:
        counts[2:] = 0
        numbers[2] = 1.0
    else:
        remember(memory, gradient - memory.gradient, memory.direction * float(numbers[0]))
    rows = memory.changes.shape[0]
    count, oldest = int(counts[2]), int(counts[3])
    direction = -gradient
    for i in range(count):
        row = (oldest + count - 1 - i) % rows
        factor = memory.steps[row].dot(direction) * memory.inverses[row]
        memory.factors[row] = factor
        direction = direction - factor * memory.changes[row]
    direction = direction * float(numbers[2])
    for i in range(count):
        row = (oldest + i) % rows
        factor = memory.changes[row].dot(direction) * memory.inverses[row]
        direction = direction + (memory.factors[row] - factor) * memory.steps[row]
    memory.direction.copy_(direction)
    return direction


def remember(memory: Memory, change: Tensor, step: Tensor) -> None:
    """Keep a change in the place of the oldest one, unless it tells nothing."""
    curvature = change.dot(step)
    if curvature > 1e-10:
        rows = memory.changes.shape[0]
        count, oldest = int(memory.counts[2]), int(memory.counts[3])
        row = (oldest + count) % rows
        memory.changes[row] = change
        memory.steps[row] = step
        memory.inverses[row] = 1.0 / curvature
        memory.numbers[2] = float(curvature / change.dot(change))
        if count == rows:
            memory.counts[3] = (oldest + 1) % rows
        else:
            memory.counts[2] += 1
