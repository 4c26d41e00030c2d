"""Where the fields of Python's and NumPy's objects lie in memory.

Offsets are read from the running interpreter where it tells them (the slots of a tensor) and
assumed where it does not (the start of a list's items); `check` tries every one of them on real
objects. Where one does not hold, as may be in a Python of the future, native code does not touch
objects at all, and compiled functions are entered through Python: slower, the same otherwise.
"""

from __future__ import annotations

import ctypes
import functools
import struct
import sys
from typing import Any

import numpy as np

from kuai.core.base import TensorBase

REFERENCES, TYPE = 0, 8  # of every object
PAYLOAD_SLOTS = ("_payload", "_requires_grad", "_grad", "_node", "_counter", "_view", "_hooks")
FLOAT_VALUE = 16
CELL_CONTENTS = 16
SIZE = 16  # of a tuple or a list
TUPLE_ITEMS = 24
LIST_ITEMS = 24  # a pointer to them
DICT_VERSION = 24
TYPE_VERSION = 384  # 32 bits
FUNCTION = {"__code__": 48, "__defaults__": 56, "__kwdefaults__": 64}
ARRAY = {"data": 16, "nd": 24, "dimensions": 32, "strides": 40, "base": 48, "descr": 56}
EQUAL = 2  # how Python's functions call that comparison
NEW_FROM_DESCR = 94  # in NumPy's table of functions


def word(address: int) -> int:
    """The 64-bit word in memory."""
    return ctypes.c_uint64.from_address(address).value


def slot_offset(cls: type, name: str) -> int:
    """Where the slot lies in an object of the class, as its descriptor says."""
    descriptor = cls.__dict__[name]
    member = word(id(descriptor) + 40)  # PyMemberDescrObject.d_member
    return ctypes.c_ssize_t.from_address(member + 16).value  # PyMemberDef.offset


@functools.cache
def tensor_slots() -> dict[str, int]:
    """The offset of each field of a tensor."""
    return {name: slot_offset(TensorBase, name) for name in PAYLOAD_SLOTS}


@functools.cache
def node_slots() -> dict[str, int]:
    """The offset of each field of a node that native code makes."""
    from kuai.compiler.run.backward import CompiledNode

    return {name: slot_offset(CompiledNode, name) for name in CompiledNode.__slots__}


@functools.cache
def stack_slots() -> dict[str, int]:
    """The offset of each field of the memory of a loop's stack."""
    from kuai.compiler.native.stacks import StackMemory

    return {name: slot_offset(StackMemory, name) for name in StackMemory.__slots__}


@functools.cache
def edge_slots() -> dict[str, int]:
    """The offset of each field of an output of a node that has several."""
    from kuai.core.tape import OutputEdge

    return {n: slot_offset(OutputEdge, n) for n in OutputEdge.__slots__ if n != "__weakref__"}


@functools.cache
def view_generation() -> int:
    """The offset of `generation` in a `View`."""
    from kuai.core.base import View

    return slot_offset(View, "generation")


def numpy_function(index: int) -> int:
    """The address of an entry of NumPy's table of C functions."""
    from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return word(get(_multiarray_umath._ARRAY_API, None) + 8 * index)


@functools.cache
def dict_versions() -> bool:
    """Whether a dictionary carries a number that changes with every change of it.

    From 3.13 on, some ways of setting an attribute of an object leave that of its dictionary.
    """
    if sys.version_info >= (3, 13):
        return False
    probe: dict[str, Any] = {"a": 1}
    versions = [word(id(probe) + DICT_VERSION)]
    for key, value in (("a", 2.5), ("b", 1), ("a", None)):
        probe.get("a")
        unchanged = word(id(probe) + DICT_VERSION) == versions[-1]
        probe[key] = value
        versions.append(word(id(probe) + DICT_VERSION))
        if not unchanged:
            return False
    return len(set(versions)) == len(versions)


def type_version(cls: type, name: str) -> int:
    """A number that changes with every change of a class and its bases; 0 where it has none."""
    getattr(cls, name, None)  # the first look after a change gives it a new one
    return ctypes.c_uint32.from_address(id(cls) + TYPE_VERSION).value


