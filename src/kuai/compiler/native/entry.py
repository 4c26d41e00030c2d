"""The way from a Python call into a program, in native code: LLVM text.

`kuai_entry` is a builtin function for Python (`METH_FASTCALL | METH_KEYWORDS`). Its `self` holds
the chain of a function's programs (`kuai.compiler.native.descriptor`). For the first program that
fits the arguments, the modes and everything that was read while capturing, it makes the results,
runs the program and returns. Where none fits, or anything is out of the ordinary, it calls the
function's slow way in Python with the same arguments, which knows what to do.
"""

from __future__ import annotations

from kuai.compiler.emit.builder import Module, Ref
from kuai.compiler.native import descriptor as d
from kuai.compiler.native import objects
from kuai.compiler.native.descriptor import Layout
from kuai.compiler.native.entry_checks import define_checks
from kuai.compiler.native.entry_code import NULL, Code
from kuai.compiler.native.entry_results import define_results


def entry_text(versions: bool) -> str:
    """The entry.

    Args:
        versions: whether dictionaries tell by a number that they have not changed.
    """
    module = Module()
    define_checks(module, versions)
    define_results(module)
    _read_numbers(module)
    _run(module)
    _entry(module)
    return str(module)


def _read_numbers(module: Module) -> None:
    """Copy the values of Python numbers to where the program reads them."""
    c = Code(module, "read_numbers", "i1", "ptr program, ptr objects, ptr block")
    f = c.f
    program, found, block = c.arguments
    with c.each(program, d.PROGRAM, "numbers", "number_specs", d.NUMBER) as (spec, _):
        container = c.get(spec, d.NUMBER, "container")
        x = f.variable(NULL)

        def argument() -> None:
            x.set(c.word(found, c.get(spec, d.NUMBER, "place", "i64")))

        def item() -> None:
            key = c.get(spec, d.NUMBER, "key")
            x.set(f.load("ptr", container))
            with f.when(c.some(key)):
                x.set(c.call("PyDict_GetItemWithError", container, key))

        c.either(c.is_null(container), argument, item)
        with f.when(c.is_null(x.get())):
            c.call("PyErr_Clear")
            c.ret(0)
        size = c.get(spec, d.NUMBER, "size", "i64")
        with f.when(c.some(size)):
            c.need(c.same(c.read(x.get(), objects.TYPE), c.outer("PyTuple_Type")))
            c.need(c.same(c.read(x.get(), objects.SIZE, "i64"), size))
            items = f.at(x.get(), objects.TUPLE_ITEMS, "i8")
            x.set(c.word(items, c.get(spec, d.NUMBER, "item", "i64")))
        kind = c.read(x.get(), objects.TYPE)
        c.need(c.same(kind, c.get(spec, d.NUMBER, "type")))
        to = f.at(block, c.get(spec, d.NUMBER, "offset", "i64"), "i8")
        sign = c.get(spec, d.NUMBER, "sign", "i64")
        with f.when(c.same(kind, c.outer("PyFloat_Type"))):
            number = c.read(x.get(), objects.FLOAT_VALUE, "double")
            f.store(number, to)
            with f.when(c.some(sign)):
                turned = f.mul(number, f.cast("sitofp", sign, "double"))
                c.need(f.compare("ogt", turned, Ref("0.0", "double")))
        with f.when(c.differ(kind, c.outer("PyFloat_Type"))):
            value = c.call("PyLong_AsLongLong", x.get())
            minus_one = c.same(value, c.number(-1))
            with f.when(minus_one), f.when(c.some(c.call("PyErr_Occurred"))):
                c.call("PyErr_Clear")
                c.ret(0)
            f.store(value, to)
            with f.when(c.some(sign)):
                c.need(f.compare("sgt", f.mul(value, sign), c.number(0)))
    c.ret(1)


# -- running --------------------------------------------------------------------------------------


