"""Differences of neighbours, and what they estimate: derivatives and integrals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes, ops
from kuai.core.base import TensorBase
from kuai.core.primitive import checked_when_run
from kuai.ops import elementwise as e
from kuai.ops import reduce
from kuai.ops.joining import cat
from kuai.ops.movement import normalize_dim, reshape
from kuai.ops.out import takes_out
from kuai.ops.pointwise import to_dtype

if TYPE_CHECKING:
    from kuai.tensor import Tensor


@takes_out
def diff(
    input: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """The differences of neighbours along `dim`, taken `n` times; of bools, whether they differ.

    Args:
        input: the values.
        n: how often.
        dim: along which dimension.
        prepend: values to stand before them.
        append: values to stand after them.

    Raises:
        RuntimeError: `n` is negative, or a tensor without dimensions.
    """
    if input._payload.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = normalize_dim(dim, input._payload.ndim)
    parts = [x for x in (prepend, input, append) if x is not None]
    for x in parts:
        if x._payload.ndim != input._payload.ndim:
            raise RuntimeError("diff expects prepend or append to be the same dimension as input")
    if n == 0:
        return input.clone()
    x = input if len(parts) == 1 else cat(parts, d)
    for _ in range(min(n, x._payload.shape[d])):
        size = x._payload.shape[d]
        after, before = ops.narrow(x, d, 1, size - 1), ops.narrow(x, d, 0, size - 1)
        x = e.logical_xor(after, before) if x.dtype is dtypes.bool_ else after - before
    return x


def gradient(
    input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """The derivatives of sampled values along each of `dim`, by second-order differences.

    Args:
        input: the values.
        spacing: the distance between samples: one number, one a dimension, or coordinates.
        dim: along which dimensions; all by default.
        edge_order: 1 or 2, the order of the differences at the edges.

    Raises:
        RuntimeError: too few samples, or arguments that do not fit each other.
    """
    x = input if input.is_floating_point() else to_dtype(input, dtypes.get_default_dtype())
    ndim = x._payload.ndim
    if spacing is None:
        spacing = 1
    listed = isinstance(spacing, (list, tuple))
    if dim is None:
        dims = list(range(len(spacing) if listed and ndim < len(spacing) else ndim))
    else:
        dims = [normalize_dim(d, ndim) for d in (dim if isinstance(dim, (list, tuple)) else [dim])]
    if len(set(dims)) != len(dims):
        raise RuntimeError("dim appears multiple times in the list of dims")
    steps = list(spacing) if listed else [spacing] * len(dims)
    if len(steps) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar, or a list of length "
            f"equal to that of dim, but got a spacing list of length {len(steps)} for {len(dims)}"
        )
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    for d in dims:
        if x._payload.shape[d] < edge_order + 1:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1"
            )
    return tuple([_slope(x, d, h, edge_order) for d, h in zip(dims, steps, strict=True)])


def _slope(x: Tensor, dim: int, spacing: Any, edge_order: int) -> Tensor:
    n = x._payload.shape[dim]

    def part(values: Tensor, start: int, count: int) -> Tensor:
        return ops.narrow(values, dim, start, count)

    if isinstance(spacing, TensorBase):
        if spacing._payload.ndim != 1 or spacing._payload.shape[0] != n:
            raise RuntimeError(
                "torch.gradient expected each element of spacing to have one dimension, of the "
                f"length of the input along it ({n}), but got {list(spacing._payload.shape)}"
            )
        after = (1,) * (x._payload.ndim - 1 - dim)
        gaps = reshape(diff(spacing), (-1, *after))  # type: ignore[arg-type]
        left, right = ops.narrow(gaps, 0, 0, n - 2), ops.narrow(gaps, 0, 1, n - 2)
        first, last = ops.narrow(gaps, 0, 0, 1), ops.narrow(gaps, 0, n - 2, 1)
        second, before_last = (
            (ops.narrow(gaps, 0, 1, 1), ops.narrow(gaps, 0, n - 3, 1)) if n > 2 else (first, last)
        )
    else:
        left = right = first = second = last = before_last = spacing
    middle = (
        part(x, 2, n - 2) * (left / (right * (left + right)))
        + part(x, 1, n - 2) * ((right - left) / (left * right))
        - part(x, 0, n - 2) * (right / (left * (left + right)))
    )
    if edge_order == 1:
        start = (part(x, 1, 1) - part(x, 0, 1)) / first
        end = (part(x, n - 1, 1) - part(x, n - 2, 1)) / last
    else:
        a, b = first, second
        start = (
            part(x, 0, 1) * (-(2 * a + b) / (a * (a + b)))
            + part(x, 1, 1) * ((a + b) / (a * b))
            - part(x, 2, 1) * (a / (b * (a + b)))
        )
        a, b = before_last, last
        end = (
            part(x, n - 3, 1) * (b / (a * (a + b)))
            - part(x, n - 2, 1) * ((a + b) / (a * b))
            + part(x, n - 1, 1) * ((2 * b + a) / (b * (a + b)))
        )
    return cat([start, middle, end], dim)


def _trapezoids(y: Tensor, x: Tensor | None, dx: Any, dim: int) -> tuple[Tensor, int]:
    """The areas between neighbours, and the dimension along which they lie."""
    d = normalize_dim(dim, y._payload.ndim)
    n = y._payload.shape[d]
    if n == 0:
        return y, d
    pairs = ops.narrow(y, d, 1, n - 1) + ops.narrow(y, d, 0, n - 1)
    if x is None:
        return pairs * dx / 2.0, d
    if x._payload.ndim == 1:
        if x._payload.shape[0] != n:
            raise RuntimeError(
                "trapezoid: There must be one `x` value for each sample point, but got "
                f"{x._payload.shape[0]} and {n}"
            )
        gaps = reshape(diff(x), (-1,) + (1,) * (y._payload.ndim - 1 - d))
    else:
        missing = y._payload.ndim - x._payload.ndim
        x = reshape(x, (1,) * missing + x._payload.shape) if missing > 0 else x
        gaps = diff(x, 1, d - y._payload.ndim)
    return pairs * gaps / 2.0, d


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The integral of sampled values along `dim`, by the trapezoidal rule.

    Args:
        y: the values.
        x: where they were sampled.
        dx: the distance between samples, where `x` is not given.
        dim: along which dimension.
    """
    areas, d = _trapezoids(y, x, dx, dim)
    return reduce.sum(areas, d)


