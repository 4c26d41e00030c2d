"""What a primitive's `product` chooses from: the kinds of products that programs can compute.

A product hands over each element of its result once, so that elementwise operations can be
computed of it before it is stored.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from kuai.compiler.graph import Operation, Value
from kuai.compiler.sizes import hint

if TYPE_CHECKING:
    from kuai import dtypes
    from kuai.compiler.emit.products.geometry import Convolution
    from kuai.core.primitive import Meta

Sizes = tuple[int, ...]

TYPES = ("float32", "float64")
EXPONENTIAL = 16  # products that take as long as the exponential of a score and what is around it


class Matrices(NamedTuple):
    """Matrices, multiplied.

    Attributes:
        depth: the products that are summed for an element.
        turned: whether the second one is given transposed.
    """

    depth: int
    turned: bool


class Convolved(NamedTuple):
    """A convolution, or one of its gradients.

    Attributes:
        depth: the products that are summed for an element.
        of: which of the three, `"output"`, `"input"` or `"weight"`.
        geometry: its sizes, with two dimensions; a single one is the second.
    """

    depth: int
    of: str
    geometry: Convolution


class Attended(NamedTuple):
    """Attention of heads, or its gradients: three results, of which nothing else is computed.

    Attributes:
        depth: as long as so many products take what is computed for an element.
        scale: of the scores.
        is_causal: whether query i attends to the keys up to i only.
        gradient: whether the gradients are computed.
    """

    depth: int
    scale: float
    is_causal: bool
    gradient: bool


Kind = Matrices | Convolved | Attended


class Kinds:
    """Makes the kinds; `None` where there is no code for the operands."""

    def matrices(self, x: Meta, y: Meta, turned: bool = False) -> Matrices | None:
        """`x` times `y`, which is given transposed where it is `turned`."""
        return Matrices(x.shape[-1], turned) if x.dtype.name in TYPES else None

    def convolution(
        self,
        of: str,
        x: Sizes,
        weight: Sizes,
        y: Sizes,
        dtype: dtypes.dtype,
        *,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        groups: int,
    ) -> Convolved | None:
        """A convolution, or one of its gradients.

        Args:
            of: `"output"`, `"input"` or `"weight"`: which of them is the result.
            x, weight, y: the shapes of input, weight and output.
            dtype: of all of them.
            stride, padding, dilation, groups: as the primitives have them.
        """
        from kuai.compiler.emit.products.geometry import Convolution

        sizes, kernel, count = x[2:], weight[2:], y[2:]
        if dtype.name not in TYPES or len(sizes) not in (1, 2):
            return None
        if not all(map(hint, (*x, *weight, *y))):
            return None
        if math.prod(kernel) == math.prod(stride) == 1 and not any(padding) and sizes != count:
            return None  # it is none of the products of matrices that this otherwise is
        geometry = Convolution(
            batch=x[0],
            channels=x[1],
            outputs=weight[0],
            sizes=_pair(sizes),
            count=_pair(count),
            kernel=_pair(kernel),
            stride=_pair(stride),
            padding=_pair(padding, 0),
            dilation=_pair(dilation),
            groups=groups,
            dtype=dtype,
        )
        taps = math.prod(kernel)
        depth = {
            "output": weight[1] * taps,
            "input": max(1, weight[0] // groups * taps // math.prod(stride)),
            "weight": y[0] * math.prod(count),
        }
        return Convolved(depth[of], of, geometry)

    def attention(
        self,
        query: Meta,
        key: Meta,
        value: Meta,
        *mask: Meta,
        scale: float,
        is_causal: bool,
        gradient: bool = False,
    ) -> Attended | None:
        """Attention of `(*, L, E)`, `(*, S, E)` and `(*, S, Ev)`, under a mask or none."""
        if query.dtype.name not in TYPES or not all(
            hint(n) for m in (query, key, value) for n in m.shape
        ):
            return None
        keys, width = key.shape[-2:]
        columns = value.shape[-1]
        each = width + columns + EXPONENTIAL
        if gradient:
            each += width + width + columns
        return Attended(max(1, each * keys // columns), scale, is_causal, gradient)


def _pair(sizes: Sizes, first: int = 1) -> tuple[int, int]:
    """Sizes for two dimensions: where there is one, it is the second."""
    return (first, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


KINDS = Kinds()


def kind_of(operation: Operation) -> Kind | None:
    """What kind of product an operation is; `None` where it is none, or has no code."""
    make = operation.primitive.product
    if make is None or not all(isinstance(v, Value) for v in operation.inputs):
        return None
    kind: Kind | None = make(KINDS, *[v.meta for v in operation.inputs], **operation.parameters)
    return kind


__all__ = ["KINDS", "Convolved", "Kind", "Kinds", "Matrices", "kind_of"]
