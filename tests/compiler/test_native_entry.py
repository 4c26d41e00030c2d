"""Python enters programs in native code; the same calls work through Python."""

import gc
import itertools
import sys
import threading
import weakref

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.compiler.native import builtin, jit, objects, runtime
from kuai.compiler.native import descriptor as d
from kuai.compiler.native.bound import Bound
from kuai.compiler.native.interface import (
    ArrayMade,
    Form,
    GradientWrite,
    GradOf,
    Interface,
    NumberUse,
    Step,
    TensorUse,
)
from kuai.compiler.run.backward import CompiledNode
from kuai.core.primitive import intercepted

IDENTITY = """
declare ptr @memcpy(ptr, ptr, i64)
define i32 @program(ptr %buffers, ptr %arena) {
  %x = load ptr, ptr %buffers
  %at = getelementptr ptr, ptr %buffers, i64 1
  %y = load ptr, ptr %at
  %r = call ptr @memcpy(ptr %y, ptr %x, i64 160)
  ret i32 0
}
"""

# buffers: x (f32[4]), scale (double), y (f32[4]); y = x * scale
SCALE = """
define i32 @program(ptr %buffers, ptr %arena) {
entry:
  %x = load ptr, ptr %buffers
  %at1 = getelementptr ptr, ptr %buffers, i64 1
  %s = load ptr, ptr %at1
  %at2 = getelementptr ptr, ptr %buffers, i64 2
  %y = load ptr, ptr %at2
  %scale = load double, ptr %s
  %single = fptrunc double %scale to float
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i1, %loop ]
  %from = getelementptr float, ptr %x, i64 %i
  %v = load float, ptr %from
  %w = fmul float %v, %single
  %to = getelementptr float, ptr %y, i64 %i
  store float %w, ptr %to
  %i1 = add i64 %i, 1
  %more = icmp slt i64 %i1, 4
  br i1 %more, label %loop, label %end
end:
  ret i32 0
}
"""

FAILS = """
define i32 @program(ptr %buffers, ptr %arena) {
  ret i32 3
}
"""

ARENA = """
define i32 @program(ptr %buffers, ptr %arena) {
  %last = getelementptr i8, ptr %arena, i64 999
  store i8 1, ptr %last
  %address = ptrtoint ptr %arena to i64
  %low = and i64 %address, 63
  %bad = icmp ne i64 %low, 0
  %status = zext i1 %bad to i32
  ret i32 %status
}
"""

F32 = np.dtype(np.float32)
TENSOR = {"kind": d.ARGUMENT, "type": id(kuai.Tensor)}
FLOAT = {"kind": d.ARGUMENT, "type": id(float)}


def fail(status, table):
    raise ValueError(f"status {status}")


class Compiled:
    """A function with a chain of programs, and what its slow way was called with."""

    def __init__(self, *programs):
        self.slow_calls = []
        self.memory = builtin.FunctionMemory()
        self.memory.set_slow(self.slow)
        self.programs = programs
        for one, following in itertools.pairwise(programs):
            one.set(next=following.address)
        if programs:
            self.memory.set_first(programs[0].address)
        self.call = builtin.builtin(self.memory)

    def slow(self, *args, **kwargs):
        self.slow_calls.append((args, kwargs))
        return "slow"


def bound(text, **fields):
    fields = {"mode": 1, "arguments": 1, "objects": [TENSOR], "places": [0], "arena": 0} | fields
    return Bound(Interface(**fields), runtime.load_program(jit.compiled(text)), fail)


def use(shape=(2, 20), **fields):
    return TensorUse(0, Form(F32, shape, fields.pop("strides", None)), False, 0, **fields)


def identity(**fields):
    made = ArrayMade(Form(F32, (2, 20)), 1)
    fields = {"tensors": [use()], "outputs": [made], "steps": [Step(d.PUSH_TENSOR)]} | fields
    return bound(IDENTITY, buffers=2, **fields)


@pytest.fixture
def x():
    return kuai.rand(2, 20)


def test_a_program_makes_a_new_tensor(x):
    compiled = Compiled(identity())
    y = compiled.call(x)
    assert type(y) is kuai.Tensor
    np.testing.assert_array_equal(y.numpy(), x.numpy())
    assert (y.requires_grad, y.grad, y.grad_fn, y._counter, y._view, y._hooks) == (
        False,
        None,
        None,
        [0, 0],
        None,
        None,
    )
    y += 1
    assert y._version == 1
    y.name = "an attribute"
    assert y.name
    assert not compiled.slow_calls


