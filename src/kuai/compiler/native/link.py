"""Machine code from an object file into memory, its references resolved.

On x86-64 with ELF, which is read here in a hundred lines, that takes less than a millisecond and
does not load LLVM. Everywhere else LLVM's own linker does it.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import platform
import struct
import sys
from collections import namedtuple
from collections.abc import Sequence
from typing import Any

_LIBRARIES = ("libm.so.6", "libgcc_s.so.1")  # beside what the process has loaded already
_PAGE = mmap.PAGESIZE


class Library:
    """Machine code in memory; it stays there as long as this object.

    Attributes:
        symbols: the addresses that were asked for, by name.
        size: bytes of memory taken; 0 if unknown.
        kept: what else has to live as long, such as functions that the code calls.
    """

    def __init__(self, symbols: dict[str, int], memory: Any, size: int = 0) -> None:
        self.symbols = symbols
        self.size = size
        self.kept: Any = None
        self._memory = memory

    def __getitem__(self, name: str) -> int:
        return self.symbols[name]

    def __contains__(self, name: str) -> bool:
        return name in self.symbols


def link(object_file: bytes, exports: Sequence[str], symbols: dict[str, int]) -> Library:
    """Put an object file into memory.

    Args:
        object_file: what LLVM made.
        exports: the names of which the addresses are wanted.
        symbols: addresses of outer functions by name, before those of the process.

    Raises:
        RuntimeError: it refers to something that is nowhere.
    """
    if sys.platform == "linux" and platform.machine() == "x86_64":
        return _Elf(object_file).load(exports, symbols)
    return link_with_llvm(object_file, exports, symbols)


def process_symbol(name: str) -> int:
    """The address of a function of the C library, or of another library in the process.

    Raises:
        RuntimeError: there is none of this name.
    """
    for library in (None, *_LIBRARIES):
        try:
            function = getattr(ctypes.CDLL(library), name)
        except (OSError, AttributeError):
            continue
        address = ctypes.cast(function, ctypes.c_void_p).value
        if address:
            return address
    raise RuntimeError(f"the program refers to {name}, which is not in this process")


# -- x86-64, ELF ----------------------------------------------------------------------------------

_EXECUTABLE, _ALLOCATED, _NOBITS, _RELA, _SYMTAB = 4, 2, 8, 4, 2
_ABSOLUTE, _PC32, _PLT32, _GOT, _PC64, _GOTX, _REX_GOTX = 1, 2, 4, 9, 24, 41, 42
_STUB = 8  # bytes of a jump through the table of addresses


_Section = namedtuple("_Section", "name type flags address offset size link info align entry")
_Symbol = namedtuple("_Symbol", "name info other section value size")


class _Elf:
    """An object file, taken apart."""

    def __init__(self, data: bytes) -> None:
        if data[:5] != b"\x7fELF\x02":
            raise RuntimeError("not a 64-bit ELF object file")
        self.data = data
        (start,) = struct.unpack_from("<Q", data, 0x28)
        _, count, names = struct.unpack_from("<HHH", data, 0x3A)
        header = data[start : start + 64 * count]
        self.sections = [_Section(*s) for s in struct.iter_unpack("<IIQQQQIIQQ", header)]
        self.names = self.sections[names].offset
        self.symbols: list[_Symbol] = []
        self.strings = 0
        for section in self.sections:
            if section.type == _SYMTAB:
                table = data[section.offset : section.offset + section.size]
                self.symbols = [_Symbol(*s) for s in struct.iter_unpack("<IBBHQQ", table)]
                self.strings = self.sections[section.link].offset

    def text(self, start: int) -> str:
        """The string at an offset of the file."""
        return self.data[start : self.data.index(b"\0", start)].decode()

    def relocations(self) -> list[tuple[int, int, int, int, int]]:
        """Section, offset in it, kind, symbol and addend of each reference to resolve."""
        found = []
        for section in self.sections:
            if section.type == _RELA and section.info in self.places:
                table = self.data[section.offset : section.offset + section.size]
                for offset, info, addend in struct.iter_unpack("<QQq", table):
                    found.append((section.info, offset, info & 0xFFFFFFFF, info >> 32, addend))
        return found

    def lay_out(self) -> int:
        """Give each section that is loaded its place; code first, then a new page."""
        self.places: dict[int, int] = {}
        end = 0
        for executable in (True, False):
            for i, s in enumerate(self.sections):
                loaded = s.flags & _ALLOCATED and s.size
                if not loaded or bool(s.flags & _EXECUTABLE) is not executable:
                    continue
                if self.text(self.names + s.name) == ".eh_frame":  # nothing unwinds through it
                    continue
                end = -(-end // max(s.align, 1)) * max(s.align, 1)
                self.places[i] = end
                end += s.size
            if executable:
                self.stubs = end = -(-end // 16) * 16
                outer = [i for i, s in enumerate(self.symbols) if i and not s.section]
                self.slots = {symbol: i for i, symbol in enumerate(outer)}
                self.code_end = end = -(-(end + _STUB * len(outer)) // _PAGE) * _PAGE
        self.table = -(-end // 16) * 16
        self.inner_slots: dict[int, int] = {}  # places in the table for symbols defined here
        for _, _, kind, symbol, _ in (references := self.relocations()):
            if kind in (_GOT, _GOTX, _REX_GOTX) and symbol not in self.slots:
                self.inner_slots.setdefault(symbol, len(self.slots) + len(self.inner_slots))
        self.references = references
        return self.table + 8 * (len(self.slots) + len(self.inner_slots))

    def load(self, exports: Sequence[str], given: dict[str, int]) -> Library:
        """Put it into memory."""
        size = max(self.lay_out(), 1)
        memory = mmap.mmap(-1, size)
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for i, place in self.places.items():
            s = self.sections[i]
            if s.type != _NOBITS:
                memory[place : place + s.size] = self.data[s.offset : s.offset + s.size]
        for symbol, slot in self.slots.items():
            name = self.text(self.strings + self.symbols[symbol].name)
            address = given.get(name) or process_symbol(name)
            place, stub = self.table + 8 * slot, self.stubs + _STUB * slot
            memory[place : place + 8] = struct.pack("<Q", address)
            jump = b"\xff\x25" + struct.pack("<i", place - (stub + 6)) + b"\xcc\xcc"
            memory[stub : stub + _STUB] = jump
        for symbol, slot in self.inner_slots.items():
            struct.pack_into("<Q", memory, self.table + 8 * slot, base + self._offset(symbol))
        for reference in self.references:
            self._resolve(memory, base, *reference)
        _protect(base, self.code_end)
        addresses = self._defined(base)
        return Library({name: addresses[name] for name in exports}, memory, size)

    def _offset(self, symbol: int) -> int:
        found = self.symbols[symbol]
        return self.places[found.section] + found.value

    def _resolve(
        self, memory: Any, base: int, section: int, offset: int, kind: int, symbol: int, addend: int
    ) -> None:
        place = self.places[section] + offset
        outer = self.slots.get(symbol)
        if kind in (_GOT, _GOTX, _REX_GOTX):
            slot = self.inner_slots[symbol] if outer is None else outer
            value, width = self.table + 8 * slot + addend - place, "<i"
        elif kind == _ABSOLUTE:
            if outer is None:
                value = base + self._offset(symbol) + addend
            else:
                (value,) = struct.unpack_from("<Q", memory, self.table + 8 * outer)
            width = "<Q"
        elif kind in (_PC32, _PLT32, _PC64):
            target = self._offset(symbol) if outer is None else self.stubs + _STUB * outer
            value, width = target + addend - place, "<q" if kind == _PC64 else "<i"
        else:
            raise RuntimeError(f"unknown kind {kind} of reference in an object file")
        struct.pack_into(width, memory, place, value)

    def _defined(self, base: int) -> dict[str, int]:
        return {
            self.text(self.strings + s.name): base + self.places[s.section] + s.value
            for s in self.symbols
            if s.info >> 4 and s.section in self.places
        }


def _protect(base: int, code_end: int) -> None:
    """Make the code executable, and no longer writable."""
    libc = ctypes.CDLL(None, use_errno=True)
    protection = mmap.PROT_READ | mmap.PROT_EXEC
    if code_end and libc.mprotect(
        ctypes.c_void_p(base), ctypes.c_size_t(code_end), ctypes.c_int(protection)
    ):
        raise RuntimeError("the system does not let this process make code executable")


# -- everywhere else ------------------------------------------------------------------------------

_numbers = itertools.count()
_sessions: list[Any] = []


def link_with_llvm(object_file: bytes, exports: Sequence[str], symbols: dict[str, int]) -> Library:
    """What `link` does, by LLVM's own linker; it works on every machine that LLVM knows."""
    from kuai.compiler.native.jit import llvm

    binding = llvm()
    if not _sessions:
        _sessions.append(binding.create_lljit_compiler(use_jit_link=True))
    builder = binding.JITLibraryBuilder().add_object_img(object_file).add_current_process()
    for name, address in symbols.items():
        builder.import_symbol(name, address)
    for name in exports:
        builder.export_symbol(name)
    tracker = builder.link(_sessions[0], f"kuai{next(_numbers)}")
    return Library({name: tracker[name] for name in exports}, tracker)
