"""What a program is once it is written, and what it returns to its caller."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kuai.compiler.graph import Operation
    from kuai.compiler.layout import Layout
    from kuai.compiler.memory import Buffer


@dataclass(frozen=True, eq=False, repr=False)
class Failure:
    """What a positive status of a program means.

    Attributes:
        exception: the class that eager raises.
        message: its text, with a place for each of the values.
        values: how many integers the program tells with it, in the words that follow that of its
            buffer of the kind "failure".
        operation: what failed.
    """

    exception: type[Exception]
    message: str
    values: int
    operation: Operation


@dataclass(frozen=True, eq=False, repr=False)
class HostCall:
    """A NumPy kernel that a program calls.

    Attributes:
        operation: what is computed.
        inputs: for each input, the layout of the array, or the number that it is.
        outputs: the layouts of the results, which the caller has made room for.
    """

    operation: Operation
    inputs: tuple[Layout | float | int | bool, ...]
    outputs: tuple[Layout, ...]


@dataclass(eq=False, repr=False)
class Emitted:
    """A program as text, and what its caller must know.

    Attributes:
        text: an LLVM module that defines `i32 @program(ptr %buffers, ptr %arena)`.
        buffers: what each address in the table `buffers` is, in order.
        arena: bytes of scratch memory that the program needs.
        failures: what the statuses 1, 2, ... mean. Where some of them tell values, a buffer of
            the kind "failure" is followed by as many places of the table as these need.
        hosts: the NumPy kernels that it calls, by number; a buffer of the kind "hosts" has the
            number of the first.
        cost: how long it will take, in nanoseconds, without loops of unknown length.
        loops: whether it has such loops.
        kernels: for each kernel, its name and how many steps use it.
    """

    text: str
    buffers: list[Buffer]
    arena: int
    failures: list[Failure] = field(default_factory=list)
    hosts: list[HostCall] = field(default_factory=list)
    cost: float = 0.0
    loops: bool = False
    kernels: dict[str, int] = field(default_factory=dict)
