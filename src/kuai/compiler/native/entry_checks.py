"""Whether a program fits a call: modes, arguments, tensors, guards; LLVM text."""

from __future__ import annotations

from kuai.compiler.emit.builder import Module, Ref
from kuai.compiler.native import descriptor as d
from kuai.compiler.native import objects
from kuai.compiler.native.entry_code import NULL, Code, EachRecord


def define_checks(module: Module, versions: bool) -> None:
    """The functions that look; `fits` calls them all."""
    module.globals["mode_known"] = (
        "@mode_known = internal global [4 x i64] [i64 0, i64 0, i64 0, i64 0]"
    )
    module.globals["intercept_version"] = "@intercept_version = internal global i64 0"
    _mode_state(module, versions)
    _intercepted(module, versions)
    _object_of(module)
    _tensor_fits(module)
    _dict_item(module)
    _find_objects(module)
    _apart(module)
    _guards_hold(module, versions)
    _same_names(module)
    _fits(module)


# -- modes ----------------------------------------------------------------------------------------


def _mode_state(module: Module, versions: bool) -> None:
    """1 if operations are recorded in this thread, plus 2 in inference mode; -1 if unknown."""
    c = Code(module, "mode_state", "i64", "")
    f = c.f
    known = Ref("@mode_known", "ptr")  # thread, its dictionary, that one's version, the state
    thread = c.call("PyThreadState_GetID", c.call("PyThreadState_Get"))
    if versions:
        with f.when(c.same(thread, c.word(known, 0, "i64"))):
            version = c.read(c.word(known, 1), objects.DICT_VERSION, "i64")
            with f.when(c.same(version, c.word(known, 2, "i64"))):
                c.ret(c.word(known, 3, "i64"))
    state = f.variable(c.number(0))
    for name, bit in (("kuai_name_grad", 1), ("kuai_name_inference", 2)):
        value = c.call("PyObject_GetAttr", c.outer("kuai_mode"), c.outer(name))
        with f.when(c.is_null(value)):
            c.call("PyErr_Clear")
            c.ret(-1)
        with f.when(c.same(value, c.outer("_Py_TrueStruct"))):
            state.set(f.add(state.get(), c.number(bit)))
        c.call("Py_DecRef", value)
    if versions:
        fields = c.call("PyObject_GetAttr", c.outer("kuai_mode"), c.outer("kuai_name_dict"))
        with f.when(c.is_null(fields)):
            c.call("PyErr_Clear")
            c.ret(-1)
        before = c.word(known, 1)
        c.set_word(thread, known, 0)
        c.set_word(fields, known, 1)
        c.set_word(c.read(fields, objects.DICT_VERSION, "i64"), known, 2)
        c.set_word(state.get(), known, 3)
        c.call("Py_DecRef", before)
    c.ret(state.get())


def _intercepted(module: Module, versions: bool) -> None:
    """Whether applications of primitives are being handed to somebody."""
    c = Code(module, "intercepted", "i1", "")
    f = c.f
    fields, known = c.outer("kuai_primitives"), Ref("@intercept_version", "ptr")
    version = c.read(fields, objects.DICT_VERSION, "i64")
    if versions:
        c.give_up_if(c.same(version, f.load("i64", known)))
    value = c.call("PyDict_GetItemWithError", fields, c.outer("kuai_name_intercept"))
    c.need(c.same(value, c.outer("_Py_NoneStruct")), 1)
    f.store(version, known)
    c.ret(0)


# -- does a program fit ---------------------------------------------------------------------------


def _object_of(module: Module) -> None:
    """The tensor of a record; null where it has to be the `grad` of one that has none."""
    c = Code(module, "object_of", "ptr", "ptr spec, ptr objects")
    f = c.f
    spec, found = c.arguments
    x = f.variable(f.load("ptr", spec))  # `object`, `place`, `grad` come first in each such record
    with f.when(c.is_null(x.get())):
        x.set(c.word(found, c.word(spec, 1, "i64")))
    with f.when(c.some(c.word(spec, 2, "i64"))):
        x.set(c.read(x.get(), objects.tensor_slots()["_grad"]))
        with f.when(c.differ(c.read(x.get(), objects.TYPE), c.outer("kuai_Tensor"))):
            c.ret(NULL)
    c.ret(x.get())


