"""Convolutions by their sizes: which elements of which planes meet which weights.

The gradient of the input is a convolution, too: of the output's gradient with the kernel turned
round. Where the windows moved by more than one element, it falls into one convolution for each
phase of the input's positions.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

from kuai import dtypes
from kuai.compiler.emit.products.product import ELEMENTS, Numbers
from kuai.compiler.emit.products.windows import Pair, Plane

Strides = tuple[int, int, int, int]


@dataclass(frozen=True)
class Convolution:
    """A convolution of `(batch, channels, *sizes)` with `(outputs, channels/groups, *kernel)`.

    One dimension is two of which the first has size 1 throughout.

    Attributes:
        sizes: of the input's planes.
        count: of the output's planes.
    """

    batch: int
    channels: int
    outputs: int
    sizes: Pair
    count: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    dtype: dtypes.dtype

    @property
    def numbers(self) -> Numbers:
        """How its elements are stored and summed."""
        element = ELEMENTS[self.dtype.name]
        return Numbers(element, "float" if element in ("half", "bfloat") else element)

    @property
    def taps(self) -> list[Pair]:
        """The positions of the kernel."""
        return list(itertools.product(range(self.kernel[0]), range(self.kernel[1])))


class Phase(NamedTuple):
    """Output positions that meet their windows in the same way.

    Attributes:
        start: the first output position.
        grid: how many positions there are, in each dimension.
        taps: for each position of the kernel that matters: where in the planes of a channel lies
            what it meets, and the kernel position's number.
    """

    start: Pair
    grid: Pair
    taps: tuple[Pair, ...]


class Plan(NamedTuple):
    """How planes are copied, and which sums over them make the result.

    Attributes:
        planes: what is copied of each channel, plane after plane.
        source: the sizes of a channel's image.
        phases: the parts of the result.
        step: from position to position of a phase, in the result.
        result: the sizes of the result's planes.
    """

    planes: tuple[Plane, ...]
    source: Pair
    phases: tuple[Phase, ...]
    step: Pair
    result: Pair

    @property
    def row(self) -> int:
        """Elements in a row of the planes; all have the same."""
        return self.planes[0].sizes[1]

    @property
    def plane(self) -> int:
        """Elements in a plane."""
        return math.prod(self.planes[0].sizes)


def forward_plan(c: Convolution) -> Plan:
    """The plan of the convolution itself."""
    reach = [(k - 1) * d for k, d in zip(c.kernel, c.dilation, strict=True)]
    sizes = (
        c.count[0] + reach[0] // c.stride[0],
        c.count[1] + reach[1] // c.stride[1],
    )
    shifts = {tap: (tap[0] * c.dilation[0], tap[1] * c.dilation[1]) for tap in c.taps}
    phases = sorted({(i % c.stride[0], j % c.stride[1]) for i, j in shifts.values()})
    planes = tuple(
        [Plane(sizes, (i - c.padding[0], j - c.padding[1]), c.stride) for i, j in phases]
    )
    taps = []
    for n, (i, j) in enumerate(shifts[tap] for tap in c.taps):
        plane = phases.index((i % c.stride[0], j % c.stride[1]))
        row, column = i // c.stride[0], j // c.stride[1]
        taps.append((plane * math.prod(sizes) + row * sizes[1] + column, n))
    return Plan(planes, c.sizes, (Phase((0, 0), c.count, tuple(taps)),), (1, 1), c.count)


def input_gradient_plan(c: Convolution) -> Plan:
    """The plan of the gradient of the input, from that of the output."""
    met: list[list[list[Pair]]] = []  # by axis and phase: shift into the gradient, kernel position
    for axis in range(2):
        step, padding, dilation = c.stride[axis], c.padding[axis], c.dilation[axis]
        met.append(
            [
                [
                    ((start + padding - k * dilation) // step, k)
                    for k in range(c.kernel[axis])
                    if (start + padding - k * dilation) % step == 0
                ]
                for start in range(min(step, c.sizes[axis]))
            ]
        )
    grids = [
        [-(-(c.sizes[axis] - start) // c.stride[axis]) for start in range(len(met[axis]))]
        for axis in range(2)
    ]
    shifts = [[shift for phase in met[axis] for shift, _ in phase] or [0] for axis in range(2)]
    first = (min(shifts[0]), min(shifts[1]))
    sizes = (
        max(shifts[0]) - first[0] + max(grids[0]),
        max(shifts[1]) - first[1] + max(grids[1]),
    )
    phases = []
    for i, j in itertools.product(range(len(met[0])), range(len(met[1]))):
        taps = [
            ((row - first[0]) * sizes[1] + column - first[1], k * c.kernel[1] + m)
            for (row, k), (column, m) in itertools.product(met[0][i], met[1][j])
        ]
        phases.append(Phase((i, j), (grids[0][i], grids[1][j]), tuple(taps)))
    plane = Plane(sizes, first, (1, 1))
    return Plan((plane,), c.count, tuple(phases), c.stride, c.sizes)