def test_python_does_the_same(x):
    program = identity()
    assert program.fits([x])
    np.testing.assert_array_equal(program.call([x]).numpy(), x.numpy())


@pytest.mark.parametrize(
    "other",
    [
        lambda: kuai.rand(2, 21),
        lambda: kuai.rand(40),
        lambda: kuai.rand(1, 2, 20),
        lambda: kuai.rand(2, 20).double(),
        lambda: kuai.rand(2, 20, requires_grad=True),
        lambda: kuai.rand(20, 2).T,
        lambda: nn.Buffer(kuai.rand(3)),
        lambda: kuai.from_numpy(np.zeros(161, np.uint8)[1:].view(np.float32).reshape(2, 20)),
        lambda: 3.0,
        lambda: None,
    ],
)
def test_an_argument_of_another_kind_goes_the_slow_way(other):
    compiled, x = Compiled(identity()), other()
    assert compiled.call(x) == "slow"
    assert compiled.slow_calls == [((x,), {})]
    if isinstance(x, kuai.Tensor):
        assert not identity().fits([x])


def test_other_numbers_of_arguments_and_names_go_the_slow_way(x):
    compiled = Compiled(identity())
    assert compiled.call() == compiled.call(x, x) == compiled.call(x=x) == "slow"
    assert compiled.slow_calls[2] == ((), {"x": x})


def test_arguments_by_name_are_taken_in_their_order():
    row = {**FLOAT, "item": 1}
    fields = {"arguments": 1, "objects": [TENSOR, row], "places": [0, 1]}
    compiled, x = Compiled(scale(**fields, keywords=("by",))), kuai.arange(4.0)
    np.testing.assert_array_equal(compiled.call(x, by=2.0).numpy(), x.numpy() * 2)
    np.testing.assert_array_equal(compiled.call(x, by=2.0).numpy(), x.numpy() * 2)
    assert compiled.call(x, 2.0) == compiled.call(x, to=2.0) == compiled.call(x) == "slow"
    assert compiled.call(x, by=2.0, to=2.0) == compiled.call(x, by=2) == "slow"


def test_parameters_and_views_are_tensors_too(x):
    compiled = Compiled(identity())
    big = kuai.rand(4, 20)
    view = big[1:3]
    np.testing.assert_array_equal(compiled.call(view).numpy(), big.numpy()[1:3])
    parameter = nn.Parameter(x, requires_grad=False)
    np.testing.assert_array_equal(compiled.call(parameter).numpy(), x.numpy())
    big.requires_grad_()  # the tape moves on: the view is to be taken again
    (big * 1)[0] = 1
    assert not compiled.slow_calls


def test_a_view_whose_memory_has_a_new_place_on_the_tape_goes_the_slow_way():
    base = kuai.rand(4, 20)
    view = base[1:3]
    compiled = Compiled(identity())
    compiled.call(view)
    base += kuai.rand(4, 20, requires_grad=True)
    assert compiled.call(view) == "slow"


def test_the_gradient_mode_is_checked(x):
    compiled = Compiled(identity())
    with kuai.no_grad():
        assert compiled.call(x) == "slow"
        with kuai.enable_grad():
            assert compiled.call(x) != "slow"
    with kuai.inference_mode():
        assert compiled.call(x) == "slow"
    assert compiled.call(x) != "slow"


def test_every_thread_has_its_own_gradient_mode(x):
    compiled, results = Compiled(identity()), []

    def work():
        results.append(compiled.call(x))
        with kuai.no_grad():
            results.append(compiled.call(x))
        results.append(compiled.call(x))

    with kuai.no_grad():
        for _ in range(3):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            assert compiled.call(x) == "slow"
    assert [r == "slow" for r in results if r is not None] == [False, True, False] * 3


def test_tensors_of_inference_mode_remember_it(x):
    compiled = Compiled(identity(mode=2))
    with kuai.inference_mode():
        y = compiled.call(x)
        eager = x * 1
    assert type(y._counter) is type(eager._counter)
    assert y._counter == eager._counter


