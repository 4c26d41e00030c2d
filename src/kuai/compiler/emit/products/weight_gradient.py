"""The gradient of a convolution's weight: windows of the input times the output's gradient.

The sum runs over the positions of the output. For each of them the elements of a window's row lie
side by side in an image whose channels come last; the image is copied so, with its border.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

from kuai.compiler.emit.builder import BITS, Function, Ref, number, vector
from kuai.compiler.emit.products.geometry import Convolution, Strides
from kuai.compiler.emit.products.panels import transpose
from kuai.compiler.emit.products.product import Part, Store, index, mask_of, pieces, plus, smaller
from kuai.compiler.emit.products.windows import (
    Pair,
    Plane,
    WindowKernel,
    clear,
    copy_row,
    offsets,
    tile_shape,
)
from kuai.compiler.native.target import Target

STRIP = 256  # positions that are summed at once: what they read stays in the first cache


@dataclass(frozen=True)
class WeightGradient:
    """Tiles of the gradient: output channels times elements of rows of windows.

    Attributes:
        x, y: the strides of the input and of the output's gradient, in elements.
    """

    convolution: Convolution
    target: Target
    x: Strides
    y: Strides

    # -- sizes -----------------------------------------------------------------------------

    @cached_property
    def lanes(self) -> int:
        """Lanes of a vector."""
        return self.convolution.numbers.lanes(self.target)

    @property
    def size(self) -> int:
        """Bytes of a sum."""
        return BITS[self.convolution.numbers.sum] // 8

    @property
    def inner(self) -> int:
        """Channels of the input in a group."""
        return self.convolution.channels // self.convolution.groups

    @property
    def outer(self) -> int:
        """Channels of the output in a group."""
        return self.convolution.outputs // self.convolution.groups

    @cached_property
    def plane(self) -> Plane:
        """The input with its border, as far as windows reach."""
        c = self.convolution
        sizes = [
            (n - 1) * s + (k - 1) * d + 1
            for n, s, k, d in zip(c.count, c.stride, c.kernel, c.dilation, strict=True)
        ]
        return Plane((sizes[0], sizes[1]), (-c.padding[0], -c.padding[1]), (1, 1))

    @cached_property
    def runs(self) -> tuple[list[int], int]:
        """Where the elements of a window lie that are side by side, and how many they are."""
        c, row = self.convolution, self.plane.sizes[1] * self.inner
        if c.dilation[1] == 1:
            starts = [i * c.dilation[0] * row for i in range(c.kernel[0])]
            return starts, c.kernel[1] * self.inner
        return [
            i * c.dilation[0] * row + j * c.dilation[1] * self.inner for i, j in c.taps
        ], self.inner

    @cached_property
    def shape(self) -> Pair:
        """Rows and vectors of a tile."""
        return tile_shape(self.target, self.outer, self.runs[1], self.lanes)

    @property
    def height(self) -> int:
        """Output channels of a panel."""
        return self.shape[0]

    @property
    def panels(self) -> int:
        """How many panels the output channels of a group make."""
        return -(-self.outer // self.height)

    @property
    def blocks(self) -> int:
        """Into how many blocks of output channels the work can be divided."""
        return self.convolution.groups * self.panels

    @cached_property
    def run(self) -> int:
        """Room for the sums of a run."""
        width = self.shape[1] * self.lanes
        return -(-self.runs[1] // width) * width

    @cached_property
    def width(self) -> int:
        """Room for the sums of an output channel."""
        return len(self.runs[0]) * self.run

    @property
    def weights(self) -> int:
        """Elements of the weight for one output channel."""
        return self.inner * math.prod(self.convolution.kernel)

    @cached_property
    def depth(self) -> int:
        """Positions of the output."""
        return math.prod(self.convolution.count)

    @cached_property
    def _rooms(self) -> list[int]:
        """Elements of the input's copy, of the output's gradient, of the sums and of a row."""
        rows = self.panels * self.height
        sizes = [
            math.prod(self.plane.sizes) * self.inner + self.run + self.lanes,
            rows * self.depth + 2 * self.lanes,
            rows * self.width,
            self.weights + self.lanes,
        ]
        return [-(-n // self.lanes) * self.lanes for n in sizes]

    @property
    def workspace(self) -> int:
        """Bytes of scratch memory."""
        return sum(self._rooms) * self.size

    # -- code ------------------------------------------------------------------------------

    def emit(
        self, f: Function, x: Ref, y: Ref, store: Store, workspace: Ref, part: Part | None = None
    ) -> None:
        """Build the loops over groups, images, runs, panels and tiles."""
        c, numbers = self.convolution, self.convolution.numbers
        rooms = list(itertools.accumulate(self._rooms, initial=0))
        image_room, panel_room, sums, line = (
            f.at(workspace, room, numbers.sum) for room in rooms[:4]
        )
        part = part or (number(0), number(self.blocks))
        kernel = WindowKernel(numbers, *self.shape, self.lanes, adds=True)
        step = self.plane.sizes[1] * self.inner * c.stride[0]
        strip = max(1, STRIP // max(1, c.count[1]))
        clear(f, numbers, image_room, self._rooms[0], self.lanes)
        with f.loop(0, c.groups) as group:
            before = f.mul(group, number(self.panels))
            first = f.intrinsic("smax", f.sub(part[0], before), number(0))
            last = smaller(f, f.sub(part[1], before), self.panels)
            with f.when(f.compare("slt", first, last)):
                clear(f, numbers, sums, self._rooms[2], self.lanes)
            if self.depth:
                table = offsets(f.module, [j * c.stride[1] * self.inner for j in range(c.count[1])])
                starts = offsets(f.module, self.runs[0])
                with f.when(f.compare("slt", first, last)), f.loop(0, c.batch) as image:
                    self._copy_image(f, x, image_room, group, image)
                    self._pack_gradient(f, y, panel_room, group, image, first, last)
                    with (
                        f.loop(0, c.count[0], strip) as top,
                        f.loop(0, len(self.runs[0])) as run,
                        f.loop(0, self.runs[1], kernel.width) as j,
                        f.loop(first, last) as panel,
                    ):
                        start = f.add(f.load("i64", f.at(starts, run, "i64")), j)
                        b = f.at(image_room, f.add(start, index(f, top, step)), numbers.sum)
                        before = index(f, top, c.count[1] * self.height)
                        a = f.add(before, index(f, panel, self.height * self.depth))
                        place = f.add(index(f, run, self.run), j)
                        place = f.add(place, index(f, panel, self.height * self.width))
                        kernel.call(
                            f, f.at(panel_room, a, numbers.sum), b,
                            f.at(sums, place, numbers.sum), self.width,
                            smaller(f, strip, f.sub(number(c.count[0]), top)), step,
                            table, c.count[1],
                        )  # fmt: skip
            rows = smaller(f, index(f, last, self.height), self.outer)
            with f.loop(index(f, first, self.height), rows) as row:
                self._put(f, sums, line, group, row, store)

    def _copy_image(self, f: Function, x: Ref, to: Ref, group: Ref, image: Ref) -> None:
        """The input's image with its border, channels last."""
        numbers, inner, lanes = self.convolution.numbers, self.inner, self.lanes
        strides = self.x
        (top, bottom), (left, right) = (
            self.plane.inside(axis, self.convolution.sizes[axis]) for axis in range(2)
        )
        if bottom <= top or right <= left:
            return
        start = f.at(x, index(f, image, strides[0]), numbers.memory)
        start = f.at(start, index(f, group, inner * strides[1]), numbers.memory)
        corner = (top + self.plane.first[0]) * strides[2]
        corner += (left + self.plane.first[1]) * strides[3]
        start = f.at(start, corner, numbers.memory)
        place = f.at(to, (top * self.plane.sizes[1] + left) * inner, numbers.sum)
        count = right - left
        with f.loop(0, bottom - top) as i:
            line = f.at(start, index(f, i, strides[2]), numbers.memory)
            here = f.at(place, index(f, i, self.plane.sizes[1] * inner), numbers.sum)
            if inner == 1:
                copy_row(f, numbers, self.target, line, strides[3], here, count)
            elif strides[3] == 1 and lanes >= 4:
                # The last channels come first: the vectors of the others overwrite what reaches
                # into the next position.
                for at in range((inner - 1) // lanes * lanes, -1, -lanes):
                    transpose(
                        f, numbers, f.at(line, at * strides[1], numbers.memory), strides[1],
                        f.at(here, at, numbers.sum), number(inner), number(count),
                        min(lanes, inner - at), lanes,
                    )  # fmt: skip
            else:
                with f.loop(0, count) as j, f.loop(0, inner) as channel:
                    offset = f.add(index(f, j, strides[3]), index(f, channel, strides[1]))
                    value = numbers.load_one(f, f.at(line, offset, numbers.memory))
                    f.store(value, f.at(here, f.add(index(f, j, inner), channel), numbers.sum))

    def _pack_gradient(
        self, f: Function, y: Ref, to: Ref, group: Ref, image: Ref, first: Ref, last: Ref
    ) -> None:
        """Panels of the output's gradient: `height` channels side by side for each position."""
        numbers, count = self.convolution.numbers, self.convolution.count
        strides = self.y
        start = f.at(y, index(f, image, strides[0]), numbers.memory)
        start = f.at(start, index(f, group, self.outer * strides[1]), numbers.memory)
        in_order = strides[2:] == (count[1], 1) and self.lanes >= 4 and self.height <= self.lanes
        with f.loop(first, last) as panel:
            at = f.at(start, index(f, panel, self.height * strides[1]), numbers.memory)
            place = f.at(to, index(f, panel, self.height * self.depth), numbers.sum)
            rows = smaller(f, self.height, f.sub(number(self.outer), index(f, panel, self.height)))
            if in_order:
                for live in {self.height, self.outer % self.height} - {0}:
                    with f.when(f.compare("eq", rows, number(live))):
                        transpose(
                            f, numbers, at, strides[1], place, number(self.height),
                            number(self.depth), live, self.lanes,
                        )  # fmt: skip
            else:
                with f.loop(0, count[0]) as i, f.loop(0, count[1]) as j:
                    position = f.add(index(f, i, count[1]), j)
                    here = f.at(place, index(f, position, self.height), numbers.sum)
                    offset = f.add(index(f, i, strides[2]), index(f, j, strides[3]))
                    line = f.at(at, offset, numbers.memory)
                    with f.loop(0, rows) as r:
                        source = f.at(line, index(f, r, strides[1]), numbers.memory)
                        f.store(numbers.load_one(f, source), f.at(here, r, numbers.sum))

    def _put(self, f: Function, sums: Ref, line: Ref, group: Ref, row: Ref, store: Store) -> None:
        """Hand the gradient for one output channel to `store`, in the order of the weight."""
        c, numbers = self.convolution, self.convolution.numbers
        at = f.at(sums, index(f, row, self.width), numbers.sum)
        kernel = math.prod(c.kernel)
        with f.loop(0, c.kernel[0]) as i, f.loop(0, c.kernel[1]) as j:
            tap = f.add(index(f, i, c.kernel[1]), j)
            start = f.mul(tap, number(self.run))
            if c.dilation[1] == 1:
                start = f.add(index(f, i, self.run), index(f, j, self.inner))
            with f.loop(0, self.inner) as channel:
                value = f.load(numbers.sum, f.at(at, f.add(start, channel), numbers.sum))
                f.store(value, f.at(line, f.add(index(f, channel, kernel), tap), numbers.sum))
        output = f.add(index(f, group, self.outer), row)

        def put(column: Ref, lanes: int, live: int) -> None:
            sum = f.load(vector(numbers.sum, lanes), f.at(line, column, numbers.sum))
            value = numbers.narrowed(f, sum)
            store(f, output, column, value, lanes, mask_of(f, lanes, live))

        whole = self.weights - self.weights % self.lanes
        with f.loop(0, whole, self.lanes) as column:
            put(column, self.lanes, self.lanes)
        for piece in pieces(self.weights - whole, self.lanes, self.target):
            put(plus(f, whole, piece.offset), piece.lanes, piece.live)
