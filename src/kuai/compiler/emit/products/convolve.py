"""Convolution, and the gradient of its input: sums over windows of planes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from kuai.compiler.emit.builder import BITS, Function, Ref, number, vector
from kuai.compiler.emit.products.geometry import Convolution, Phase, Plan, Strides
from kuai.compiler.emit.products.panels import transpose
from kuai.compiler.emit.products.product import Part, index, mask_of, pieces, plus, smaller
from kuai.compiler.emit.products.windows import (
    Pair,
    WindowKernel,
    clear,
    offsets,
    tile_shape,
)
from kuai.compiler.native.target import Target

STRIP = 1024  # output positions that are computed before they are stored

StoreImage = Callable[[Function, Ref, Ref, Ref, Ref, int, "Ref | None"], None]
"""`store(f, *plane, position, value, lanes, mask)` takes each element of a result once.

`position` is that of the first lane among the rows and columns of the plane, which are counted
through; the lanes go along a row.
"""


class _At(NamedTuple):
    """A strip of the result: its group, image, panel of channels, and first row in each phase."""

    group: Ref
    image: Ref
    panel: Ref
    top: Ref


@dataclass(frozen=True)
class Windows:
    """Sums over windows: of every `plan.planes` of `inner` channels, for `outer` channels a group.

    Attributes:
        source, weight: the strides of the operands, in elements.
        inner, outer: channels in a group of the source and of the result.
        turned: whether the weight's first dimension is that of the source's channels.
    """

    convolution: Convolution
    target: Target
    plan: Plan
    source: Strides
    weight: Strides
    inner: int
    outer: int
    turned: bool

    # -- sizes -----------------------------------------------------------------------------

    @cached_property
    def lanes(self) -> int:
        """Lanes of a vector."""
        return self.convolution.numbers.lanes(self.target)

    @cached_property
    def strip(self) -> int:
        """Rows of a phase's positions that are computed at once: what they read stays in L2."""
        rows = max(phase.grid[0] for phase in self.plan.phases)
        read = self.inner * len(self.plan.planes) * self.size
        positions = max(STRIP // 8, min(STRIP, self.target.l2 // 2 // read))
        return -(-rows // -(-rows // max(1, positions // self.plan.row)))

    @cached_property
    def shape(self) -> Pair:
        """Rows and vectors of a tile."""
        columns = self.strip * self.plan.row
        uses = max(1, max(len(phase.taps) for phase in self.plan.phases))
        return tile_shape(self.target, self.outer, columns, self.lanes, uses)

    @property
    def height(self) -> int:
        """Channels of the result in a panel."""
        return self.shape[0]

    @property
    def panels(self) -> int:
        """How many panels the channels of a group make."""
        return -(-self.outer // self.height)

    @cached_property
    def depth(self) -> int:
        """Elements in a panel's weights for each of its channels, in all phases."""
        return self.inner * sum(len(phase.taps) for phase in self.plan.phases)

    @cached_property
    def block(self) -> int:
        """Panels whose weights fill half of the second cache."""
        room = max(1, self.depth * self.height * self.size)
        return max(1, min(self.panels, self.target.l2 // 2 // room))

    @property
    def size(self) -> int:
        """Bytes of a sum."""
        return BITS[self.convolution.numbers.sum] // 8

    @cached_property
    def channel(self) -> int:
        """Elements in the planes of a channel."""
        return len(self.plan.planes) * self.plan.plane

    @cached_property
    def width(self) -> int:
        """Elements in a row of the strip's buffer, one row for each channel of a panel."""
        return _up(self.strip * self.plan.row, self.shape[1] * self.lanes)

    @cached_property
    def _rooms(self) -> list[int]:
        """Elements of the planes, the weights, the strip, and what phases make up."""
        gathered = self.height * self._gathered if self._gathers else 0
        return [
            _up(n, self.lanes)
            for n in (
                self.inner * self.channel + self.width,
                self.block * self.depth * self.height + 2 * self.lanes,
                self.height * self.width,
                gathered,
            )
        ]

    @property
    def _gathers(self) -> bool:
        return self.plan.step != (1, 1)

    @property
    def _gathered(self) -> int:
        """Elements of the result that a strip of all phases makes up."""
        return self.strip * self.plan.step[0] * self.plan.result[1]

    @property
    def workspace(self) -> int:
        """Bytes of scratch memory."""
        return sum(self._rooms) * self.size

    @property
    def blocks(self) -> int:
        """Into how many blocks the work can be divided: images, or panels of a single one."""
        c = self.convolution
        return c.batch if c.batch > 1 else c.groups * self.panels

    # -- code ------------------------------------------------------------------------------

    def emit(
        self,
        f: Function,
        source: Ref,
        weight: Ref,
        store: StoreImage,
        workspace: Ref,
        part: Part | None = None,
    ) -> None:
        """Build the loops over groups, blocks of panels, images, panels, strips and tiles."""
        c, numbers = self.convolution, self.convolution.numbers
        rooms = list(itertools.accumulate(self._rooms, initial=0))
        planes, weights, strip, gathered = (
            f.at(workspace, room, numbers.sum) for room in rooms[:4]
        )
        if math.prod(self.plan.result) == 0:
            return
        clear(f, numbers, planes, self._rooms[0], self.lanes)
        part = part or (number(0), number(self.blocks))
        images = part if c.batch > 1 else (number(0), number(1))
        with f.loop(0, c.groups) as group:
            first, last = number(0), number(self.panels)
            if c.batch == 1:
                before = f.mul(group, number(self.panels))
                first = f.intrinsic("smax", f.sub(part[0], before), number(0))
                last = smaller(f, f.sub(part[1], before), self.panels)
            with f.loop(first, last, self.block) as p0:
                p1 = smaller(f, last, f.add(p0, number(self.block)))
                self._pack_weights(f, weight, weights, group, p0, p1)
                with f.loop(*images) as image:
                    self._copy_planes(f, source, planes, group, image)
                    rows = max(phase.grid[0] for phase in self.plan.phases)
                    with f.loop(0, rows, self.strip) as top, f.loop(p0, p1) as panel:
                        offset = f.mul(f.sub(panel, p0), number(self.depth * self.height))
                        own = f.at(weights, offset, numbers.sum)
                        at = _At(group, image, panel, top)
                        self._panel(f, planes, own, strip, gathered, at, store)

    def _copy_planes(
        self,
        f: Function,
        source: Ref,
        planes: Ref,
        group: Ref,
        image: Ref,
    ) -> None:
        numbers = self.convolution.numbers
        strides = self.source
        start = f.at(source, index(f, image, strides[0]), numbers.memory)
        start = f.at(start, index(f, group, self.inner * strides[1]), numbers.memory)
        with f.loop(0, self.inner) as channel:
            at = f.at(start, index(f, channel, strides[1]), numbers.memory)
            to = f.at(planes, index(f, channel, self.channel), numbers.sum)
            for n, plane in enumerate(self.plan.planes):
                place = f.at(to, n * self.plan.plane, numbers.sum)
                plane.copy(
                    f, numbers, self.target, at, (strides[2], strides[3]), self.plan.source, place
                )

    def _pack_weights(
        self,
        f: Function,
        weight: Ref,
        to: Ref,
        group: Ref,
        p0: Ref,
        p1: Ref,
    ) -> None:
        """Panels of weights: the phases one after the other, `height` channels side by side."""
        numbers, c = self.convolution.numbers, self.convolution
        strides = self.weight
        inner, outer = strides[:2] if self.turned else strides[1::-1]
        first = (self.inner if self.turned else self.outer) * strides[0]
        start = f.at(weight, index(f, group, first), numbers.memory)
        in_order = strides[1:] == (math.prod(c.kernel), c.kernel[1], 1) and not self.turned
        with f.loop(p0, p1) as panel:
            at = f.at(start, index(f, panel, self.height * outer), numbers.memory)
            place = f.at(to, f.mul(f.sub(panel, p0), number(self.depth * self.height)), numbers.sum)
            rows = smaller(f, self.height, f.sub(number(self.outer), index(f, panel, self.height)))
            if in_order and self.lanes >= 4 and self.height <= self.lanes:
                for live in {self.height, self.outer % self.height} - {0}:
                    with f.when(f.compare("eq", rows, number(live))):
                        transpose(
                            f, numbers, at, outer, place, number(self.height),
                            number(self.depth), live, self.lanes,
                        )  # fmt: skip
            else:
                self._gather_weights(f, at, place, rows, inner, outer)

    def _gather_weights(
        self,
        f: Function,
        at: Ref,
        to: Ref,
        rows: Ref,
        inner: int,
        outer: int,
    ) -> None:
        strides = self.weight
        numbers, kernel = self.convolution.numbers, self.convolution.kernel
        done = 0
        for phase in self.plan.phases:
            where = [
                tap // kernel[1] * strides[2] + tap % kernel[1] * strides[3]
                for _, tap in phase.taps
            ]
            if not where:
                continue
            table = offsets(f.module, where)
            base = f.at(to, done * self.height, numbers.sum)
            with f.loop(0, self.inner) as channel, f.loop(0, len(where)) as tap:
                k = f.add(index(f, channel, len(where)), tap)
                here = f.at(base, index(f, k, self.height), numbers.sum)
                start = f.at(at, index(f, channel, inner), numbers.memory)
                start = f.at(start, f.load("i64", f.at(table, tap, "i64")), numbers.memory)
                with f.loop(0, rows) as r:
                    value = numbers.load_one(f, f.at(start, index(f, r, outer), numbers.memory))
                    f.store(value, f.at(here, r, numbers.sum))
            done += self.inner * len(where)

    def _panel(
        self,
        f: Function,
        planes: Ref,
        weights: Ref,
        strip: Ref,
        gathered: Ref,
        at: _At,
        store: StoreImage,
    ) -> None:
        """A strip of the result, for the channels of one panel."""
        numbers = self.convolution.numbers
        first = index(f, at.panel, self.height)
        live = smaller(f, self.height, f.sub(number(self.outer), first))
        channel = f.add(index(f, at.group, self.outer), first)
        kernel = WindowKernel(numbers, *self.shape, self.lanes)
        start = f.at(planes, index(f, at.top, self.plan.row), numbers.sum)
        done = 0
        for phase in self.plan.phases:
            taps = len(phase.taps)
            table = offsets(f.module, [place for place, _ in phase.taps]) if taps else weights
            own = f.at(weights, done * self.height, numbers.sum)
            done += self.inner * taps
            rows = smaller(f, self.strip, f.sub(number(phase.grid[0]), at.top))
            with f.loop(0, index(f, rows, self.plan.row), kernel.width) as q:
                kernel.call(
                    f, own, f.at(start, q, numbers.sum), f.at(strip, q, numbers.sum),
                    self.width, self.inner, self.channel, table, taps,
                )  # fmt: skip
            with f.loop(0, live) as r:
                line = f.at(strip, index(f, r, self.width), numbers.sum)
                if self._gathers:
                    to = f.at(gathered, index(f, r, self._gathered), numbers.sum)
                    self._spread(f, line, to, phase, rows)
                else:
                    plane = (at.image, f.add(channel, r))
                    self._put(f, line, self.plan.row, at.top, rows, plane, store)
        if self._gathers:
            height, width = self.plan.result
            top = index(f, at.top, self.plan.step[0])
            rows = smaller(f, self.strip * self.plan.step[0], f.sub(number(height), top))
            with f.loop(0, live) as r:
                line = f.at(gathered, index(f, r, self._gathered), numbers.sum)
                self._put(f, line, width, top, rows, (at.image, f.add(channel, r)), store)

    def _spread(self, f: Function, line: Ref, to: Ref, phase: Phase, rows: Ref) -> None:
        """Copy a strip of a phase to its positions in the result."""
        numbers = self.convolution.numbers
        with f.loop(0, rows) as i, f.loop(0, phase.grid[1]) as j:
            value = f.load(
                numbers.sum, f.at(line, f.add(index(f, i, self.plan.row), j), numbers.sum)
            )
            row = index(f, i, self.plan.step[0], phase.start[0])
            column = index(f, j, self.plan.step[1], phase.start[1])
            place = f.add(index(f, row, self.plan.result[1]), column)
            f.store(value, f.at(to, place, numbers.sum))

    def _put(
        self,
        f: Function,
        line: Ref,
        width: int,
        top: Ref,
        rows: Ref,
        plane: tuple[Ref, Ref],
        store: StoreImage,
    ) -> None:
        """Hand rows of the result to `store`."""
        numbers, count = self.convolution.numbers, self.plan.result[1]

        def put(at: Ref, position: Ref, lanes: int, live: int) -> None:
            value = numbers.narrowed(f, f.load(vector(numbers.sum, lanes), at))
            store(f, *plane, position, value, lanes, mask_of(f, lanes, live))

        with f.loop(0, rows) as i:
            at = f.at(line, index(f, i, width), numbers.sum)
            position = index(f, f.add(top, i), count)
            whole = count - count % self.lanes
            if whole > self.lanes:
                with f.loop(0, whole, self.lanes) as j:
                    here = f.at(at, j, numbers.sum)
                    put(here, f.add(position, j), self.lanes, self.lanes)
            elif whole:
                put(at, position, self.lanes, self.lanes)
            for piece in pieces(count - whole, self.lanes, self.target):
                here = f.at(at, whole + piece.offset, numbers.sum)
                put(here, plus(f, position, whole + piece.offset), piece.lanes, piece.live)


def _up(n: int, size: int) -> int:
    return -(-n // size) * size