def test_an_interceptor_is_noticed(x):
    compiled = Compiled(identity())
    with intercepted(lambda *_: None):
        assert compiled.call(x) == "slow"
    assert compiled.call(x) != "slow"


def test_a_change_of_a_block_is_noticed(x):
    compiled = Compiled(identity())
    nn.Linear(2, 2).training = False
    assert compiled.call(x) == "slow"


def test_programs_are_tried_in_turn(x):
    small = bound(
        ARENA, buffers=1, arena=1000, tensors=[use((3,))], steps=[Step(d.PUSH_OBJECT, 0, "small")]
    )
    compiled = Compiled(small, identity())
    assert compiled.call(kuai.rand(3)) == "small"
    np.testing.assert_array_equal(compiled.call(x).numpy(), x.numpy())
    assert not compiled.slow_calls


def scale(**fields):
    made = ArrayMade(Form(F32, (4,)), 2)
    fields = {
        "arguments": 2,
        "objects": [TENSOR, {**FLOAT, "item": 1}],
        "places": [0, 1],
        "tensors": [use((4,))],
        "numbers": [NumberUse(float, 1, 1)],
        "outputs": [made],
        "steps": [Step(d.PUSH_TENSOR)],
    } | fields
    return bound(SCALE, buffers=3, **fields)


def test_numbers_among_the_arguments_are_read_at_each_call():
    compiled, x = Compiled(scale()), kuai.arange(4.0)
    for s in (0.5, 3.0, float("inf")):
        expected = (x * s).numpy()
        np.testing.assert_array_equal(compiled.call(x, s).numpy(), expected)
        np.testing.assert_array_equal(scale().call([x, s]).numpy(), expected)
    assert compiled.call(x, 2) == "slow"


def test_numbers_in_a_dictionary_are_read_at_each_call():
    options, x = {"lr": 0.5}, kuai.arange(4.0)
    fields = {"arguments": 1, "objects": [TENSOR], "places": [0]}
    program = scale(**fields, numbers=[NumberUse(float, 1, container=options, key="lr")])
    compiled = Compiled(program)
    for s in (0.5, 3.0):
        options["lr"] = s
        np.testing.assert_array_equal(compiled.call(x).numpy(), (x * s).numpy())
        np.testing.assert_array_equal(program.call([x]).numpy(), (x * s).numpy())
    options["lr"] = "fast"
    assert compiled.call(x) == "slow"
    del options["lr"]
    assert compiled.call(x) == "slow"


def test_numbers_in_a_variable_of_an_enclosing_function_are_read_at_each_call():
    rate, x = 0.5, kuai.arange(4.0)

    def function():
        return rate

    (cell,) = function.__closure__
    fields = {"arguments": 1, "objects": [TENSOR], "places": [0]}
    program = scale(**fields, numbers=[NumberUse(float, 1, cell=cell)])
    compiled = Compiled(program)
    for s in (0.5, 3.0):
        rate = s
        np.testing.assert_array_equal(compiled.call(x).numpy(), (x * s).numpy())
        np.testing.assert_array_equal(program.call([x]).numpy(), (x * s).numpy())
    rate = 1
    assert compiled.call(x) == "slow"


def test_a_program_that_only_python_can_feed_has_no_descriptor():
    box = [0.25]
    program = scale(numbers=[NumberUse(float, 1, read=lambda: box[0])])
    assert (program.is_native, program.address) == (False, 0)
    np.testing.assert_array_equal(program.call([kuai.arange(4.0), 0.0]).numpy()[3], 0.75)


def test_nested_arguments_are_taken_apart():
    inner = {"type": id(kuai.Tensor)}
    rows = [
        {"kind": d.ARGUMENT, "type": id(dict), "size": 3},
        {"kind": d.DICT_VALUE, "item": id("a"), "type": id(list), "size": 2},
        {"kind": d.LIST_ITEM, "parent": 1, "item": 0, **inner},
        {"kind": d.DICT_VALUE, "item": id("b"), "type": id(tuple), "size": 3},
        {"kind": d.TUPLE_ITEM, "parent": 3, "item": 1, "type": id(float)},
        {"kind": d.TUPLE_ITEM, "parent": 3, "item": 0, "same": id(None)},
    ]
    compiled = Compiled(scale(arguments=1, objects=rows, places=[2, 4]))
    x = kuai.arange(4.0)
    good = {"a": [x], "b": (None, 3.0)}
    np.testing.assert_array_equal(compiled.call(good).numpy(), x.numpy() * 3)
    for bad in (
        {"a": [x], "b": (1, 3.0)},
        {"a": [x, x], "b": (None, 3.0)},
        {"a": (x,), "b": (None, 3.0)},
        {"a": [x], "c": (None, 3.0)},
        {"a": [x], "b": (None, 3.0), "c": 1},
        {"a": [None], "b": (None, 3.0)},
        [x],
    ):
        assert compiled.call(bad) == "slow"


