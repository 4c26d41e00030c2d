"""Where the arrays of a program lie, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from kuai.compiler.graph import Value
from kuai.compiler.kernels import Kernels
from kuai.compiler.layout import Layout
from kuai.compiler.steps import Step

ALIGNMENT = 64
STACK_BYTES = 24  # of what is known of a loop's stack: its memory, its room, its rounds
STACK_START = ALIGNMENT  # where its arrays begin, if they lie behind that
MOST_ROOM = 1 << 26  # bytes of a stack that lies in the arena


@dataclass(eq=False)
class Buffer:
    """A piece of memory.

    Attributes:
        kind: "input", "captured", "output", "gradient" (memory of the caller, `index` in the
            graph's list), "constant" (in the program), "arena" (`offset` bytes into it), or a
            place in the table of buffers for something else.
        size: its bytes.
        first, last: the positions of the first and the last step that touch it.
    """

    kind: str
    index: int = 0
    size: int = 0
    offset: int = 0
    first: int = -1
    last: int = -1
    value: Value | None = None

    def __repr__(self) -> str:
        if self.kind == "arena":
            return f"arena+{self.offset}"
        return f"{self.kind}{self.index}"


@dataclass
class Copy:
    """Elements to be brought to where the caller wants them, after everything else."""

    value: Value
    buffer: Buffer
    layout: Layout


@dataclass
class Plan:
    """The order of the steps and the places of the arrays.

    Attributes:
        kernels: what is planned.
        steps: in their final order.
        buffers: the memory of each stored value; of values with memory of the caller, too.
        copies: what is left to do at the end.
        arena: bytes of scratch memory.
        rooms: for each loop's stack whose rounds are known before, the bytes of its arrays, which
            lie in the arena; other stacks grow in memory of their own.
    """

    kernels: Kernels
    steps: list[Step] = field(default_factory=list)
    buffers: dict[Value, Buffer] = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)
    arena: int = 0
    rooms: dict[Buffer, int] = field(default_factory=dict)

    def buffer_of(self, value: Value) -> Buffer:
        """The memory in which a value lies."""
        return self.buffers[self.kernels.base_of(value)]

    def __str__(self) -> str:
        lines = [f"arena of {self.arena} bytes"]
        for value, buffer in self.buffers.items():
            span = f"steps {buffer.first} to {buffer.last}" if buffer.kind == "arena" else ""
            lines.append(f"{value!r}: {value.meta!r} in {buffer!r} {span}".rstrip())
        lines += [f"{c.buffer!r} = copy of {c.value!r}" for c in self.copies]
        return "\n".join(lines)
