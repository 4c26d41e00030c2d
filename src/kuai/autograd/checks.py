"""Gradients compared with finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kuai.core.base import TensorBase, wrap
from kuai.core.tape import no_grad


class GradcheckError(RuntimeError):
    """A gradient that differs from finite differences."""


def _tensors(x: Any) -> tuple[Any, ...]:
    return (x,) if isinstance(x, TensorBase) else tuple(x)


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    **ignored: Any,
) -> bool:
    """Compare the gradients of `func` at `inputs` with central differences.

    Args:
        func: a function of the inputs that returns a tensor or several.
        inputs: tensors, in float64 where they require grad, and other arguments.
        eps: the step of the differences.
        atol, rtol: the tolerances.
        raise_exception: raise where they differ, instead of returning False.

    Raises:
        GradcheckError: they differ.
        ValueError: no input requires grad.
    """
    arguments = _tensors(inputs)
    checked = [i for i, x in enumerate(arguments) if isinstance(x, TensorBase) and x.requires_grad]
    if not checked:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them "
            "have requires_grad=True."
        )
    try:
        outputs = [
            o for o in _tensors(func(*arguments)) if isinstance(o, TensorBase) and o.requires_grad
        ]
        for number, output in enumerate(outputs):
            _check_output(func, arguments, checked, number, output, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check_output(
    func: Callable[..., Any],
    arguments: Sequence[Any],
    checked: Sequence[int],
    number: int,
    output: Any,
    eps: float,
    atol: float,
    rtol: float,
) -> None:
    from kuai.autograd import grad

    size = output._payload.size
    analytic = {i: np.zeros((arguments[i]._payload.size, size)) for i in checked}
    for k in range(size):
        seed = np.zeros(output._payload.shape, output._payload.dtype)
        seed.reshape(-1)[k] = 1
        grads = grad(
            output,
            [arguments[i] for i in checked],
            wrap(seed),
            retain_graph=True,
            allow_unused=True,
        )
        for i, g in zip(checked, grads, strict=True):
            if g is not None:
                analytic[i][:, k] = g._payload.reshape(-1)
    for i in checked:
        numerical = _numerical(func, arguments, i, number, eps)
        if not np.allclose(analytic[i], numerical, rtol, atol, equal_nan=True):
            raise GradcheckError(
                f"Jacobian mismatch for output {number} with respect to input {i},\n"
                f"numerical:{numerical}\nanalytical:{analytic[i]}\n"
            )


def _numerical(
    func: Callable[..., Any], arguments: Sequence[Any], i: int, number: int, eps: float
) -> np.ndarray:
    payload = arguments[i]._payload
    columns = []

    def value() -> np.ndarray:
        with no_grad():
            outputs = [o for o in _tensors(func(*arguments)) if isinstance(o, TensorBase)]
        floating = [o for o in outputs if o.is_floating_point()]
        return np.array(floating[number]._payload, np.float64).reshape(-1)

    for place in np.ndindex(payload.shape):
        before = payload[place]
        payload[place] = before + eps
        above = value()
        payload[place] = before - eps
        below = value()
        payload[place] = before
        columns.append((above - below) / (2 * eps))
    return np.stack(columns) if columns else np.zeros((0, value().size))


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    **ignored: Any,
) -> bool:
    """Compare the second derivatives of `func` at `inputs` with differences of the first."""
    from kuai import ops
    from kuai.autograd import grad

    arguments = _tensors(inputs)
    outputs = [o for o in _tensors(func(*arguments)) if o.requires_grad]
    if grad_outputs is None:
        seeds = [ops.randn_like(o).requires_grad_() for o in outputs]
    else:
        seeds = [g.detach().requires_grad_() for g in _tensors(grad_outputs)]
    count = len(arguments)

    def first_order(*both: Any) -> tuple[Any, ...]:
        values, weights = both[:count], both[count:]
        results = [o for o in _tensors(func(*values)) if o.requires_grad]
        wanted: list[Any] = [x for x in values if isinstance(x, TensorBase) and x.requires_grad]
        from kuai.core.tape import enable_grad

        with enable_grad():
            results = [o for o in _tensors(func(*values)) if o.requires_grad]
            grads = grad(results, wanted, weights, create_graph=True, allow_unused=True)
        return tuple(g for g in grads if g is not None)

    return gradcheck(
        first_order,
        (*arguments, *seeds),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
    )