def test_results_are_put_together():
    made = ArrayMade(Form(F32, (2, 20)), 1)
    steps = [
        Step(d.PUSH_TENSOR, 0),
        Step(d.PUSH_ARGUMENT, 0),
        Step(d.MAKE_TUPLE, 2),
        Step(d.PUSH_OBJECT, 0, "text"),
        Step(d.PUSH_FLOAT, 2),
        Step(d.PUSH_INT, 2),
        Step(d.PUSH_BOOL, 2),
        Step(d.MAKE_LIST, 3),
        Step(d.PUSH_STACK, 3),
        Step(d.MAKE_LIST, 0),
        Step(d.MAKE_DICT, 5, ["a", "b", "c", "d", "e"]),
    ]
    program = bound(
        IDENTITY,
        buffers=5,
        tensors=[use()],
        outputs=[made],
        steps=steps,
        results=[2],
        fixed={3: 0, 4: 5},
    )
    x = kuai.rand(2, 20)
    compiled = Compiled(program)
    for result in (compiled.call(x), program.call([x])):
        assert list(result) == ["a", "b", "c", "d", "e"]
        np.testing.assert_array_equal(result["a"][0].numpy(), x.numpy())
        assert result["a"][1] is x
        assert (result["b"], result["e"]) == ("text", [])
        assert (result["d"].address, result["d"].rounds) == (0, 5)
        assert [type(r) for r in result["c"]] == [float, int, bool]


def test_a_result_may_have_a_node_of_the_tape(x):
    node = object()
    program = identity(steps=[Step(d.PUSH_TENSOR, 0, node)])
    for y in (Compiled(program).call(x), program.call([x])):
        assert y.requires_grad
        assert y._node is node
    before = sys.getrefcount(node)
    del y
    assert sys.getrefcount(node) == before - 1


class _Node:
    """Makes a node of a tuple, as `Backward` does for calls that Python answers."""

    def node(self, kept):
        made = CompiledNode.__new__(CompiledNode)
        made.backward, made.kept, made.sequence = self, kept, 0
        return made


@pytest.mark.parametrize("several", [False, True])
def test_a_result_may_be_that_of_a_node_made_in_the_call(x, several):
    backward = _Node()
    output = (1, x._payload.shape, x._payload.dtype) if several else None
    before = [Step(d.PUSH_PAYLOAD), Step(d.PUSH_VERSION)]
    made = [Step(d.MAKE_TUPLE, 2), Step(d.MAKE_NODE, 1, backward)]
    program = identity(steps=[*before, *made, Step(d.PUSH_RESULT, 0, output)])
    references = sys.getrefcount(backward)
    for y in (Compiled(program).call(x), program.call([x])):
        assert y.requires_grad
        node = y._node.node if several else y._node
        assert type(node) is CompiledNode
        assert node.backward is backward
        assert node.kept[0] is x._payload
        assert node.kept[1] == x._version
        if several:
            assert (y._node.index, y._node.shape, y._node.numpy_dtype) == output
            assert y._node.pre_hooks is None
    del y, node
    assert sys.getrefcount(backward) == references


def test_the_edge_of_a_leaf_is_itself_and_that_of_a_computed_tensor_its_node(x):
    leaf = kuai.ones(2, requires_grad=True)
    computed = leaf * 2
    for tensor, edge in ((leaf, leaf), (computed, computed._node)):
        program = identity(steps=[Step(d.PUSH_EDGE, 0, tensor)])
        assert Compiled(program).call(x) is edge
        assert program.call([x]) is edge