def _tensor_fits(module: Module) -> None:
    """Whether an object is a tensor such as the program was made for."""
    c = Code(module, "tensor_fits", "i1", "ptr spec, ptr object")
    f = c.f
    spec, x = c.arguments
    slots = objects.tensor_slots()
    payload = c.read(x, slots["_payload"])
    flag = c.read(x, slots["_requires_grad"])
    wanted_flag = c.get(spec, d.TENSOR, "requires_grad")
    c.need(f.binary("or", c.is_null(wanted_flag), c.same(flag, wanted_flag)))
    for name, slot in (("hooks", "_hooks"), ("no_grad", "_grad"), ("no_node", "_node")):
        wanted = c.get(spec, d.TENSOR, name)
        c.need(f.binary("or", c.is_null(wanted), c.same(c.read(x, slots[slot]), wanted)))
    recorded = c.get(spec, d.TENSOR, "payload")
    view = c.read(x, slots["_view"])
    with f.when(c.differ(view, c.outer("_Py_NoneStruct"))):
        # A view whose memory has a newer generation is not what it was: that is for Python.
        counter = c.read(x, slots["_counter"])
        generation = c.word(c.read(counter, objects.LIST_ITEMS), 1)
        c.need(c.same(generation, c.read(view, objects.view_generation())))
    with f.when(c.some(recorded)):
        c.ret(c.same(payload, recorded))
    c.need(c.same(c.read(payload, objects.TYPE), c.outer("kuai_ndarray")))
    nd = c.get(spec, d.TENSOR, "nd", "i64")
    c.give_up_if(f.compare("slt", nd, c.number(0)), 1)
    c.need(c.same(c.read(payload, objects.ARRAY["descr"]), c.get(spec, d.TENSOR, "descr")))
    rank = f.cast("sext", c.read(payload, objects.ARRAY["nd"], "i32"), "i64")
    c.need(c.same(rank, nd))
    data = f.cast("ptrtoint", c.read(payload, objects.ARRAY["data"]), "i64")
    off = f.binary("and", data, c.get(spec, d.TENSOR, "alignment", "i64"))
    c.give_up_if(c.some(off))
    sizes, strides = (c.read(payload, objects.ARRAY[n]) for n in ("dimensions", "strides"))
    wanted_sizes, wanted_strides = (c.get(spec, d.TENSOR, n) for n in ("sizes", "strides"))
    with f.loop(0, nd) as i:
        size = c.word(sizes, i, "i64")
        c.need(c.same(size, c.word(wanted_sizes, i, "i64")))
        with f.when(f.compare("sgt", size, c.number(1))):  # others' strides mean nothing
            c.need(c.same(c.word(strides, i, "i64"), c.word(wanted_strides, i, "i64")))
    c.ret(1)


def _dict_item(module: Module) -> None:
    """The value of the item at a position of a dictionary, which must have this key; or null."""
    c = Code(module, "dict_item", "ptr", "ptr items, i64 position, i64 key")
    f = c.f
    items, position, wanted = c.arguments
    at, key, value = (f.alloca(type) for type in ("i64", "ptr", "ptr"))
    f.store(c.number(0), at)
    f.store(NULL, key)
    with f.loop(0, f.add(position, c.number(1))):
        c.call("PyDict_Next", items, at, key, value)
    found = f.load("ptr", key)
    wanted = f.cast("inttoptr", wanted, "ptr")
    with f.when(c.is_null(found)):
        f.ret(NULL)
    with f.when(c.differ(found, wanted)):
        equal = c.call("PyObject_RichCompareBool", found, wanted, c.number(objects.EQUAL, "i32"))
        with f.when(c.differ(equal, c.number(1, "i32"))):
            c.call("PyErr_Clear")
            f.ret(NULL)
    f.ret(f.load("ptr", value))


