"""A function's native entry as a Python callable, made of the machine code of `entry`."""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

import numpy as np

from kuai.compiler.native import cache, jit, objects
from kuai.compiler.native.descriptor import FUNCTION
from kuai.compiler.native.link import Library
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
    from kuai.compiler.run.backward import PlainNode
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
        "kuai_PlainNode": PlainNode,
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


@functools.cache
def library() -> Library:
    """The entry in memory."""
    loaded = jit.load(_object_file(), ("kuai_entry",), _addresses())
    _kept.append(loaded)
    # Builtins may be called until the process ends.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(loaded._memory))
    return loaded


def _object_file() -> bytes:
    """The entry's machine code; its text is written only where the disk does not have that."""
    slots = objects.tensor_slots(), objects.node_slots(), objects.view_generation()
    facts = repr((objects.dict_versions(), slots))
    key = cache.key("entry", cache.sources(), repr(host()), facts)
    found = cache.read(key)
    if found is None:
        from kuai.compiler.native.entry import entry_text

        found = jit.compiled(entry_text(objects.dict_versions()))
        cache.write(key, found)
    return found


@functools.cache
def _definition() -> _MethodDef:
    definition = _MethodDef(
        b"compiled",
        library()["kuai_entry"],
        _FASTCALL_KEYWORDS,
        b"A function compiled by kuai.compile.",
    )
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(definition))  # builtins refer to it
    return definition


def builtin(memory: FunctionMemory) -> Any:
    """A builtin function whose programs are those of `memory`."""
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    return make(ctypes.addressof(_definition()), memory, None)
