"""Short forms for writing the native entry, and what it knows of the world outside."""

from __future__ import annotations

from collections.abc import Callable

from kuai.compiler.emit.builder import Function, Module, Ref
from kuai.compiler.native.descriptor import Layout

NULL = Ref("null", "ptr")

FUNCTIONS = {
    "Py_IncRef": ("void", "ptr"),
    "Py_DecRef": ("void", "ptr"),
    "PyObject_Vectorcall": ("ptr", "ptr ptr i64 ptr"),
    "PyObject_CallNoArgs": ("ptr", "ptr"),
    "PyObject_GetAttr": ("ptr", "ptr ptr"),
    "PyObject_GetItem": ("ptr", "ptr ptr"),
    "PyDict_GetItemWithError": ("ptr", "ptr ptr"),
    "PyDict_Next": ("i32", "ptr ptr ptr ptr"),
    "PyObject_RichCompareBool": ("i32", "ptr ptr i32"),
    "PyDict_New": ("ptr", ""),
    "PyDict_SetItem": ("i32", "ptr ptr ptr"),
    "PyErr_Clear": ("void", ""),
    "PyErr_Occurred": ("ptr", ""),
    "PyErr_NoMemory": ("ptr", ""),
    "PyEval_SaveThread": ("ptr", ""),
    "PyEval_RestoreThread": ("void", "ptr"),
    "PyThreadState_Get": ("ptr", ""),
    "PyThreadState_GetID": ("i64", "ptr"),
    "PyType_GenericAlloc": ("ptr", "ptr i64"),
    "PyList_New": ("ptr", "i64"),
    "PyTuple_New": ("ptr", "i64"),
    "PyFloat_FromDouble": ("ptr", "double"),
    "PyLong_FromLongLong": ("ptr", "i64"),
    "PyLong_AsLongLong": ("i64", "ptr"),
    "kuai_PyArray_NewFromDescr": ("ptr", "ptr ptr i32 ptr ptr ptr i32 ptr"),
    "malloc": ("ptr", "i64"),
    "free": ("void", "ptr"),
    "memcpy": ("ptr", "ptr ptr i64"),
}


class Code:
    """A function of the entry under construction, with short forms for what all of them do."""

    def __init__(
        self, module: Module, name: str, result: str, arguments: str, internal: bool = True
    ):
        pairs = [tuple(a.split()) for a in arguments.split(", ")] if arguments else []
        self.f: Function = module.function(
            name,
            result,
            [(type, n) for type, n in pairs],
            internal=internal,
            attributes="nounwind",
        )
        self.arguments = self.f.arguments

    # -- memory -----------------------------------------------------------------------------

    def get(self, base: Ref, layout: Layout, name: str, type: str = "ptr") -> Ref:
        """A field of a record."""
        return self.f.load(type, self.f.at(base, layout.index[name], "i64"))

    def put(self, base: Ref, layout: Layout, name: str, value: Ref) -> None:
        """Set a field of a record."""
        self.f.store(value, self.f.at(base, layout.index[name], "i64"))

    def read(self, base: Ref, offset: int, type: str = "ptr") -> Ref:
        """What lies some bytes behind an address."""
        return self.f.load(type, self.f.at(base, offset, "i8"))

    def write(self, value: Ref, base: Ref, offset: int) -> None:
        """Put a value some bytes behind an address."""
        self.f.store(value, self.f.at(base, offset, "i8"))

    def word(self, base: Ref, index: Ref | int, type: str = "ptr") -> Ref:
        """A word of an array."""
        return self.f.load(type, self.f.at(base, index, "i64"))

    def set_word(self, value: Ref, base: Ref, index: Ref | int) -> None:
        """Set a word of an array."""
        self.f.store(value, self.f.at(base, index, "i64"))

    # -- values and control -----------------------------------------------------------------

    def outer(self, name: str) -> Ref:
        """The address of an object or a variable outside."""
        self.f.module.globals.setdefault(name, f"@{name} = external global i8")
        return Ref(f"@{name}", "ptr")

    def call(self, name: str, *arguments: Ref) -> Ref:
        """Call a function of Python, of NumPy or of the C library."""
        result, types = FUNCTIONS[name]
        self.f.module.declare(name, result, types.split())
        return self.f.call(name, result, *arguments)

    def number(self, value: int, type: str = "i64") -> Ref:
        """An integer."""
        return Ref(str(value), type)

    def same(self, x: Ref, y: Ref) -> Ref:
        """Whether two words are equal."""
        return self.f.compare("eq", x, y)

    def differ(self, x: Ref, y: Ref) -> Ref:
        """Whether two words are not equal."""
        return self.f.compare("ne", x, y)

    def is_null(self, x: Ref) -> Ref:
        """Whether a pointer is null."""
        return self.same(x, NULL)

    def some(self, x: Ref) -> Ref:
        """Whether a word is not zero."""
        return self.differ(x, NULL if x.type == "ptr" else self.number(0, x.type))

    def ret(self, value: int | Ref) -> None:
        """Return from the function."""
        self.f.ret(value if isinstance(value, Ref) else self.number(value, self.f.result))

    def give_up_if(self, condition: Ref, value: int | Ref = 0) -> None:
        """Return at once where the condition holds."""
        stop, go = self.f.label("stop"), self.f.label("go")
        self.f.branch_if(condition, stop, go)
        self.f.begin_after(stop)
        self.ret(value)
        self.f.begin_after(go)

    def need(self, condition: Ref, value: int | Ref = 0) -> None:
        """Return at once where the condition does not hold."""
        stop, go = self.f.label("stop"), self.f.label("go")
        self.f.branch_if(condition, go, stop)
        self.f.begin_after(stop)
        self.ret(value)
        self.f.begin_after(go)

    def room(self, count: Ref) -> Ref:
        """Room for so many words on the stack."""
        return self.f.op("ptr", f"alloca i64, {count}, align 8")

    def nulls(self, count: Ref) -> Ref:
        """Room for so many pointers on the stack, all null."""
        base = self.room(count)
        with self.f.loop(0, count) as i:
            self.set_word(NULL, base, i)
        return base

    def each(self, base: Ref, layout: Layout, count: str, specs: str, size: Layout) -> EachRecord:
        """For each of the records that a field counts and another points to."""
        return EachRecord(self, base, layout, count, specs, size)

    def either(
        self, condition: Ref, then: Callable[[], None], otherwise: Callable[[], None]
    ) -> None:
        """Build two ways."""
        yes, no, end = self.f.label("yes"), self.f.label("no"), self.f.label("end")
        self.f.branch_if(condition, yes, no)
        self.f.begin_after(yes)
        then()
        self.f.branch(end)
        self.f.begin_after(no)
        otherwise()
        self.f.begin(end)


class EachRecord:
    """A loop over records; gives the address and the number of each."""

    def __init__(
        self, code: Code, base: Ref, layout: Layout, count: str, specs: str, size: Layout
    ) -> None:
        self.code = code
        self.size = len(size)
        self.start = code.get(base, layout, specs)
        self.loop = code.f.loop(0, code.get(base, layout, count, "i64"))

    def __enter__(self) -> tuple[Ref, Ref]:
        index = self.loop.__enter__()
        f = self.code.f
        place = f.mul(index, self.code.number(self.size))
        return f.at(self.start, place, "i64"), index

    def __exit__(self, *exc: object) -> None:
        self.loop.__exit__(None, None, None)