def _run(module: Module) -> None:
    """Run a program that fits; its result, or null with Python's error set.

    `retry` is set where a number has a type that the program was not made for: nothing has
    happened then, and the slow way is to be taken.
    """
    c = Code(module, "run", "ptr", "ptr program, ptr objects, i64 mode, ptr retry")
    f = c.f
    program, found, mode, retry = c.arguments
    slots = objects.tensor_slots()

    def get(name: str, type: str = "ptr") -> Ref:
        return c.get(program, d.PROGRAM, name, type)

    # The block: the table of buffers, numbers, and the arena. The program's own, if it is free.
    raw, block = f.variable(NULL), f.variable(get("block"))
    own = c.same(get("busy", "i64"), c.number(0))

    def take_own() -> None:
        c.put(program, d.PROGRAM, "busy", c.number(1))

    def take_other() -> None:
        size = f.add(get("block_bytes", "i64"), c.number(64))
        raw.set(c.call("malloc", size))
        with f.when(c.is_null(raw.get())):
            c.ret(c.call("PyErr_NoMemory"))
        address = f.cast("ptrtoint", raw.get(), "i64")
        aligned = f.binary("and", f.add(address, c.number(63)), c.number(-64))
        block.set(f.cast("inttoptr", aligned, "ptr"))
        c.call("memcpy", block.get(), get("block"), get("head_bytes", "i64"))

    c.either(own, take_own, take_other)
    owner = get("owner")
    c.call("Py_IncRef", owner)
    result = f.variable(NULL)
    outputs, gradients = get("outputs", "i64"), get("gradients", "i64")
    holds = get("holds", "i64")
    arrays = c.nulls(outputs)
    grads = c.nulls(gradients)  # new arrays; null where the old one is written again
    held = c.nulls(holds)
    clean = f.label("clean")

    def leave_if(condition: Ref) -> None:
        go = f.label("go")
        f.branch_if(condition, clean, go)
        f.begin_after(go)

    numbers = f.call("read_numbers", "i1", program, found, block.get())
    with f.when(f.binary("xor", numbers, Ref("true", "i1"))):
        f.store(c.number(1), retry)
    leave_if(f.binary("xor", numbers, Ref("true", "i1")))

    with c.each(program, d.PROGRAM, "tensors", "tensor_specs", d.TENSOR) as (spec, i):
        x = f.call("object_of", "ptr", spec, found)
        payload = c.read(x, slots["_payload"])
        place = c.get(spec, d.TENSOR, "buffer", "i64")
        with f.when(f.compare("sge", place, c.number(0))):
            c.set_word(c.read(payload, objects.ARRAY["data"]), block.get(), place)
        with f.when(c.some(holds)):  # nobody may free it while the lock is with others
            c.call("Py_IncRef", payload)
            c.set_word(payload, held, i)

    def new_array(spec: Ref, layout: Layout) -> Ref:
        descr = c.get(spec, layout, "descr")
        c.call("Py_IncRef", descr)
        rank = f.cast("trunc", c.get(spec, layout, "nd", "i64"), "i32")
        zero = c.number(0, "i32")
        sizes = c.get(spec, layout, "sizes")
        kind = c.outer("kuai_ndarray")
        given = (kind, descr, rank, sizes, NULL, NULL, zero, NULL)
        return c.call("kuai_PyArray_NewFromDescr", *given)

    with c.each(program, d.PROGRAM, "outputs", "output_specs", d.OUTPUT) as (spec, i):
        array = new_array(spec, d.OUTPUT)
        leave_if(c.is_null(array))
        c.set_word(array, arrays, i)
        place = c.get(spec, d.OUTPUT, "buffer", "i64")
        c.set_word(c.read(array, objects.ARRAY["data"]), block.get(), place)
    gradient_specs = c.each(program, d.PROGRAM, "gradients", "gradient_specs", d.GRADIENT)
    with gradient_specs as (spec, i), f.when(c.some(c.get(spec, d.GRADIENT, "descr"))):
        x = f.call("object_of", "ptr", spec, found)
        array_of = f.variable(NULL)
        with f.when(c.same(c.get(spec, d.GRADIENT, "fresh", "i64"), c.number(0))):
            array_of.set(f.call("reusable", "ptr", spec, x))
        with f.when(c.is_null(array_of.get())):
            array = new_array(spec, d.GRADIENT)
            array_of.set(array)
            c.set_word(array, grads, i)
        leave_if(c.is_null(array_of.get()))
        place = c.get(spec, d.GRADIENT, "buffer", "i64")
        c.set_word(c.read(array_of.get(), objects.ARRAY["data"]), block.get(), place)

    with c.each(program, d.PROGRAM, "parts", "part_specs", d.PART) as (spec, _):
        base = c.word(block.get(), c.get(spec, d.PART, "base", "i64"))
        inside = f.at(base, c.get(spec, d.PART, "offset", "i64"), "i8")
        c.set_word(inside, block.get(), c.get(spec, d.PART, "buffer", "i64"))

    releases = c.some(get("releases", "i64"))
    thread = f.variable(NULL)
    with f.when(releases):
        thread.set(c.call("PyEval_SaveThread"))
    arena = f.at(block.get(), get("head_bytes", "i64"), "i8")
    code = get("program")
    status = f.op("i32", f"call i32 {code.text}(ptr {block.get().text}, ptr {arena.text})")
    with f.when(releases):
        c.call("PyEval_RestoreThread", thread.get())

    good = f.label("good")
    bad = f.label("bad")
    f.branch_if(c.same(status, c.number(0, "i32")), good, bad)

    f.begin_after(bad)
    leave_if(c.some(c.call("PyErr_Occurred")))
    code_of = c.call("PyLong_FromLongLong", f.cast("sext", status, "i64"))
    leave_if(c.is_null(code_of))
    table_of = c.call("PyLong_FromLongLong", f.cast("ptrtoint", block.get(), "i64"))
    given = f.alloca("i64", 2)
    c.set_word(code_of, given, 0)
    c.set_word(table_of, given, 1)
    with f.when(c.some(table_of)):
        result.set(c.call("PyObject_Vectorcall", get("fail"), given, c.number(2), NULL))
        c.call("Py_DecRef", table_of)
    c.call("Py_DecRef", code_of)
    f.branch(clean)

    f.begin_after(good)
    with c.each(program, d.PROGRAM, "updates", "update_specs", d.UPDATE) as (spec, _):
        f.call("touch", "void", f.call("object_of", "ptr", spec, found))
    with c.each(program, d.PROGRAM, "gradients", "gradient_specs", d.GRADIENT) as (spec, i):
        x = f.call("object_of", "ptr", spec, found)
        lacks = f.variable(c.is_null(c.get(spec, d.GRADIENT, "descr")))
        arrives = c.get(spec, d.GRADIENT, "arrives", "i64")
        with f.when(c.some(arrives)):
            flag = c.word(block.get(), f.sub(arrives, c.number(1)))
            lacks.set(c.same(f.load("i8", flag), c.number(0, "i8")))
        with f.when(lacks.get()):
            c.call("Py_DecRef", c.word(grads, i))  # null is let pass
            c.set_word(NULL, grads, i)
        array = c.word(grads, i)
        with f.when(f.binary("or", c.some(array), lacks.get())):
            grad = f.variable(c.outer("_Py_NoneStruct"))

            def tensor() -> None:
                c.set_word(NULL, grads, i)
                made = f.call("new_tensor", "ptr", array, mode)
                grad.set(made)

            def nothing() -> None:
                c.call("Py_IncRef", c.outer("_Py_NoneStruct"))

            c.either(c.some(array), tensor, nothing)
            leave_if(c.is_null(grad.get()))
            before = c.read(x, slots["_grad"])
            c.write(grad.get(), x, slots["_grad"])
            c.call("Py_DecRef", before)
    built = f.call("build", "ptr", program, block.get(), arrays, found, mode)
    result.set(built)
    finish = get("finish")
    with f.when(f.binary("and", c.some(built), c.some(finish))):
        both = f.alloca("i64", 2)
        everything = get("objects", "i64")
        tuple_of = c.call("PyTuple_New", everything)
        c.set_word(built, both, 0)
        c.set_word(tuple_of, both, 1)
        result.set(NULL)
        with f.when(c.some(tuple_of)):
            with f.loop(0, everything) as i:
                x = c.word(found, i)
                c.call("Py_IncRef", x)
                c.set_word(x, f.at(tuple_of, objects.TUPLE_ITEMS, "i8"), i)
            result.set(c.call("PyObject_Vectorcall", finish, both, c.number(2), NULL))
            c.call("Py_DecRef", tuple_of)
        c.call("Py_DecRef", built)
    f.branch(clean)

    f.begin_after(clean)
    for base, count in ((arrays, outputs), (grads, gradients), (held, holds)):
        with f.loop(0, count) as i:
            c.call("Py_DecRef", c.word(base, i))

    def give_back_own() -> None:
        c.put(program, d.PROGRAM, "busy", c.number(0))

    c.either(c.is_null(raw.get()), give_back_own, lambda: void(c.call("free", raw.get())))
    c.call("Py_DecRef", owner)
    c.ret(result.get())


