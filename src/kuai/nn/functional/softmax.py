"""Softmax and its kin: scores to probabilities along one dimension."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from kuai import dtypes, ops

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def _implicit_dim(name: str, ndim: int, stacklevel: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. "
        "Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtypes.dtype | None = None
) -> Tensor:
    """`exp(x)`, divided by its sum along `dim`.

    Args:
        input: scores of any shape.
        dim: the dimension along which the results sum to 1.
        dtype: the type to convert the input to before.
    """
    if dim is None:
        dim = _implicit_dim("softmax", input.ndim, _stacklevel)
    return ops.softmax(input, dim, dtype=dtype)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtypes.dtype | None = None
) -> Tensor:
    """`softmax(-x)`; arguments as in `softmax`."""
    if dim is None:
        dim = _implicit_dim("softmin", input.ndim, _stacklevel)
    return ops.softmax(-input, dim, dtype=dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtypes.dtype | None = None
) -> Tensor:
    """`log(softmax(x))`, computed without loss of precision; arguments as in `softmax`."""
    if dim is None:
        dim = _implicit_dim("log_softmax", input.ndim, _stacklevel)
    return ops.log_softmax(input, dim, dtype=dtype)


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A random, differentiable, nearly one-hot choice among the classes.

    Args:
        logits: log probabilities, not necessarily normalised.
        tau: the temperature; the lower, the nearer to one-hot.
        hard: return one-hot vectors, with the gradient of the soft ones.
        eps: has no effect.
        dim: the dimension of the classes.

    Source: Jang et al. (2017), Categorical Reparameterization with Gumbel-Softmax.
    """
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    gumbels = -ops.log(ops.empty_like(logits.detach()).exponential_())
    soft = ops.softmax((logits + gumbels) / tau, dim)
    if not hard:
        return soft
    chosen = ops.argmax(soft.detach(), dim, keepdim=True)
    one_hot = ops.scatter(ops.zeros_like(soft.detach()), dim, chosen, 1.0)
    return one_hot - soft.detach() + soft