@functools.cache
def types_hold() -> bool:
    """Whether the version of a class lies where it is expected."""
    base = type("Base", (), {"x": 1})
    derived = type("Derived", (base,), {})
    versions = [type_version(derived, "x"), type_version(derived, "x")]
    for cls in (derived, base):
        cls.x = len(versions)  # type: ignore[attr-defined]
        versions.append(type_version(derived, "x"))
    return versions[0] == versions[1] and 0 not in versions and len(set(versions)) == 3


@functools.cache
def functions_hold() -> bool:
    """Whether the code and the defaults of a function lie where they are expected."""

    def probe(x: int = 12345, *, y: int = 54321) -> int:
        return x + y

    fields = [probe.__code__, probe.__defaults__, probe.__kwdefaults__]
    found = [word(id(probe) + offset) for offset in FUNCTION.values()]
    return found == [id(x) for x in fields]


@functools.cache
def check() -> bool:
    """Whether everything that native code takes for granted holds in this process."""
    try:
        return sys.implementation.name == "cpython" and all(
            test()
            for test in (_objects_hold, _containers_hold, _arrays_hold, _tensors_hold, _alloc_holds)
        )
    except (AttributeError, KeyError, ImportError, TypeError, ValueError):
        return False


def _objects_hold() -> bool:
    probe, number = object(), 1234.5678
    before = sys.getrefcount(probe)
    holders = [probe, probe, probe]
    counted = ctypes.c_uint32.from_address(id(probe)).value
    double = ctypes.c_double.from_address(id(number) + FLOAT_VALUE).value
    return (
        struct.calcsize("P") == 8
        and sys.byteorder == "little"
        and counted + 1 == before + len(holders)
        and word(id(probe) + TYPE) == id(object)
        and double == number
        and getattr(sys, "_is_gil_enabled", lambda: True)()
    )


def _containers_hold() -> bool:
    a, b = object(), object()
    pair, items = (a, b), [a, b, a]
    start = word(id(items) + LIST_ITEMS)
    return (
        (word(id(pair) + SIZE), word(id(items) + SIZE)) == (2, 3)
        and word(id(pair) + TUPLE_ITEMS + 8) == id(b)
        and [word(start + 8 * i) for i in range(3)] == [id(a), id(b), id(a)]
        and word(id((lambda: a).__closure__[0]) + CELL_CONTENTS) == id(a)  # type: ignore[index]
    )


def _arrays_hold() -> bool:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)[:, ::2]
    at = {name: word(id(array) + offset) for name, offset in ARRAY.items()}
    sizes = [word(at["dimensions"] + 8 * i) for i in range(3)]
    steps = [word(at["strides"] + 8 * i) for i in range(3)]
    return (
        at["data"] == array.ctypes.data
        and at["nd"] & 0xFFFFFFFF == 3
        and tuple(sizes) == array.shape
        and tuple(steps) == array.strides
        and at["base"] == id(array.base)
        and at["descr"] == id(array.dtype)
        and word(id(array) + TYPE) == id(np.ndarray)
        and numpy_function(2) == id(np.ndarray)
    )


def _tensors_hold() -> bool:
    from kuai.core.base import View, wrap

    array = np.zeros(3, np.float32)
    tensor = wrap(array)
    view = View(tensor, None, {}, 12345)
    at = {name: word(id(tensor) + offset) for name, offset in tensor_slots().items()}
    return (
        at["_payload"] == id(array)
        and at["_requires_grad"] == id(False)
        and at["_counter"] == id(tensor._counter)
        and all(at[name] == id(None) for name in ("_grad", "_node", "_view", "_hooks"))
        and word(id(view) + view_generation()) == id(view.generation)
    )


def _alloc_holds() -> bool:
    new = ctypes.PYFUNCTYPE(
        ctypes.py_object,
        ctypes.py_object,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_void_p,
    )(numpy_function(NEW_FROM_DESCR))
    descr = np.dtype(np.float64)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(descr))
    made = new(np.ndarray, id(descr), 2, (ctypes.c_ssize_t * 2)(3, 5), None, None, 0, None)
    return type(made) is np.ndarray and made.shape == (3, 5) and made.dtype is descr
