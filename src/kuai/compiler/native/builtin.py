"""A function's native entry as a Python callable, made of the machine code of `entry`."""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
from typing import Any

import numpy as np

from kuai.compiler.native import cache, jit, objects
from kuai.compiler.native.descriptor import FUNCTION
from kuai.compiler.native.target import host

_FASTCALL_KEYWORDS = 0x0080 | 0x0002


class _MethodDef(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


class FunctionMemory(ctypes.c_uint64 * len(FUNCTION)):  # type: ignore[misc]
    """What the builtin of a compiled function has for `self`: the head of its chain of programs.

    Attributes:
        slow: what is called when no program fits; kept alive here.
    """

    slow: Any

    def set_slow(self, slow: Any) -> None:
        """Call this when no program fits."""
        self.slow = slow
        self[FUNCTION.index["slow"]] = id(slow)

    def set_first(self, address: int) -> None:
        """The first program of the chain; 0 for none."""
        self[FUNCTION.index["first"]] = address


def available() -> bool:
    """Whether calls may be answered in native code in this process."""
    return objects.check() and _memory_is_found()


@functools.cache
def _memory_is_found() -> bool:
    probe = FunctionMemory()
    return objects.word(id(probe) + 16) == ctypes.addressof(probe)


def _addresses() -> dict[str, int]:
    """What the entry refers to, by name."""
    from kuai.compiler.native.stacks import StackMemory
    from kuai.compiler.run.backward import CompiledNode
    from kuai.core import base, primitive, tape
    from kuai.nn.parameter import Parameter
    from kuai.nn.registry import epoch

    ours: dict[str, Any] = {
        "kuai_Tensor": base.tensor_class,
        "kuai_Parameter": Parameter,
        "kuai_ndarray": np.ndarray,
        "kuai_mode": tape.mode,
        "kuai_primitives": primitive.__dict__,
        "kuai_new_counter": base.new_counter,
        "kuai_CompiledNode": CompiledNode,
        "kuai_OutputEdge": tape.OutputEdge,
        "kuai_StackMemory": StackMemory,
        "kuai_sequence": tape._sequence,
        "kuai_name_grad": sys.intern("grad"),
        "kuai_name_inference": sys.intern("inference"),
        "kuai_name_dict": sys.intern("__dict__"),
        "kuai_name_intercept": sys.intern("intercept"),
    }
    _kept.append(ours)
    found = {name: id(x) for name, x in ours.items()}
    found["kuai_epoch"] = epoch.buffer_info()[0]
    found["kuai_PyArray_NewFromDescr"] = objects.numpy_function(objects.NEW_FROM_DESCR)
    return found


_kept: list[Any] = []  # what native code holds addresses of


def _loaded(object_file: bytes) -> int:
    """The address of the entry, put into memory."""
    library = jit.load(object_file, ("kuai_entry",), _addresses())
    _kept.append(library)
    # Builtins may be called until the process ends.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(library._memory))
    return library["kuai_entry"]


class _Entry:
    """The entry's machine code, which all builtins share.

    Where the disk does not have it, the first calls are answered by code that is made in a tenth
    of the time, until good code is there.
    """

    def __init__(self) -> None:
        made = objects.node_slots(), objects.edge_slots(), objects.stack_slots()
        slots = objects.tensor_slots(), made, objects.view_generation()
        facts = repr((objects.dict_versions(), slots))
        self._key = cache.key("entry", cache.sources(), repr(host()), facts)
        self._text = ""
        found = cache.read(self._key)
        if found is None:
            from kuai.compiler.native.entry import entry_text

            self._text = entry_text(objects.dict_versions())
            found = jit.assemble(self._text, optimise=False, level=jit.HASTY)
        name, doc = b"compiled", b"A function compiled by kuai.compile."
        self.definition = _MethodDef(name, _loaded(found), _FASTCALL_KEYWORDS, doc)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.definition))  # builtins refer to it

    def improve(self) -> None:
        """Let a thread make good code, if there is none yet."""
        text, self._text = self._text, ""
        if text:
            threading.Thread(target=self._replace, args=(text,), name="kuai-entry").start()

    def _replace(self, text: str) -> None:
        found = jit.assemble(text)
        cache.write(self._key, found)
        self.definition.function = _loaded(found)


@functools.cache
def _entry() -> _Entry:
    return _Entry()


def improve() -> None:
    """The first program is made: now there is time for a better entry."""
    _entry().improve()


def builtin(memory: FunctionMemory) -> Any:
    """A builtin function whose programs are those of `memory`."""
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    return make(ctypes.addressof(_entry().definition), memory, None)
