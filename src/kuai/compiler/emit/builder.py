"""LLVM's language, written as text: a function is built block by block, each value has its type.

Text rather than `llvmlite.ir`: it is several times quicker to write and to read back, and what
`explain("llvm")` shows is what was written here.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from kuai.compiler.sizes import Batch, SizeError, varies

BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "half": 16, "bfloat": 16}
BITS |= {"float": 32, "double": 64}
FLOATS = ("half", "bfloat", "float", "double")


class Ref(NamedTuple):
    """A value in a function: its text (`%7`, `3`, `0x3FF0000000000000`) and its type."""

    text: str
    type: str

    @property
    def element(self) -> str:
        """The type of one lane."""
        return element_of(self.type)

    @property
    def lanes(self) -> int:
        """How many lanes; 0 for a scalar."""
        return lanes_of(self.type)

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


@functools.cache
def vector(element: str, lanes: int) -> str:
    """The type of `lanes` elements side by side; of one element for 0."""
    return f"<{lanes} x {element}>" if lanes else element


@functools.cache
def element_of(type: str) -> str:
    """The type of one lane of a vector; a scalar's own."""
    return type[type.index(" x ") + 3 : -1] if type[0] == "<" else type


@functools.cache
def lanes_of(type: str) -> int:
    """How many lanes a type has; 0 for a scalar."""
    return int(type[1 : type.index(" ")]) if type[0] == "<" else 0


@functools.cache
def is_float(type: str) -> bool:
    """Whether a type, or that of its lanes, is floating."""
    return element_of(type) in FLOATS


def literal(value: float | int | bool, type: str) -> str:
    """A Python number as LLVM writes it in this scalar type."""
    if type in ("float", "half", "bfloat", "double"):
        if type == "float":
            with_single = struct.unpack("f", struct.pack("f", _to_single(value)))[0]
            bits = struct.unpack("Q", struct.pack("d", with_single))[0]
            return f"0x{bits:016X}"
        if type == "double":
            return f"0x{struct.unpack('Q', struct.pack('d', float(value)))[0]:016X}"
        if type == "half":
            return f"0xH{struct.unpack('H', struct.pack('e', float(value)))[0]:04X}"
        single = struct.unpack("I", struct.pack("f", float(value)))[0]
        return f"0xR{(single + 0x7FFF + ((single >> 16) & 1)) >> 16:04X}"
    if type == "i1":
        return "true" if value else "false"
    return str(int(value))


