"""The objects that a call makes or changes: tensors, gradients, versions, the result; LLVM text."""

from __future__ import annotations

from kuai.compiler.emit.builder import Module
from kuai.compiler.native import descriptor as d
from kuai.compiler.native import objects
from kuai.compiler.native.entry_code import NULL, Code


def define_results(module: Module) -> None:
    """The functions that make and change objects."""
    _new_tensor(module)
    _reusable(module)
    _touch(module)
    _compute(module)
    _new_stack(module)
    _new_edge(module)
    _push(module)
    _new_node(module)
    _build(module)


# -- making and changing objects ------------------------------------------------------------------


def _new_tensor(module: Module) -> None:
    """A tensor on an array, whose reference it takes over, as `kuai.core.base.wrap` makes it."""
    c = Code(module, "new_tensor", "ptr", "ptr array, i64 mode")
    f = c.f
    array, mode = c.arguments
    slots = objects.tensor_slots()
    x = c.call("PyType_GenericAlloc", c.outer("kuai_Tensor"), c.number(0))
    counter = f.variable(NULL)

    def in_inference() -> None:
        counter.set(c.call("PyObject_CallNoArgs", c.outer("kuai_new_counter")))

    def ordinary() -> None:
        zeros = c.call("PyList_New", c.number(2))
        counter.set(zeros)
        with f.when(c.some(zeros)):
            items = c.read(zeros, objects.LIST_ITEMS)
            for i in range(2):
                c.set_word(c.call("PyLong_FromLongLong", c.number(0)), items, i)

    c.either(f.compare("sgt", mode, c.number(1)), in_inference, ordinary)
    with f.when(f.binary("or", c.is_null(x), c.is_null(counter.get()))):
        for owned in (x, counter.get(), array):
            c.call("Py_DecRef", owned)  # null is let pass
        c.ret(NULL)
    none, false = c.outer("_Py_NoneStruct"), c.outer("_Py_FalseStruct")
    for name in ("_grad", "_node", "_view", "_hooks"):
        c.call("Py_IncRef", none)
        c.write(none, x, slots[name])
    c.call("Py_IncRef", false)
    c.write(false, x, slots["_requires_grad"])
    c.write(counter.get(), x, slots["_counter"])
    c.write(array, x, slots["_payload"])
    c.ret(x)


def _reusable(module: Module) -> None:
    """The array of a tensor's `grad`, if it has the right form and nobody else can see it."""
    c = Code(module, "reusable", "ptr", "ptr spec, ptr owner")
    f = c.f
    spec, owner = c.arguments
    slots = objects.tensor_slots()
    grad = c.read(owner, slots["_grad"])
    c.need(c.same(c.read(grad, objects.TYPE), c.outer("kuai_Tensor")), NULL)
    c.need(c.same(c.read(grad, objects.REFERENCES, "i32"), c.number(1, "i32")), NULL)
    array = c.read(grad, slots["_payload"])
    c.need(c.same(c.read(array, objects.TYPE), c.outer("kuai_ndarray")), NULL)
    c.need(c.same(c.read(array, objects.REFERENCES, "i32"), c.number(1, "i32")), NULL)
    for name in ("_node", "_view", "_hooks"):
        c.need(c.same(c.read(grad, slots[name]), c.outer("_Py_NoneStruct")), NULL)
    flag = c.read(grad, slots["_requires_grad"])
    c.need(c.same(flag, c.outer("_Py_FalseStruct")), NULL)
    # Two tensors on one memory share their counter.
    counter = c.read(grad, slots["_counter"])
    c.need(c.same(c.read(counter, objects.REFERENCES, "i32"), c.number(1, "i32")), NULL)
    c.need(c.is_null(c.read(array, objects.ARRAY["base"])), NULL)
    c.need(c.same(c.read(array, objects.ARRAY["descr"]), c.get(spec, d.GRADIENT, "descr")), NULL)
    nd = c.get(spec, d.GRADIENT, "nd", "i64")
    rank = f.cast("sext", c.read(array, objects.ARRAY["nd"], "i32"), "i64")
    c.need(c.same(rank, nd), NULL)
    for have, wanted in (("dimensions", "sizes"), ("strides", "strides")):
        mine, theirs = c.read(array, objects.ARRAY[have]), c.get(spec, d.GRADIENT, wanted)
        with f.loop(0, nd) as i:
            c.need(c.same(c.word(mine, i, "i64"), c.word(theirs, i, "i64")), NULL)
    c.ret(array)