def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1
) -> Tensor:
    """The integrals from the first sample to each later one, by the trapezoidal rule."""
    areas, d = _trapezoids(y, x, dx, dim)
    return reduce.cumsum(areas, d)


trapz = trapezoid


def cov(
    input: Tensor,
    *,
    correction: int = 1,
    fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:
    """The covariances of the rows, each a variable, over the columns, the observations.

    Args:
        input: `(variables, observations)`, or one variable's observations.
        correction: what the count of observations is lessened by.
        fweights: how often each observation was made, integers.
        aweights: how much each observation matters.

    Raises:
        RuntimeError: more than two dimensions, or weights that do not fit.
    """
    if input._payload.ndim > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with "
            f"{input._payload.ndim} dimensions"
        )
    x = input if input._payload.ndim == 2 else reshape(input, 1, -1)
    if not x.is_floating_point():
        x = to_dtype(x, dtypes.get_default_dtype())
    count = x._payload.shape[1]
    weights = _weights("fweights", fweights, count, integral=True)
    if weights is not None and aweights is not None:
        weights = weights * _weights("aweights", aweights, count, integral=False)
    elif aweights is not None:
        weights = _weights("aweights", aweights, count, integral=False)
    total: Any = count if weights is None else weights.sum()
    if weights is None:
        average = reduce.mean(x, 1, True) if count else reduce.sum(x, 1, True) / 0.0
    else:
        average = reduce.sum(x * weights, 1, True) / total
    if weights is not None and aweights is not None and correction:
        freedom = total - correction * (weights * aweights).sum() / total
    else:
        freedom = total - correction
    known = not isinstance(freedom, TensorBase)
    freedom = max(freedom, 0) if known else e.clamp(freedom, min=0)
    centered = x - average
    scaled = centered if weights is None else centered * weights
    table = centered @ to_dtype(scaled, centered.dtype).mT / freedom
    return table.squeeze()


def _weights(name: str, weights: Tensor | None, count: int, integral: bool) -> Any:
    if weights is None:
        return None
    if weights._payload.ndim > 1:
        raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions")
    if weights.is_floating_point() == integral:
        kind = "integral" if integral else "floating point"
        raise RuntimeError(f"cov(): expected {name} to have {kind} dtype, got {weights.dtype.name}")
    if weights._payload.size != count:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the "
            f"input but got {weights._payload.size} != {count}"
        )
    message = f"cov(): {name} cannot be negative"
    if type(weights._payload) is not np.ndarray:
        checked_when_run(lambda: reduce.all(weights >= 0), RuntimeError, message)
    elif (weights._payload < 0).any():
        raise RuntimeError(message)
    return weights


def corrcoef(input: Tensor) -> Tensor:
    """The correlation coefficients of the rows, each a variable."""
    if input._payload.ndim > 2:
        raise RuntimeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an input with "
            f"{input._payload.ndim} dimensions"
        )
    table = cov(input)
    if table._payload.ndim == 0:
        return table / table
    deviations = e.sqrt(ops.diagonal(table))
    result = table / ops.unsqueeze(deviations, 1) / ops.unsqueeze(deviations, 0)
    return e.clamp(result, -1, 1)


@takes_out
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """The slices along `dim`, those of a greater p-norm than `maxnorm` scaled down to it.

    Raises:
        RuntimeError: fewer than two dimensions, or a `p` or `maxnorm` that is not positive.
    """
    ndim = input._payload.ndim
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {ndim} dimensions")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    from kuai.ops.linalg import vector_norm

    d = normalize_dim(dim, ndim)
    norms = vector_norm(input, p, tuple([i for i in range(ndim) if i != d]), True)
    factor = e.where(e.gt(norms, maxnorm), maxnorm / (norms + 1e-7), 1.0)
    return input * factor


__all__ = [
    "corrcoef",
    "cov",
    "cumulative_trapezoid",
    "diff",
    "gradient",
    "renorm",
    "trapezoid",
    "trapz",
]