def _to_single(value: float | int) -> float:
    value = float(value)
    if value != value or value in (float("inf"), float("-inf")):
        return value
    try:
        struct.pack("f", value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    return value


def _constant(value: float | int | bool, type: str) -> Ref:
    lanes = lanes_of(type)
    element = element_of(type)
    text = literal(value, element)
    if not lanes:
        return Ref(text, type)
    if not value and not (is_float(type) and str(float(value))[0] == "-"):
        return Ref("zeroinitializer", type)
    return Ref(f"splat ({element} {text})", type)


_nonzero = functools.lru_cache(4096)(_constant)  # of the zeros, two are equal and not the same


_SIZE = re.compile('%"([^"]+)"')


def number(value: int) -> Ref:
    """An i64, also one that depends on the batch."""
    return Ref(str(value), "i64")


def is_known(x: Ref) -> bool:
    """Whether a value is an i64 that is known now."""
    return x.type == "i64" and x.text.lstrip("-").isdigit()


@functools.lru_cache(4096)
def _mask(order: tuple[int, ...]) -> str:
    """Which lanes a shuffle takes."""
    if not any(order):
        return f"<{len(order)} x i32> zeroinitializer"
    return f"<{len(order)} x i32> <{', '.join(f'i32 {i}' for i in order)}>"


class Variable:
    """A place on the stack that a loop writes and reads; LLVM makes a register of it."""

    __slots__ = ("function", "pointer", "type")

    def __init__(self, function: Function, type: str, start: Ref | None) -> None:
        self.function = function
        self.type = type
        self.pointer = function.alloca(type)
        if start is not None:
            self.set(start)

    def get(self) -> Ref:
        """What it holds now."""
        return self.function.load(self.type, self.pointer)

    def set(self, value: Ref) -> None:
        """Put a value of its type there."""
        self.function.store(value, self.pointer)


class Module:
    """One LLVM module: functions, constants, and declarations of what is outside.

    Attributes:
        batch: where sizes depend on it, the batch; a function that uses such a size has `%batch`
            among its arguments, or computes it `before` everything else.
    """

    def __init__(self, batch: Batch | None = None) -> None:
        self.batch = batch
        self.functions: list[Function] = []
        self.globals: dict[str, str] = {}
        self.declarations: dict[str, str] = {}
        self.texts: dict[str, str] = {}  # functions that came as text, by name

    def function(
        self,
        name: str,
        result: str,
        arguments: Sequence[tuple[str, str]],
        *,
        internal: bool = True,
        attributes: str = "",
        noalias: bool = False,
    ) -> Function:
        """A new function; `arguments` are pairs of a type and a name."""
        function = Function(self, name, result, arguments, internal, attributes, noalias)
        self.functions.append(function)
        return function

    def declare(
        self, name: str, result: str, arguments: Sequence[str], attributes: str = ""
    ) -> None:
        """Make an outer function (or an intrinsic) known."""
        text = f"declare {result} @{name}({', '.join(arguments)})"
        self.declarations[name] = f"{text} {attributes}".rstrip()

    def constant(self, name: str, type: str, text: str, align: int = 64) -> Ref:
        """A constant in memory; returns its address."""
        self.globals[name] = f"@{name} = private unnamed_addr constant {type} {text}, align {align}"
        return Ref(f"@{name}", "ptr")

    def __str__(self) -> str:
        parts = [*self.globals.values(), *self.declarations.values(), *self.texts.values()]
        return "\n".join([*parts, *map(str, self.functions)]) + "\n"


class Function:
    """A function under construction; each method that computes returns the new value."""

    def __init__(
        self,
        module: Module,
        name: str,
        result: str,
        arguments: Sequence[tuple[str, str]],
        internal: bool = True,
        attributes: str = "",
        noalias: bool = False,
    ) -> None:
        self.module = module
        self.name = name
        self.result = result
        self.arguments = [Ref(f"%{n}", t) for t, n in arguments]
        self.internal = internal
        self.attributes = attributes
        self.noalias = noalias
        self._count = 0
        self._allocas: list[str] = []
        self._lines: list[str] = []
        self._block = "entry"
        self.before: list[str] = []
        self.ended = False  # whether the current block has its last instruction

    # -- values -----------------------------------------------------------------------------

    def const(self, value: float | int | bool, type: str) -> Ref:
        """A number, in every lane where the type is a vector."""
        if varies(value):
            if element_of(type) != "i64":
                raise SizeError(f"{value!r} as {type}")
            return self.splat(number(value), lanes_of(type))  # type: ignore[arg-type]
        return _nonzero(value, type) if value else _constant(value, type)

    def lanes(self, values: Sequence[float | int], element: str) -> Ref:
        """A vector of different numbers."""
        inner = ", ".join(f"{element} {literal(v, element)}" for v in values)
        return Ref(f"<{inner}>", vector(element, len(values)))

    def op(self, type: str, text: str) -> Ref:
        """An instruction, whose result has this type."""
        self._count += 1
        ref = Ref(f"%v{self._count}", type)
        self._lines.append(f"  {ref.text} = {text}")
        return ref

    def line(self, text: str) -> None:
        """An instruction without a result."""
        self._lines.append(f"  {text}")

    def sizes(self) -> list[str]:
        """The sizes that depend on the batch, by their text."""
        if self.module.batch is None:
            return []
        text = "\n".join(line for line in (*self._allocas, *self._lines) if '%"' in line)
        return list(dict.fromkeys(_SIZE.findall(text)))

    def replace(self, text: str, by: str) -> None:
        """Put one text in the place of another, in all instructions."""
        self._lines = [line.replace(text, by) for line in self._lines]

    def find_batch(self, table: Ref, place: int) -> None:
        """Read the batch from a table of words, before everything else."""
        address = f"  %batch.at = getelementptr i64, {table}, i64 {place}"
        self.before += [address, "  %batch = load i64, ptr %batch.at, align 8"]

    def comment(self, text: str) -> None:
        """A remark for the reader."""
        self._lines.append("  ; " + text.replace("\n", " "))

    # -- arithmetic -------------------------------------------------------------------------

    def binary(self, name: str, x: Ref, y: Ref) -> Ref:
        """`name` is LLVM's, such as `fadd` or `ashr`."""
        return self.op(x.type, f"{name} {x.type} {x.text}, {y.text}")

    def add(self, x: Ref, y: Ref) -> Ref:
        """`x + y`; of integers, what is known is computed now."""
        if x.type == "i64":
            if x.text == "0" or y.text == "0":
                return y if x.text == "0" else x
            if is_known(x) and is_known(y):
                return number(int(x.text) + int(y.text))
        return self.binary("fadd" if is_float(x.type) else "add", x, y)

    def sub(self, x: Ref, y: Ref) -> Ref:
        """`x - y`."""
        return self.binary("fsub" if is_float(x.type) else "sub", x, y)

    def mul(self, x: Ref, y: Ref) -> Ref:
        """`x * y`; of integers, what is known is computed now."""
        if x.type == "i64":
            if x.text == "1" or y.text == "1":
                return y if x.text == "1" else x
            if is_known(x) and is_known(y):
                return number(int(x.text) * int(y.text))
        return self.binary("fmul" if is_float(x.type) else "mul", x, y)

    def fdiv(self, x: Ref, y: Ref) -> Ref:
        """`x / y`, floating."""
        return self.binary("fdiv", x, y)

    def fneg(self, x: Ref) -> Ref:
        """`-x`, floating."""
        return self.op(x.type, f"fneg {x.type} {x.text}")

    def fma(self, x: Ref, y: Ref, z: Ref) -> Ref:
        """`x * y + z`, rounded once."""
        return self.intrinsic("fma", x, y, z)

    def compare(self, condition: str, x: Ref, y: Ref) -> Ref:
        """`condition` is LLVM's: `olt`, `oeq`, `une`, ... for floats; `slt`, `eq`, ... else."""
        name = "fcmp" if is_float(x.type) else "icmp"
        return self.op(vector("i1", x.lanes), f"{name} {condition} {x.type} {x.text}, {y.text}")

    def select(self, condition: Ref, x: Ref, y: Ref) -> Ref:
        """`x` where the condition holds, else `y`."""
        return self.op(x.type, f"select {condition}, {x}, {y}")

    def cast(self, name: str, x: Ref, element: str) -> Ref:
        """Convert by LLVM's `sext`, `fptosi`, `bitcast`, ... to this type of element."""
        to = vector(element, x.lanes)
        return x if to == x.type else self.op(to, f"{name} {x} to {to}")

    def intrinsic(self, name: str, *arguments: Ref, result: str = "", extra: str = "") -> Ref:
        """Call `llvm.<name>` overloaded on the type of the first argument."""
        type = arguments[0].type
        full = f"llvm.{name}.{mangled(type)}"
        given = ", ".join(map(str, arguments)) + extra
        if full not in self.module.declarations:
            types = [a.type for a in arguments] + (["i1"] if extra else [])
            self.module.declare(full, result or type, types)
        return self.op(result or type, f"call {result or type} @{full}({given})")

    def call(self, name: str, result: str, *arguments: Ref) -> Ref:
        """Call a function; for `void`, what is returned means nothing."""
        text = f"call {result} @{name}({', '.join(map(str, arguments))})"
        if result == "void":
            self.line(text)
            return Ref("", "void")
        return self.op(result, text)

    # -- vectors ----------------------------------------------------------------------------

    def splat(self, x: Ref, lanes: int) -> Ref:
        """The scalar `x` in every lane."""
        if not lanes:
            return x
        type = vector(x.type, lanes)
        one = self.op(type, f"insertelement {type} poison, {x}, i64 0")
        return self.shuffle(one, one, [0] * lanes)

    def shuffle(self, x: Ref, y: Ref, order: Sequence[int]) -> Ref:
        """Lanes picked from those of `x` and, after them, those of `y`."""
        type = vector(x.element, len(order))
        return self.op(type, f"shufflevector {x}, {y}, {_mask(tuple(order))}")

    def extract(self, x: Ref, lane: int | Ref) -> Ref:
        """One lane."""
        at = f"i64 {lane}" if isinstance(lane, int) else str(lane)
        return self.op(x.element, f"extractelement {x}, {at}")

    def insert(self, x: Ref, value: Ref, lane: int | Ref) -> Ref:
        """`x` with one lane replaced."""
        at = f"i64 {lane}" if isinstance(lane, int) else str(lane)
        return self.op(x.type, f"insertelement {x}, {value}, {at}")

    # -- memory -----------------------------------------------------------------------------

    def alloca(self, type: str, count: int = 1, align: int = 64) -> Ref:
        """Room on the stack, made once at the entry of the function."""
        self._count += 1
        name = f"%v{self._count}"
        self._allocas.append(f"  {name} = alloca {type}, i64 {count}, align {align}")
        return Ref(name, "ptr")

    def store_first(self, value: Ref, pointer: Ref) -> None:
        """Put a constant at an alloca, at the entry of the function."""
        self._allocas.append(f"  store {value}, {pointer}, align {_align(value.type)}")

    def variable(self, start: Ref) -> Variable:
        """A variable that holds `start`."""
        return Variable(self, start.type, start)

    def at(self, pointer: Ref, index: Ref | int, element: str) -> Ref:
        """The address `index` elements (a scalar type's name) beyond `pointer`."""
        if not isinstance(index, Ref):
            index = number(index)
        if index.text == "0":
            return pointer
        return self.op("ptr", f"getelementptr {element}, {pointer}, {index}")

    def load(self, type: str, pointer: Ref, align: int | None = None) -> Ref:
        """What lies at `pointer`; aligned to one element unless said otherwise."""
        return self.op(type, f"load {type}, {pointer}, align {align or _align(type)}")

    def store(self, value: Ref, pointer: Ref, align: int | None = None) -> None:
        """Put a value at `pointer`."""
        self.line(f"store {value}, {pointer}, align {align or _align(value.type)}")

    def load_masked(self, type: str, pointer: Ref, mask: Ref, default: Ref) -> Ref:
        """The lanes of `mask` from memory, the others from `default`."""
        name = f"llvm.masked.load.{mangled(type)}.p0"
        self.module.declare(name, type, ["ptr", "i32", mask.type, type])
        align = Ref(str(_align(type)), "i32")
        return self.call(name, type, pointer, align, mask, default)

    def store_masked(self, value: Ref, pointer: Ref, mask: Ref) -> None:
        """Put the lanes of `mask` into memory."""
        name = f"llvm.masked.store.{mangled(value.type)}.p0"
        self.module.declare(name, "void", [value.type, "ptr", "i32", mask.type])
        self.call(name, "void", value, pointer, Ref(str(_align(value.type)), "i32"), mask)

    # -- control ----------------------------------------------------------------------------

    def label(self, hint: str = "b") -> str:
        """A fresh name for a block."""
        self._count += 1
        return f"{hint}{self._count}"

    def begin(self, label: str) -> None:
        """Start the block; the one before it falls through to it."""
        if not self.ended:
            self.line(f"br label %{label}")
        self._lines.append(f"{label}:")
        self._block = label
        self.ended = False

    def branch(self, label: str) -> None:
        """Go to a block."""
        if not self.ended:
            self.line(f"br label %{label}")
            self.ended = True

    def branch_if(self, condition: Ref, then: str, otherwise: str, rarely: bool = False) -> None:
        """Go to one of two blocks; `rarely` to the first, whose code then lies out of the way."""
        hint = ", !prof !0" if rarely else ""
        if rarely:
            self.module.globals["!0"] = '!0 = !{!"branch_weights", i32 1, i32 1048575}'
        self.line(f"br {condition}, label %{then}, label %{otherwise}{hint}")
        self.ended = True

    def ret(self, value: Ref | None = None) -> None:
        """Return."""
        self.line("ret void" if value is None else f"ret {value}")
        self.ended = True

    @contextmanager
    def loop(self, start: Ref | int, stop: Ref | int, step: Ref | int = 1) -> Iterator[Ref]:
        """Repeat what is built inside, for an index from `start` up to before `stop`."""
        first, last, by = (n if isinstance(n, Ref) else number(n) for n in (start, stop, step))
        before = self._block
        head, body, end = self.label("loop"), self.label("body"), self.label("end")
        self._count += 1
        index, following = Ref(f"%i{self._count}", "i64"), Ref(f"%n{self._count}", "i64")
        self.begin(head)
        place = len(self._lines)
        self._lines.append("")
        inside = self.compare("slt", index, last)
        self.branch_if(inside, body, end)
        self.begin(body)
        yield index
        latch = self.label("next")
        self.begin(latch)
        self._lines.append(f"  {following.text} = add nsw i64 {index.text}, {by.text}")
        self.branch(head)
        self._lines[place] = (
            f"  {index.text} = phi i64 [ {first.text}, %{before} ], [ {following.text}, %{latch} ]"
        )
        self.begin_after(end)

    def begin_after(self, label: str) -> None:
        """Start a block that only branches lead to."""
        self.ended = True
        self.begin(label)

    @contextmanager
    def when(self, condition: Ref, rarely: bool = False) -> Iterator[None]:
        """Do what is built inside only where a scalar condition holds, as it may do `rarely`."""
        then, end = self.label("then"), self.label("end")
        self.branch_if(condition, then, end, rarely)
        self.begin_after(then)
        yield
        self.begin(end)

    def __str__(self) -> str:
        noalias = " noalias" if self.noalias else ""
        given = ", ".join(
            f"{a.type}{noalias if a.type == 'ptr' else ''} {a.text}" for a in self.arguments
        )
        linkage = "internal " if self.internal else ""
        head = f"define {linkage}{self.result} @{self.name}({given}) {self.attributes}".rstrip()
        sizes, batch = self.sizes(), self.module.batch
        defined = batch.define(sizes) if batch is not None and sizes else []
        lines = [f"{head} {{", "entry:", *self.before, *defined, *self._allocas, *self._lines, "}"]
        return "\n".join(lines)


@functools.cache
def mangled(type: str) -> str:
    """A type as it stands in the name of an intrinsic: `f32`, `v16f32`, `i64`, `p0`."""
    element = element_of(type)
    short = {"half": "f16", "bfloat": "bf16", "float": "f32", "double": "f64", "ptr": "p0"}
    lanes = lanes_of(type)
    return (f"v{lanes}" if lanes else "") + short.get(element, element)


def _align(type: str) -> int:
    element = element_of(type)
    return 8 if element == "ptr" else max(1, BITS[element] // 8)