def _touch(module: Module) -> None:
    """Count a change of a tensor's memory."""
    c = Code(module, "touch", "void", "ptr object")
    (x,) = c.arguments
    items = c.read(c.read(x, objects.tensor_slots()["_counter"]), objects.LIST_ITEMS)
    before = c.word(items, 0)
    version = c.call("PyLong_AsLongLong", before)
    after = c.call("PyLong_FromLongLong", c.f.add(version, c.number(1)))
    with c.f.when(c.some(after)):
        c.set_word(after, items, 0)
        c.call("Py_DecRef", before)
    c.f.ret()


# -- the result -----------------------------------------------------------------------------------


def _push(module: Module) -> None:
    """What one step of putting the result together makes, without containers; a new reference."""
    given = "ptr step, ptr block, ptr arrays, ptr objects, i64 mode, ptr bottom"
    c = Code(module, "push", "ptr", given)
    f = c.f
    step, block, arrays, found, mode, bottom = c.arguments
    kind = c.get(step, d.STEP, "kind", "i64")
    number = c.get(step, d.STEP, "number", "i64")
    with f.when(c.same(kind, c.number(d.PUSH_TENSOR))):
        array = c.word(arrays, number)
        c.set_word(NULL, arrays, number)  # its reference moves into the tensor
        made = f.call("new_tensor", "ptr", array, mode)
        node = c.get(step, d.STEP, "pointer")
        with f.when(f.binary("and", c.some(made), c.some(node))):
            c.call("Py_IncRef", node)
            f.call("compute", "void", made, node)
        c.ret(made)
    with f.when(c.same(kind, c.number(d.PUSH_RESULT))):
        array = c.word(arrays, number)
        c.set_word(NULL, arrays, number)
        made = f.call("new_tensor", "ptr", array, mode)
        with f.when(c.some(made)):
            one = c.get(step, d.STEP, "pointer")
            owner = f.variable(c.word(bottom, 0))

            def only() -> None:
                c.call("Py_IncRef", owner.get())

            def of_several() -> None:
                edge = f.call("new_edge", "ptr", owner.get(), one)
                owner.set(edge)

            c.either(c.is_null(one), only, of_several)
            with f.when(c.is_null(owner.get())):
                c.call("Py_DecRef", made)
                c.ret(NULL)
            f.call("compute", "void", made, owner.get())
        c.ret(made)
    with f.when(c.same(kind, c.number(d.PUSH_ARRAY))):
        array = c.word(arrays, number)
        c.set_word(NULL, arrays, number)
        c.ret(array)
    for which in (d.PUSH_OBJECT, d.PUSH_ARGUMENT):
        with f.when(c.same(kind, c.number(which))):
            is_object = which == d.PUSH_OBJECT
            x = c.get(step, d.STEP, "pointer") if is_object else c.word(found, number)
            c.call("Py_IncRef", x)
            c.ret(x)
    for which in d.OF_TENSORS:
        with f.when(c.same(kind, c.number(which))):
            outer = c.get(step, d.STEP, "pointer")
            place = f.select(c.is_null(outer), number, c.number(0))
            x = f.select(c.is_null(outer), c.word(found, place), outer)
            if which == d.PUSH_PAYLOAD:
                part = c.read(x, objects.tensor_slots()["_payload"])
            elif which == d.PUSH_EDGE:
                part = c.read(x, objects.tensor_slots()["_node"])
                part = f.select(c.same(part, c.outer("_Py_NoneStruct")), x, part)
            else:
                counter = c.read(x, objects.tensor_slots()["_counter"])
                ordinary = c.same(c.read(counter, objects.TYPE), c.outer("PyList_Type"))
                with f.when(f.binary("xor", ordinary, c.number(1, "i1"))):
                    # That of an inference tensor, which refuses.
                    zero = c.call("PyLong_FromLongLong", c.number(0))
                    c.ret(c.call("PyObject_GetItem", counter, zero))
                part = c.word(c.read(counter, objects.LIST_ITEMS), 0)
            c.call("Py_IncRef", part)
            c.ret(part)
    at = c.word(block, number)  # the memory of the output with this number in the table
    with f.when(c.same(kind, c.number(d.PUSH_FLOAT))):
        c.ret(c.call("PyFloat_FromDouble", f.load("double", at)))
    with f.when(c.same(kind, c.number(d.PUSH_INT))):
        c.ret(c.call("PyLong_FromLongLong", f.load("i64", at)))
    with f.when(c.same(kind, c.number(d.PUSH_BOOL))):
        true = c.some(f.load("i8", at))
        x = f.select(true, c.outer("_Py_TrueStruct"), c.outer("_Py_FalseStruct"))
        c.call("Py_IncRef", x)
        c.ret(x)
    rounds = c.word(block, f.add(number, c.number(1)), "i64")
    c.ret(f.call("new_stack", "ptr", f.cast("ptrtoint", at, "i64"), rounds))