def test_a_finish_sees_the_leaves_and_gives_the_result(x):
    program = identity(finish=lambda made, leaves: (made, leaves[0], len(leaves)))
    for result in (Compiled(program).call(x), program.call([x])):
        assert result[1:] == (x, 1)
        np.testing.assert_array_equal(result[0].numpy(), x.numpy())


def test_an_error_in_finish_arrives(x):
    def finish(made, leaves):
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        Compiled(identity(finish=finish)).call(x)


@pytest.mark.parametrize("way", ["native", "python"])
def test_a_failure_raises_and_changes_nothing(x, way):
    program = bound(FAILS, buffers=1, tensors=[use(written=True)], updates=[0])
    call = Compiled(program).call if way == "native" else lambda x: program.call([x])
    with pytest.raises(ValueError, match="status 3"):
        call(x)
    assert x._version == 0


def test_changed_tensors_count_their_changes(x):
    program = bound(
        ARENA, buffers=1, arena=1000, tensors=[use(written=True)], updates=[0], steps=NOTHING
    )
    compiled = Compiled(program)
    for i in range(1, 600):
        assert compiled.call(x) is None
        assert x._version == i


NOTHING = [Step(d.PUSH_OBJECT, 0, None)]


def test_a_changed_argument_must_not_share_memory():
    second = TensorUse(1, Form(F32, (4,)), False, -1)
    program = bound(
        ARENA,
        buffers=1,
        arena=1000,
        arguments=2,
        objects=[TENSOR, {**TENSOR, "item": 1}],
        places=[0, 1],
        tensors=[use((4,), written=True), second],
        steps=NOTHING,
    )
    base = kuai.arange(10.0)
    compiled = Compiled(program)
    assert compiled.call(base[:4], base[4:8]) is None
    assert compiled.call(base[6:], base[2:6]) is None
    assert compiled.call(base[:4], base[3:7]) == "slow"
    assert compiled.call(base[:4], base[:4]) == "slow"
    assert program.is_apart([base[:4], base[4:8]])
    assert not program.is_apart([base[:4], base[3:7]])


def test_a_tensor_from_outside_must_keep_its_array(x):
    w = nn.Parameter(kuai.rand(3))
    outer = TensorUse(w, Form(F32, (3,)), True, -1, payload=w._payload)
    program = identity(tensors=[use(), outer])
    compiled = Compiled(program)
    assert compiled.call(x) != "slow"
    w.requires_grad_(False)
    assert compiled.call(x) == "slow"
    w.requires_grad_(True)
    assert compiled.call(x) != "slow"
    assert program.fits([x])
    w.data = kuai.rand(3)
    assert compiled.call(x) == "slow"
    assert program.fits([x])
    assert program.rebind([x])
    assert compiled.call(x) != "slow"
    w.data = kuai.rand(4)
    assert compiled.call(x) == "slow"
    assert not program.fits([x])


def test_what_does_not_matter_is_not_looked_at(x):
    loose = TensorUse(0, None, None, 0)
    compiled = Compiled(identity(tensors=[loose], always=True))
    nn.Linear(2, 2).training = False
    for other in (x, x.reshape(40), x.requires_grad_()):
        assert compiled.call(other).shape == (2, 20)
        assert identity(tensors=[loose]).fits([other])


def test_hooks_of_a_tensor_are_noticed(x):
    w = nn.Parameter(kuai.rand(3))
    outer = TensorUse(w, Form(F32, (3,)), True, -1, payload=w._payload, hooks=False)
    program = identity(tensors=[use(), outer])
    compiled = Compiled(program)
    assert compiled.call(x) != "slow"
    handle = w.register_hook(lambda g: None)
    assert compiled.call(x) == "slow"
    assert not program.fits([x])
    handle.remove()
    assert program.fits([x])


def test_the_grad_of_a_tensor_is_whichever_it_has(x):
    w = nn.Parameter(kuai.rand(2, 20))
    program = identity(tensors=[TensorUse(GradOf(w), Form(F32, (2, 20)), False, 0)])
    compiled = Compiled(program)
    assert compiled.call(x) == "slow"
    assert not program.fits([x])
    for _ in range(2):
        w.grad = kuai.rand(2, 20)
        assert program.fits([x])
        np.testing.assert_array_equal(compiled.call(x).numpy(), w.grad.numpy())
        np.testing.assert_array_equal(program.call([x]).numpy(), w.grad.numpy())
    w._grad = kuai.rand(3)
    assert compiled.call(x) == "slow"