def _find_objects(module: Module) -> None:
    """Take the arguments apart: every object among and inside them, if they nest as expected."""
    c = Code(module, "find_objects", "i1", "ptr program, ptr arguments, ptr objects")
    f = c.f
    program, arguments, found = c.arguments
    with c.each(program, d.PROGRAM, "objects", "object_specs", d.OBJECT) as (spec, i):
        kind = c.get(spec, d.OBJECT, "kind", "i64")
        parent = c.get(spec, d.OBJECT, "parent", "i64")
        item = c.get(spec, d.OBJECT, "item", "i64")
        x = f.variable(NULL)
        outer = f.variable(NULL)
        with f.when(c.same(kind, c.number(d.ARGUMENT))):
            x.set(c.word(arguments, item))
        with f.when(f.compare("sgt", kind, c.number(d.ARGUMENT))):
            outer.set(c.word(found, parent))
        with f.when(c.same(kind, c.number(d.TUPLE_ITEM))):
            x.set(c.word(f.at(outer.get(), objects.TUPLE_ITEMS, "i8"), item))
        with f.when(c.same(kind, c.number(d.LIST_ITEM))):
            x.set(c.word(c.read(outer.get(), objects.LIST_ITEMS), item))
        with f.when(c.same(kind, c.number(d.DICT_VALUE))):
            key = f.cast("inttoptr", item, "ptr")
            x.set(c.call("PyDict_GetItemWithError", outer.get(), key))
            with f.when(c.is_null(x.get())):
                c.call("PyErr_Clear")
                c.ret(0)
        with f.when(c.same(kind, c.number(d.DICT_ITEM))):
            position = c.get(spec, d.OBJECT, "position", "i64")
            x.set(f.call("dict_item", "ptr", outer.get(), position, item))
            c.give_up_if(c.is_null(x.get()))
        with f.when(c.same(kind, c.number(d.FIXED))):
            x.set(f.cast("inttoptr", item, "ptr"))
        same = c.get(spec, d.OBJECT, "same")

        def this_one() -> None:
            c.need(c.same(x.get(), same))

        def such_a_one() -> None:
            own, wanted = c.read(x.get(), objects.TYPE), c.get(spec, d.OBJECT, "type")
            with f.when(c.differ(own, wanted)):
                c.need(c.same(wanted, c.outer("kuai_Tensor")))
                c.need(c.same(own, c.outer("kuai_Parameter")))
            size = c.get(spec, d.OBJECT, "size", "i64")
            with f.when(c.some(size)):
                at = c.read(x.get(), objects.SIZE, "i64")
                c.need(c.same(f.add(at, c.number(1)), size))

        c.either(c.some(same), this_one, such_a_one)
        c.set_word(x.get(), found, i)
    c.ret(1)


def _apart(module: Module) -> None:
    """Whether no tensor that the program changes shares memory with another that it uses."""
    c = Code(module, "apart", "i1", "ptr program, ptr objects")
    f = c.f
    program, found = c.arguments
    payload = objects.tensor_slots()["_payload"]

    def extent(spec: Ref) -> tuple[Ref, Ref]:
        array = c.read(f.call("object_of", "ptr", spec, found), payload)
        data = f.cast("ptrtoint", c.read(array, objects.ARRAY["data"]), "i64")
        low, high = (c.get(spec, d.TENSOR, n, "i64") for n in ("low", "high"))
        return f.add(data, low), f.add(data, high)

    def tensors() -> EachRecord:
        return c.each(program, d.PROGRAM, "tensors", "tensor_specs", d.TENSOR)

    with tensors() as (one, i), f.when(c.some(c.get(one, d.TENSOR, "written", "i64"))):
        low, high = extent(one)
        with tensors() as (other, j), f.when(c.differ(i, j)):
            other_low, other_high = extent(other)
            before = f.compare("ule", high, other_low)
            after = f.compare("ule", other_high, low)
            c.need(f.binary("or", before, after))
    c.ret(1)


