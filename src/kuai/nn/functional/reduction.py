"""How a loss turns one value an element into its result: `"none"`, `"mean"` or `"sum"`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from kuai import ops

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def resolve(reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """The reduction that the arguments of a loss ask for.

    Args:
        reduction: `"none"`, `"mean"` or `"sum"`.
        size_average: deprecated; False means `"sum"`.
        reduce: deprecated; False means `"none"`.

    Raises:
        ValueError: there is no such reduction.
    """
    if size_average is not None or reduce is not None:
        return legacy(size_average, reduce)
    if reduction in ("mean", "sum", "none"):
        return reduction
    if reduction == "elementwise_mean":
        warnings.warn(
            "reduction='elementwise_mean' is deprecated. Please use reduction='mean' instead.",
            stacklevel=3,
        )
        return "mean"
    raise ValueError(f"{reduction} is not a valid value for reduction")


def legacy(size_average: bool | None, reduce: bool | None, emit_warning: bool = True) -> str:
    """The reduction that the two deprecated arguments stand for."""
    if reduce is False:
        result = "none"
    else:
        result = "sum" if size_average is False else "mean"
    if emit_warning:
        warnings.warn(
            "size_average and reduce args will be deprecated, "
            f"please use reduction='{result}' instead.",
            stacklevel=4,
        )
    return result


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The loss of all elements in one value, unless the reduction is `"none"`."""
    if reduction == "mean":
        return ops.mean(loss)
    if reduction == "sum":
        return ops.sum(loss)
    return loss