class TestGradients:
    def step(self, w):
        """A program that writes the gradient of `w`: a copy of its argument."""
        made = ArrayMade(Form(F32, (2, 20)), 1)
        return bound(
            IDENTITY, buffers=2, tensors=[use()], gradients=[GradientWrite(w, made)], steps=NOTHING
        )

    def test_a_gradient_is_written(self, x):
        w = nn.Parameter(kuai.rand(2, 20))
        Compiled(self.step(w)).call(x)
        assert type(w.grad) is kuai.Tensor
        np.testing.assert_array_equal(w.grad.numpy(), x.numpy())
        w.grad = None
        self.step(w).call([x])
        np.testing.assert_array_equal(w.grad.numpy(), x.numpy())

    def test_a_gradient_that_nobody_holds_is_written_again(self, x):
        w, y = nn.Parameter(kuai.rand(2, 20)), kuai.rand(2, 20)
        compiled = Compiled(self.step(w))
        compiled.call(x)
        before = id(w.grad), w.grad._payload.ctypes.data
        compiled.call(y)
        assert (id(w.grad), w.grad._payload.ctypes.data) == before
        np.testing.assert_array_equal(w.grad.numpy(), y.numpy())

    @pytest.mark.parametrize("hold", ["grad", "array", "alias", "view"])
    def test_a_gradient_that_somebody_holds_is_left_alone(self, x, hold):
        w, y = nn.Parameter(kuai.rand(2, 20)), kuai.rand(2, 20)
        compiled = Compiled(self.step(w))
        compiled.call(x)
        held = {
            "grad": lambda: w.grad,
            "array": lambda: w.grad.numpy(),
            "alias": lambda: w.grad.detach(),
            "view": lambda: w.grad[:],
        }[hold]()
        compiled.call(y)
        np.testing.assert_array_equal(np.asarray(held), x.numpy())
        np.testing.assert_array_equal(w.grad.numpy(), y.numpy())

    def test_a_gradient_that_the_program_reads_is_left_alone(self, x):
        w = nn.Parameter(kuai.rand(2, 20))
        write = GradientWrite(w, ArrayMade(Form(F32, (2, 20)), 1), fresh=True)
        compiled = Compiled(
            bound(IDENTITY, buffers=2, tensors=[use()], gradients=[write], steps=NOTHING)
        )
        compiled.call(x)
        before = id(w.grad)
        compiled.call(x)
        assert id(w.grad) != before

    def test_a_gradient_of_another_form_is_replaced(self, x):
        w = nn.Parameter(kuai.rand(2, 20))
        compiled = Compiled(self.step(w))
        for other in (kuai.rand(2, 20).double(), kuai.rand(20, 2).T, kuai.rand(40)):
            w._grad = other
            del other
            compiled.call(x)
            np.testing.assert_array_equal(w.grad.numpy(), x.numpy())
            assert w.grad._payload.flags.c_contiguous

    def test_a_gradient_may_become_none(self, x):
        w = nn.Parameter(kuai.rand(2, 20))
        w.grad = kuai.rand(2, 20)
        write = [GradientWrite(w, None)]
        fields = {"buffers": 1, "arena": 1000, "gradients": write, "steps": NOTHING}
        assert Compiled(bound(ARENA, tensors=[use()], **fields)).call(x) is None
        assert w.grad is None