def _compute(module: Module) -> None:
    """Make a node, whose reference it takes over, that of a fresh tensor."""
    c = Code(module, "compute", "void", "ptr made, ptr node")
    made, node = c.arguments
    true = c.outer("_Py_TrueStruct")
    c.call("Py_IncRef", true)
    for name, value in (("_node", node), ("_requires_grad", true)):
        before = c.read(made, objects.tensor_slots()[name])
        c.write(value, made, objects.tensor_slots()[name])
        c.call("Py_DecRef", before)
    c.f.ret()


def _new_stack(module: Module) -> None:
    """The memory of a loop's stack, as `kuai.compiler.native.stacks.StackMemory` makes it."""
    c = Code(module, "new_stack", "ptr", "i64 address, i64 rounds")
    f = c.f
    made = [c.call("PyLong_FromLongLong", x) for x in c.arguments]
    missing = f.binary("or", *[c.is_null(x) for x in made])
    c.give_up_if(missing, NULL)
    stack = c.call("PyType_GenericAlloc", c.outer("kuai_StackMemory"), c.number(0))
    c.give_up_if(c.is_null(stack), NULL)
    for value, name in zip(made, ("address", "rounds"), strict=True):
        c.write(value, stack, objects.stack_slots()[name])
    c.ret(stack)


def _new_edge(module: Module) -> None:
    """One output of a node that has several, as `kuai.core.tape.OutputEdge` makes it."""
    c = Code(module, "new_edge", "ptr", "ptr node, ptr output")
    f = c.f
    node, output = c.arguments
    edge = c.call("PyType_GenericAlloc", c.outer("kuai_OutputEdge"), c.number(0))
    sequence = c.call("PyObject_CallNoArgs", c.outer("kuai_sequence"))
    with f.when(f.binary("or", c.is_null(edge), c.is_null(sequence))):
        for owned in (edge, sequence):
            c.call("Py_DecRef", owned)  # null is let pass
        c.ret(NULL)
    slots = objects.edge_slots()
    c.write(sequence, edge, slots["sequence"])
    values = {"node": node, "pre_hooks": c.outer("_Py_NoneStruct")}
    values |= {name: c.word(output, i) for i, name in enumerate(("index", "shape", "numpy_dtype"))}
    for name, value in values.items():
        c.call("Py_IncRef", value)
        c.write(value, edge, slots[name])
    c.ret(edge)


