"""The micro-kernel: a tile of C from a panel of A and a panel of B, as a function of its own.

All products, convolutions and attentions of one module share these functions.
"""

from __future__ import annotations

from dataclasses import dataclass

from kuai.compiler.emit.builder import Function, Module, Ref, vector
from kuai.compiler.emit.products.product import Numbers, index
from kuai.compiler.native.target import Target

AHEAD = 8  # rows of the panel of B that are asked for before they are needed
WIDE = '"min-legal-vector-width"="512" "prefer-vector-width"="512"'


@dataclass(frozen=True)
class Kernel:
    """A tile of `rows` times `vectors`.

    The panel of B has `vectors * lanes` elements, side by side, for each k. The sums are written
    to memory row by row.

    Attributes:
        a: the strides of the panel of A along the rows and along k, in elements.
    """

    numbers: Numbers
    rows: int
    vectors: int
    lanes: int
    a: tuple[int, int]

    @property
    def width(self) -> int:
        """Columns of the tile, and elements of B for each k."""
        return self.vectors * self.lanes

    @property
    def name(self) -> str:
        """The name of the function."""
        strides = "_".join(str(s).replace("-", "m") for s in self.a)
        return f"tile_{self.numbers.sum}_{self.rows}x{self.width}_{strides}"

    def call(self, f: Function, a: Ref, b: Ref, c: Ref, k: Ref) -> None:
        """Compute a tile; its sums over `k` go to `c`."""
        self._define(f.module)
        f.call(self.name, "void", a, b, c, k)

    def _define(self, module: Module) -> None:
        given = [("ptr", "a"), ("ptr", "b"), ("ptr", "c"), ("i64", "k")]
        f = shared(module, self.name, given)
        if f is None:
            return
        a, b, c, k = f.arguments
        element, lanes = self.numbers.sum, self.lanes
        type = vector(element, lanes)
        places = [(r, v) for r in range(self.rows) for v in range(self.vectors)]
        at = {(r, v): r * self.width + v * lanes for r, v in places}
        sums = {place: f.variable(f.const(0, type)) for place in places}
        with f.loop(0, k) as p:
            line = f.at(b, index(f, p, self.width), element)
            here = f.at(a, index(f, p, self.a[1]), element)
            bs = [f.load(type, f.at(line, v * lanes, element)) for v in range(self.vectors)]
            for v in range(self.vectors):
                prefetch(f, f.at(line, AHEAD * self.width + v * lanes, element))
            for r in range(self.rows):
                one = f.load(element, f.at(here, r * self.a[0], element))
                wide = f.splat(one, lanes)
                for v, y in enumerate(bs):
                    sum = sums[r, v]
                    sum.set(self.numbers.multiply_add(f, wide, y, sum.get()))
        for place, sum in sums.items():
            f.store(sum.get(), f.at(c, at[place], element))
        f.ret()


def shared(module: Module, name: str, arguments: list[tuple[str, str]]) -> Function | None:
    """A function that all products of a module share; `None` if it is there already."""
    if any(g.name == name for g in module.functions):
        return None
    return module.function(name, "void", arguments, attributes=f"noinline nounwind {WIDE}")


def prefetch(f: Function, pointer: Ref, writes: bool = False) -> None:
    """Ask for a line of memory that will be read, or written, soon."""
    f.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
    f.line(f"call void @llvm.prefetch.p0({pointer}, i32 {int(writes)}, i32 3, i32 1)")


def tile_of(target: Target, numbers: Numbers) -> tuple[int, int]:
    """Rows and vectors of the tile that suits a processor's registers best."""
    return min(12, (target.registers - 4) // 2), 2