class TestGuards:
    def test_the_items_of_a_dictionary(self, x):
        settings = {"a": 1000.5, "other": 0}
        value = settings["a"]
        pairs = d.Memory([id("a"), id(value), id("absent"), 0])
        guard = {
            "kind": d.DICTIONARY,
            "container": id(settings),
            "key": pairs.address,
            "expected": 2,
        }
        compiled = Compiled(identity(guards=[guard]))
        for _ in range(3):
            assert compiled.call(x) != "slow"
            settings["other"] += 1
        settings["a"] = 7
        assert compiled.call(x) == "slow"
        settings["a"] = value
        assert compiled.call(x) != "slow"
        settings["absent"] = 1
        assert compiled.call(x) == "slow"
        del settings["absent"]
        assert compiled.call(x) != "slow"

    def test_the_contents_of_a_cell(self, x):
        outer = value = object()

        def function():
            return outer

        (cell,) = function.__closure__
        guard = {"kind": d.WORD, "container": id(cell) + 16, "expected": id(value)}
        compiled = Compiled(identity(guards=[guard]))
        assert compiled.call(x) != "slow"
        outer = 3
        assert compiled.call(x) == "slow"

    @pytest.mark.skipif(
        sys.version_info >= (3, 13), reason="dictionaries have no dependable versions"
    )
    def test_a_dictionary_as_a_whole(self, x):
        assert objects.dict_versions()
        settings = {kuai.rand(1): 1}
        version = objects.word(id(settings) + objects.DICT_VERSION)
        guard = {"kind": d.VERSION, "container": id(settings), "version": version}
        compiled = Compiled(identity(guards=[guard]))
        assert compiled.call(x) != "slow"
        settings[3] = 4
        assert compiled.call(x) == "slow"

    def test_an_attribute_of_a_class(self, x):
        class Base:
            rate = 1

        class Derived(Base):
            pass

        assert objects.types_hold()
        version = objects.type_version(Derived, "rate")
        address = id(Derived) + objects.TYPE_VERSION
        guard = {"kind": d.HALF_WORD, "container": address, "expected": version}
        compiled = Compiled(identity(guards=[guard]))
        assert compiled.call(x) != "slow"
        Base.rate = 2
        assert compiled.call(x) == "slow"

    def test_that_something_is_not_there(self, x):
        w = nn.Parameter(kuai.rand(3))
        where = id(w) + objects.tensor_slots()["_grad"]
        guard = {"kind": d.OTHER_WORD, "container": where, "expected": id(None)}
        compiled = Compiled(identity(guards=[guard]))
        assert compiled.call(x) == "slow"
        w.grad = kuai.rand(3)
        assert compiled.call(x) != "slow"

    def test_the_items_of_a_list(self, x):
        items = [object(), object()]
        second = items[1]
        guard = {"kind": d.ITEM, "container": id(items), "key": 1, "expected": id(second)}
        compiled = Compiled(identity(guards=[guard]))
        assert compiled.call(x) != "slow"
        items.reverse()
        assert compiled.call(x) == "slow"
        items[1:] = []
        assert compiled.call(x) == "slow"
        items.append(second)
        assert compiled.call(x) != "slow"


def test_the_arena_is_aligned_and_large_enough(x):
    program = bound(ARENA, buffers=1, arena=1000, tensors=[use()], steps=NOTHING)
    compiled = Compiled(program)
    assert compiled.call(x) is None
    program.set(busy=1)  # as while another thread runs it
    assert compiled.call(x) is None


@pytest.mark.parametrize("releases", [True, False])
def test_several_threads_call_one_program(releases):
    compiled = Compiled(identity(releases=releases))
    wrong = []

    def work():
        x = kuai.rand(2, 20)
        for _ in range(2000):
            if not np.array_equal(compiled.call(x).numpy(), x.numpy()):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_calls_leak_nothing(x):
    made = ArrayMade(Form(F32, (2, 20)), 1)
    w = nn.Parameter(kuai.rand(2, 20))
    program = identity(
        releases=True,
        gradients=[GradientWrite(w, ArrayMade(Form(F32, (2, 20)), 1))],
        finish=lambda result, leaves: result,
        outputs=[made],
        steps=[Step(d.PUSH_TENSOR), Step(d.PUSH_ARGUMENT), Step(d.MAKE_TUPLE, 2)],
        updates=[0],
    )
    compiled = Compiled(program)
    watched = [x, x._payload, None, False, True, F32, kuai.Tensor, program, w]

    def counts():
        return [sys.getrefcount(o) for o in watched] + [sys.getallocatedblocks()]

    for _ in range(100):
        compiled.call(x)
        w.grad = None
    gc.collect()
    before = counts()
    for _ in range(1000):
        compiled.call(x)
        w.grad = None
    gc.collect()
    after = counts()
    assert all(abs(a - b) < 50 for a, b in zip(after, before, strict=True)), (before, after)


def test_a_compiled_function_is_collected(x):
    compiled = Compiled(identity())
    compiled.call(x)
    gone = weakref.ref(compiled)
    del compiled
    gc.collect()
    assert gone() is None


def test_what_native_code_takes_for_granted_holds():
    assert objects.check()
    assert builtin.available()