def void(_: Ref) -> None:
    """Nothing: what a call without a result gives."""


def _entry(module: Module) -> None:
    c = Code(
        module,
        "kuai_entry",
        "ptr",
        "ptr self, ptr arguments, i64 count, ptr names",
        internal=False,
    )
    f = c.f
    me, arguments, count, names = c.arguments
    function = c.read(me, 16)  # where a ctypes object keeps the address of its memory
    slow, choose, look = f.label("slow"), f.label("choose"), f.label("look")
    following, out = f.label("following"), f.label("out")
    found = f.alloca("i64", d.MOST_OBJECTS)
    retry = f.alloca("i64", 1)
    program = f.variable(c.get(function, d.FUNCTION, "first"))
    state = f.variable(c.number(-1))
    result = f.variable(NULL)
    f.branch_if(c.is_null(program.get()), slow, choose)

    f.begin_after(choose)
    taken = f.call("intercepted", "i1")
    go = f.label("go")
    f.branch_if(taken, slow, go)
    f.begin_after(go)
    state.set(f.call("mode_state", "i64"))
    f.begin(look)
    given = (arguments, count, names, state.get(), found)
    fits = f.call("fits", "i1", program.get(), *given)
    run = f.label("run")
    f.branch_if(fits, run, following)

    f.begin_after(run)
    f.store(c.number(0), retry)
    result.set(f.call("run", "ptr", program.get(), found, state.get(), retry))
    f.branch_if(c.some(f.load("i64", retry)), following, out)

    f.begin_after(following)
    program.set(c.get(program.get(), d.PROGRAM, "next"))
    f.branch_if(c.is_null(program.get()), slow, look)

    f.begin_after(out)
    c.ret(result.get())

    f.begin_after(slow)
    way = c.get(function, d.FUNCTION, "slow")
    c.ret(c.call("PyObject_Vectorcall", way, arguments, count, names))