def _guards_hold(module: Module, versions: bool) -> None:
    """Whether what was read while capturing is still so."""
    c = Code(module, "guards_hold", "i1", "ptr program")
    f = c.f
    (program,) = c.arguments
    with c.each(program, d.PROGRAM, "guards", "guard_specs", d.GUARD) as (spec, _):
        kind = c.get(spec, d.GUARD, "kind", "i64")
        container = c.get(spec, d.GUARD, "container")
        key = c.get(spec, d.GUARD, "key")
        expected = c.get(spec, d.GUARD, "expected")
        with f.when(c.same(kind, c.number(d.WORD))):
            c.need(c.same(f.load("ptr", container), expected))
        with f.when(c.same(kind, c.number(d.HALF_WORD))):
            half = f.cast("trunc", f.cast("ptrtoint", expected, "i64"), "i32")
            c.need(c.same(f.load("i32", container), half))
        with f.when(c.same(kind, c.number(d.VERSION))):
            version = c.read(container, objects.DICT_VERSION, "i64")
            c.need(c.same(version, c.get(spec, d.GUARD, "version", "i64")))
        with f.when(c.same(kind, c.number(d.OTHER_WORD))):
            c.need(c.differ(f.load("ptr", container), expected))
        with f.when(c.same(kind, c.number(d.ITEM))):
            place = f.cast("ptrtoint", key, "i64")
            c.need(f.compare("slt", place, c.read(container, objects.SIZE, "i64")))
            c.need(c.same(c.word(c.read(container, objects.LIST_ITEMS), place), expected))
        with f.when(c.same(kind, c.number(d.DICTIONARY))):
            version = c.read(container, objects.DICT_VERSION, "i64")
            changed = Ref("true", "i1")
            if versions:
                changed = c.differ(version, c.get(spec, d.GUARD, "version", "i64"))
            with f.when(changed):
                pairs = f.cast("ptrtoint", expected, "i64")  # how many
                with f.loop(0, pairs) as i:
                    at = f.at(key, f.mul(i, c.number(2)), "i64")
                    now = c.call("PyDict_GetItemWithError", container, c.word(at, 0))
                    c.need(c.same(now, c.word(at, 1)))
                if versions:
                    c.put(spec, d.GUARD, "version", version)
    c.ret(1)


def _same_names(module: Module) -> None:
    """Whether two tuples have the same names; null stands for an empty one."""
    c = Code(module, "same_names", "i1", "ptr names, ptr wanted")
    f = c.f
    names, wanted = c.arguments
    c.give_up_if(c.same(names, wanted), 1)
    c.give_up_if(f.binary("or", c.is_null(names), c.is_null(wanted)))
    size = c.read(names, objects.SIZE, "i64")
    c.need(c.same(size, c.read(wanted, objects.SIZE, "i64")))
    mine, theirs = f.at(names, objects.TUPLE_ITEMS, "i8"), f.at(wanted, objects.TUPLE_ITEMS, "i8")
    with f.loop(0, size) as i:
        c.need(c.same(c.word(mine, i), c.word(theirs, i)))
    c.ret(1)


def _fits(module: Module) -> None:
    """Whether a program may run on these arguments now; fills in the objects among them."""
    given = "ptr program, ptr arguments, i64 count, ptr names, i64 mode, ptr objects"
    c = Code(module, "fits", "i1", given)
    f = c.f
    program, arguments, count, names, mode, found = c.arguments
    c.need(c.same(count, c.get(program, d.PROGRAM, "arguments", "i64")))
    c.need(f.call("same_names", "i1", names, c.get(program, d.PROGRAM, "keywords")))
    c.need(c.same(mode, c.get(program, d.PROGRAM, "mode", "i64")))
    epoch, known = f.load("i64", c.outer("kuai_epoch")), c.get(program, d.PROGRAM, "epoch", "i64")
    c.need(f.binary("or", c.same(epoch, known), c.same(known, c.number(-1))))
    c.need(f.call("find_objects", "i1", program, arguments, found))
    changes = f.variable(c.number(0))
    with c.each(program, d.PROGRAM, "tensors", "tensor_specs", d.TENSOR) as (spec, _):
        x = f.call("object_of", "ptr", spec, found)
        c.need(c.some(x))
        c.need(f.call("tensor_fits", "i1", spec, x))
        written = c.get(spec, d.TENSOR, "written", "i64")
        fixed = c.some(c.get(spec, d.TENSOR, "payload"))
        with f.when(f.binary("xor", fixed, Ref("true", "i1"))):
            changes.set(f.binary("or", changes.get(), written))
    c.need(f.call("guards_hold", "i1", program))
    with f.when(c.some(changes.get())):
        c.need(f.call("apart", "i1", program, found))
    c.ret(1)