def _new_node(module: Module) -> None:
    """A node of the tape; it takes over the reference to the tuple of what it keeps."""
    c = Code(module, "new_node", "ptr", "ptr kept, ptr backward")
    f = c.f
    kept, backward = c.arguments
    node = c.call("PyType_GenericAlloc", c.outer("kuai_CompiledNode"), c.number(0))
    sequence = c.call("PyObject_CallNoArgs", c.outer("kuai_sequence"))
    with f.when(f.binary("or", c.is_null(node), c.is_null(sequence))):
        for owned in (node, sequence):
            c.call("Py_DecRef", owned)  # null is let pass
        c.ret(NULL)
    slots = objects.node_slots()
    c.call("Py_IncRef", backward)
    c.write(backward, node, slots["backward"])
    c.write(sequence, node, slots["sequence"])
    c.write(kept, node, slots["kept"])
    c.ret(node)


def _build(module: Module) -> None:
    """Put the result together; null, with Python's error set, where memory runs out."""
    c = Code(module, "build", "ptr", "ptr program, ptr block, ptr arrays, ptr objects, i64 mode")
    f = c.f
    program, block, arrays, found, mode = c.arguments
    stack = c.room(c.get(program, d.PROGRAM, "steps", "i64"))
    top = f.variable(c.number(0))
    failed = f.label("failed")
    with c.each(program, d.PROGRAM, "steps", "step_specs", d.STEP) as (step, _):
        kind = c.get(step, d.STEP, "kind", "i64")
        size = c.get(step, d.STEP, "number", "i64")
        made = f.variable(NULL)

        def simple() -> None:
            x = f.call("push", "ptr", step, block, arrays, found, mode, stack)
            made.set(x)

        def container() -> None:
            bottom = f.sub(top.get(), size)
            first = f.at(stack, bottom, "i64")
            with f.when(c.same(kind, c.number(d.MAKE_TUPLE))):
                x = c.call("PyTuple_New", size)
                with f.when(c.some(x)):
                    c.call(
                        "memcpy",
                        f.at(x, objects.TUPLE_ITEMS, "i8"),
                        first,
                        f.mul(size, c.number(8)),
                    )
                made.set(x)
            with f.when(c.same(kind, c.number(d.MAKE_LIST))):
                x = c.call("PyList_New", size)
                with f.when(f.binary("and", c.some(x), c.some(size))):
                    items = c.read(x, objects.LIST_ITEMS)
                    c.call("memcpy", items, first, f.mul(size, c.number(8)))
                made.set(x)
            with f.when(c.same(kind, c.number(d.MAKE_DICT))):
                x = c.call("PyDict_New")
                keys = c.get(step, d.STEP, "pointer")
                with f.when(c.some(x)), f.loop(0, size) as i:
                    key, value = c.word(keys, i), c.word(first, i)
                    c.call("PyDict_SetItem", x, key, value)
                    c.call("Py_DecRef", value)
                made.set(x)
            with f.when(c.same(kind, c.number(d.MAKE_NODE))):
                kept = c.word(first, 0)
                made.set(f.call("new_node", "ptr", kept, c.get(step, d.STEP, "pointer")))
            with f.when(c.some(made.get())):
                top.set(bottom)

        c.either(f.compare("slt", kind, c.number(d.MAKE_TUPLE)), simple, container)
        go = f.label("go")
        f.branch_if(c.is_null(made.get()), failed, go)
        f.begin_after(go)
        c.set_word(made.get(), stack, top.get())
        top.set(f.add(top.get(), c.number(1)))
    below = f.sub(top.get(), c.number(1))
    with f.loop(0, below) as i:
        c.call("Py_DecRef", c.word(stack, i))
    c.ret(c.word(stack, below))
    f.begin_after(failed)
    with f.loop(0, top.get()) as i:
        c.call("Py_DecRef", c.word(stack, i))
    c.ret(NULL)
