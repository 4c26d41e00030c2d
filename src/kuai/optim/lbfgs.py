"""L-BFGS: a quasi-Newton method that remembers only the last changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kuai import ops
from kuai.core import primitive as primitives
from kuai.core.tape import enable_grad, no_grad
from kuai.nn.hooks import captures
from kuai.optim.hyperparameters import Number, check_lr, scalar
from kuai.optim.lbfgs_captured import Memory, take_steps
from kuai.optim.line_search import Point, strong_wolfe
from kuai.optim.optimizer import Optimizer, ParamsT
from kuai.tensor import Tensor


class LBFGS(Optimizer):
    """Minimises a function that does not change between calls, by limited-memory BFGS.

    One `step` takes up to `max_iter` steps and calls its closure anew for each of them.

    Args:
        params: tensors, or `(name, tensor)` pairs; one group only.
        lr: the learning rate.
        max_iter: the most iterations in one `step`.
        max_eval: the most calls of the closure in one `step`; by default `max_iter * 1.25`.
        tolerance_grad: stops when no element of the gradient is greater.
        tolerance_change: stops when the parameters, or the loss, change by less.
        history_size: how many of the last changes are remembered.
        line_search_fn: `"strong_wolfe"`, or `None` for a step of length `lr`.

    Raises:
        ValueError: a hyperparameter out of range, or several parameter groups.

    Source:
        Nocedal and Wright, "Numerical optimization", 2006, algorithm 7.5.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: Number = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        check_lr(lr)
        if max_eval is None:
            max_eval = max_iter * 5 // 4
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    # -- memory -----------------------------------------------------------------------------

    captured_fields = ("_memory",)
    _memory: Memory | None = None  # the same as the state, for compiled programs

    @property
    def state(self) -> Any:
        """What the optimizer remembers, under its first parameter."""
        memory = self._memory
        if memory is not None and memory.is_news:
            memory.store(self._state[self._params[0]])
        return self._state

    @state.setter
    def state(self, state: Any) -> None:
        self._state = state
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        self.param_groups = state["param_groups"]
        self._params = self.param_groups[0]["params"]
        self.state = state.pop("state")
        super().__setstate__(state)

    def prepare_capture(self) -> None:
        """Keep what is remembered in tensors, too, from now on."""
        rows = self.param_groups[0]["history_size"]
        if self._memory is None or self._memory.changes.shape[0] != rows:
            state = self.state  # in step with the memory before
            size = sum(p.numel() for p in self._params)
            self._memory = Memory(size, rows, self._params[0].dtype)
            self._memory.load(state.get(self._params[0], {}))

    def _share(self) -> None:
        """Let compiled programs go on from the state as it is now."""
        if self._memory is not None:
            self._memory.load(self._state.get(self._params[0], {}))

    # -- stepping ---------------------------------------------------------------------------

    @no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Take up to `max_iter` steps.

        Args:
            closure: clears the gradients, computes the loss and its gradients, returns the loss.

        Returns:
            the loss before the first step.
        """
        closure = enable_grad()(closure)
        if primitives.intercept is not None and captures and self._memory is not None:
            return captures[-1].call(take_steps, (self, self._memory, closure), {})
        try:
            return self._steps(closure)
        finally:
            self._share()

    def _steps(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        lr, max_iter, max_eval = scalar(group["lr"]), group["max_iter"], group["max_eval"]
        tolerance_grad, tolerance_change = group["tolerance_grad"], group["tolerance_change"]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first_loss = closure()
        loss = float(first_loss)
        evaluations = 1
        state["func_evals"] += 1
        gradient = self._flat_gradient()
        if gradient.abs().max() <= tolerance_grad:
            return first_loss

        for iteration in range(1, max_iter + 1):
            state["n_iter"] += 1
            self._choose_direction(state, gradient, group["history_size"])
            direction = state["d"]
            state["prev_flat_grad"] = gradient.clone()
            state["prev_loss"] = previous_loss = loss
            state["t"] = t = lr
            if state["n_iter"] == 1:
                state["t"] = t = min(1.0, 1.0 / gradient.abs().sum()) * lr
            slope = gradient.dot(direction)
            if slope > -tolerance_change:
                break
            calls = 0
            if group["line_search_fn"] is not None:
                found, calls = self._search(
                    closure, Point(0, loss, gradient, slope), max_eval - evaluations
                )
                loss, gradient, t = found.loss, found.gradient, found.t
                state["t"] = t
                self._move(float(t), direction)
            else:
                self._move(float(t), direction)
                if iteration != max_iter:
                    loss = float(closure())
                    gradient = self._flat_gradient()
                    calls = 1
            evaluations += calls
            state["func_evals"] += calls
            if (
                iteration == max_iter
                or evaluations >= max_eval
                or gradient.abs().max() <= tolerance_grad
                or (direction * t).abs().max() <= tolerance_change
                or abs(loss - previous_loss) < tolerance_change
            ):
                break
        return first_loss

    def _choose_direction(self, state: dict[str, Any], gradient: Tensor, memory: int) -> None:
        """Set `state["d"]` to minus the gradient times the estimated inverse Hessian."""
        if state["n_iter"] == 1:
            state["d"] = -gradient
            state["old_dirs"], state["old_stps"], state["ro"] = [], [], []
            state["H_diag"] = 1
            return
        changes, steps, inverses = state["old_dirs"], state["old_stps"], state["ro"]
        change = gradient - state["prev_flat_grad"]
        step = state["d"] * state["t"]
        curvature = change.dot(step)
        if curvature > 1e-10:
            if len(changes) == memory:
                for remembered in (changes, steps, inverses):
                    remembered.pop(0)
            changes.append(change)
            steps.append(step)
            inverses.append(1.0 / curvature)
            state["H_diag"] = curvature / change.dot(change)
        factors = state.setdefault("al", [None] * memory)
        direction = -gradient
        for i in reversed(range(len(changes))):
            factors[i] = steps[i].dot(direction) * inverses[i]
            direction.add_(changes[i], alpha=-factors[i].item())
        direction = direction * state["H_diag"]
        for i in range(len(changes)):
            factor = changes[i].dot(direction) * inverses[i]
            direction.add_(steps[i], alpha=(factors[i] - factor).item())
        state["d"] = direction

    def _search(
        self, closure: Callable[[], Any], start: Point, max_evaluations: int
    ) -> tuple[Point, int]:
        group = self.param_groups[0]
        if group["line_search_fn"] != "strong_wolfe":
            raise RuntimeError("only 'strong_wolfe' is supported")
        state = self.state[self._params[0]]
        origin = [p.clone() for p in self._params]

        def evaluate(t: Any) -> tuple[float, Tensor]:
            self._move(float(t), state["d"])
            loss = float(closure())
            gradient = self._flat_gradient()
            for p, before in zip(self._params, origin, strict=True):
                p.copy_(before)
            return loss, gradient

        return strong_wolfe(
            evaluate, state["t"], state["d"], start, max_evaluations=max_evaluations
        )

    def _flat_gradient(self) -> Tensor:
        return ops.cat(
            [
                ops.zeros(p.numel(), dtype=p.dtype) if p.grad is None else p.grad.reshape(-1)
                for p in self._params
            ]
        )

    def _move(self, t: float, direction: Tensor) -> None:
        offset = 0
        for p in self._params:
            count = p.numel()
            p.add_(direction[offset : offset + count].view_as(p), alpha=t)
            offset += count
