"""The stages between a capture and LLVM's language, on graphs built by hand."""

import numpy as np
import pytest

import kuai.compiler.capture.control  # noqa: F401  (its primitives)
from kuai import dtypes
from kuai.compiler.failing import failing
from kuai.compiler.graph import Graph, Operation, Region, StackMeta, Value
from kuai.compiler.kernels import Kernels
from kuai.compiler.layout import contiguous, views
from kuai.compiler.partition import partition
from kuai.compiler.plan import plan
from kuai.compiler.simplify import simplify
from kuai.compiler.steps import Nest, Product
from kuai.core.base import wrap
from kuai.core.primitive import PRIMITIVES, Meta


def f32(*shape):
    return Meta(shape, dtypes.float32)


class Builder:
    """A graph under construction, operation by operation."""

    def __init__(self):
        self.graph = self.region = Graph()

    def value(self, meta, name=""):
        return Value(self.graph, meta, name)

    def input(self, *shape):
        value = self.value(f32(*shape), f"x{len(self.graph.inputs)}")
        self.graph.inputs.append(value)
        return value

    def captured(self, *shape):
        tensor = wrap(np.zeros(shape, np.float32))
        value = self.value(f32(*shape), f"w{len(self.graph.captured)}")
        self.graph.captured.append((value, tensor))
        return value

    def __call__(self, name, *inputs, **parameters):
        primitive = PRIMITIVES[name]
        metas = [v.meta if isinstance(v, Value) else f32() for v in inputs]
        inferred = primitive.infer(*metas, **parameters)
        many = isinstance(inferred, tuple)
        results = [self.value(m) for m in (inferred if many else (inferred,))]
        self.region.operations.append(Operation(primitive, inputs, parameters, results))
        return results if many else results[0]

    def total(self, x):
        return self("sum", x, dim=tuple(range(x.ndim)), keepdim=False)


def names(region):
    return [op.primitive.name for op in region.operations]


# -- simplify ------------------------------------------------------------------------------------


def test_what_nothing_uses_goes():
    b = Builder()
    x = b.input(3)
    b("exp", x)
    b.graph.outputs = [b("neg", x)]
    simplify(b.graph)
    assert names(b.graph) == ["neg"]


def test_what_is_computed_twice_is_computed_once():
    b = Builder()
    x = b.input(3)
    b.graph.outputs = [b("plus", b("exp", x), b("exp", x))]
    simplify(b.graph)
    assert names(b.graph) == ["exp", "plus"]
    add = b.graph.operations[1]
    assert add.inputs[0] is add.inputs[1]


def test_the_same_operation_on_other_numbers_stays():
    b = Builder()
    x = b.input(3)
    b.graph.outputs = [b("plus", b("mul", x, 0.0), b("mul", x, -0.0))]
    simplify(b.graph)
    assert names(b.graph) == ["mul", "mul", "plus"]


def test_constants_are_folded_with_their_kernels():
    b = Builder()
    one = b.value(f32())
    b.graph.constants.append((one, np.float32(2.0).reshape(())))
    b.graph.outputs = [b("mul", b.input(3), b("exp", one))]
    simplify(b.graph)
    assert names(b.graph) == ["mul"]
    (_, array) = b.graph.constants[0]
    assert array == np.exp(np.float32(2.0))


def loop(b, carried, test, body):
    """A while operation; `test` and `body` build regions from their parameters."""
    regions = []
    for name, build in (("test", test), ("body", body)):
        region = Region(name)
        region.parameters = [b.value(v.meta) for v in carried]
        outer, b.region = b.region, region
        region.results = build(*region.parameters)
        b.region = outer
        regions.append(region)
    results = [b.value(v.meta) for v in carried]
    results.append(b.value(Meta((), dtypes.int64)))
    for v in regions[1].results[len(carried) :]:
        results.append(b.value(StackMeta(v.shape, v.meta.dtype)))
    operation = Operation(PRIMITIVES["while_loop"], carried, {}, results, regions)
    b.region.operations.append(operation)
    return operation


def test_a_loop_keeps_only_the_stacks_and_values_that_something_needs():
    b = Builder()
    x, y = b.input(2), b.input(2)
    operation = loop(
        b,
        [x, y],
        lambda p, q: [b("gt", b.total(p), 1.0)],
        lambda p, q: [b("quotient", p, 2.0), b("mul", q, p), p, b("exp", q)],
    )
    b.graph.outputs = [operation.results[0], operation.results[2]]
    simplify(b.graph)
    test, body = operation.regions
    assert operation.inputs == (x,)
    assert len(operation.results) == 2
    assert len(test.parameters) == len(body.parameters) == len(body.results) == 1
    assert names(body) == ["quotient"]


def test_what_the_test_needs_is_carried_on():
    b = Builder()
    x, y = b.input(2), b.input(2)
    operation = loop(
        b,
        [x, y],
        lambda p, q: [b("gt", b.total(q), 1.0)],
        lambda p, q: [b("neg", p), b("quotient", q, 2.0)],
    )
    b.graph.outputs = [operation.results[0]]
    simplify(b.graph)
    assert operation.inputs == (x, y)


# -- partition -----------------------------------------------------------------------------------


def test_forward_hands_over_just_what_backward_reads():
    b = Builder()
    x, w = b.input(2, 3), b.captured(3, 4)
    y = b("matmul", x, w)
    z = b("tanh", y)
    grad = b.input(2, 4)
    inner = b("mul", grad, b("minus", 1.0, b("square", z)))
    of_w = b("matmul", b("permute", x, dims=(1, 0)), inner)
    b.graph.outputs = [z]
    halves = partition(b.graph, [grad], [of_w, None])
    assert names(halves.forward) == ["matmul", "tanh"]
    assert halves.forward.outputs == [z, z]
    assert halves.saved == [z]
    assert halves.arguments == [0]
    assert halves.backward.inputs == [z, x, grad]
    assert halves.leaves == [0, None]
    assert "permute" in names(halves.backward)


# -- kernels and their places --------------------------------------------------------------------


def test_bias_activation_and_further_arithmetic_join_the_product():
    b = Builder()
    x, w, bias = b.input(2, 3), b.captured(4, 3), b.captured(4)
    b.graph.outputs = [b("mul", b("relu", b("linear", x, w, bias)), 2.0)]
    (step,) = Kernels(b.graph).steps
    assert isinstance(step, Product)
    assert [op.primitive.name for op in step.body] == ["relu", "mul"]


def test_what_an_activation_s_gradient_reads_is_computed_of_the_product_again():
    b = Builder()
    x, w, back = b.input(8, 4), b.captured(4, 16), b.input(8, 16)
    product = b("matmul", x, w)
    half, bent = b("mul", product, 0.5), b("tanh", product)
    y = b("mul", half, b("plus", bent, 1.0))
    slope = b("matmul", b("exp", y), b.captured(16, 16))
    of_half, of_bent = b("mul", slope, bent), b("mul", slope, half)
    b.graph.outputs = [y, b("plus", of_half, b("mul", of_bent, back))]
    kernels = Kernels(b.graph)
    first, later = kernels.steps
    assert isinstance(later, Product)
    assert product in kernels.stored
    assert half not in kernels.stored
    assert bent not in kernels.stored
    assert [op.primitive.name for op in later.body][:3] == ["tanh", "mul", "mul"]
    assert later.body[0].inputs == (product,)
    assert isinstance(first, Product)


def test_a_sum_with_something_else_is_not_computed_again():
    b = Builder()
    x, w = b.input(8, 16), b.captured(16, 16)
    total = b("plus", b("matmul", x, w), x)
    once = b("matmul", total, w)
    b.graph.outputs = [b("mul", once, total), b("plus", once, b("neg", total))]
    kernels = Kernels(b.graph)
    assert total in kernels.stored
    assert len(kernels.steps) == 2


def test_a_reduction_is_computed_with_what_it_reduces_and_what_is_made_of_it():
    b = Builder()
    x = b.input(5, 7)
    total = b("sum", b("exp", x), dim=(1,), keepdim=True)
    b.graph.outputs = [b("log", total)]
    kernels = Kernels(b.graph)
    (step,) = kernels.steps
    assert isinstance(step, Nest)
    assert step.dims == (1,)
    assert [op.primitive.name for op in step.passes[0].tail] == ["log"]
    assert kernels.stored == {b.graph.outputs[0]}


def test_what_needs_nothing_that_is_computed_joins_the_step_that_needs_it():
    b = Builder()
    x, w, mean = b.input(2, 3), b.captured(3, 4), b.captured(2, 4)
    gradient = b("matmul", x, w)
    kept = b("mul", mean, 0.9)
    b.graph.outputs = [b("plus", kept, b("mul", gradient, 0.1))]
    (step,) = Kernels(b.graph).steps
    assert isinstance(step, Product)
    assert {op.primitive.name for op in step.body} == {"mul", "plus"}


def test_views_take_no_step_and_no_memory():
    b = Builder()
    x = b.input(4, 6)
    part = b("permute", b("slice", x, key=((1, 3, 1), (0, 6, 2))), dims=(1, 0))
    b.graph.outputs = [b("neg", part)]
    kernels = Kernels(b.graph)
    assert len(kernels.steps) == 1
    where = kernels.layout_of(part)
    assert where.shape == (3, 2)
    assert where.strides == (8, 24)
    assert where.offset == 24


def test_a_reshape_that_the_memory_does_not_allow_is_no_view():
    source = contiguous((4, 6), dtypes.float32)
    (turned,) = views(PRIMITIVES["permute"], {"dims": (1, 0)}, source)
    assert views(PRIMITIVES["reshape"], {"shape": (24,)}, turned) is None
    (flat,) = views(PRIMITIVES["reshape"], {"shape": (24,)}, source)
    assert flat.shape == (24,)


def test_an_update_is_written_in_place_after_the_last_reader_of_the_old_values():
    b = Builder()
    w, x = b.captured(3, 3), b.input(3, 3)
    new = b("plus", w, b("mul", x, -0.1))
    b.graph.outputs = [b("matmul", x, w)]
    b.graph.updates = [(w, new)]
    planned = plan(Kernels(b.graph))
    assert [step.name for step in planned.steps] == ["product", "nest"]
    assert planned.buffers[new] is planned.buffers[w]
    assert not planned.copies


def test_an_update_that_a_reader_of_the_old_values_needs_is_copied_at_the_end():
    b = Builder()
    w = b.captured(3, 3)
    new = b("plus", w, 1.0)
    b.graph.outputs = [b("matmul", b("exp", new), w)]
    b.graph.updates = [(w, new)]
    planned = plan(Kernels(b.graph))
    assert planned.buffers[new] is not planned.buffers[w]
    assert [copy.buffer for copy in planned.copies] == [planned.buffers[w]]


def test_values_that_never_meet_share_memory():
    b = Builder()
    x = b.input(8, 8)
    y = x
    for _ in range(6):
        y = b("matmul", y, x)
    b.graph.outputs = [y]
    planned = plan(Kernels(b.graph))
    assert planned.arena == 2 * 8 * 8 * 4


def test_a_value_that_is_used_before_it_is_made_is_no_program():
    graph = Graph()
    x = Value(graph, f32(2))
    y = Value(graph, f32(2))
    graph.outputs = [y]
    with pytest.raises(AssertionError, match="not made"):
        graph.verify()
    graph.operations.append(Operation(PRIMITIVES["exp"], [x], {}, [y]))
    with pytest.raises(AssertionError, match="used by exp"):
        graph.verify()
    graph.parameters = [x]
    assert graph.verify() is graph


def test_the_gradient_at_an_index_that_was_checked_cannot_fail():
    b = Builder()
    table, grad = b.captured(5, 4), b.input(3, 4)
    index = b.value(Meta((3,), dtypes.int64), "i")
    b.graph.inputs.append(index)
    rows = b("index_select", table, index, dim=0)
    new = b("minus", table, b("index_add", b("mul", table, 0.0), index, grad, dim=0))
    b.graph.updates = [(table, new)]
    b.graph.outputs = [rows]
    kernels = Kernels(b.graph)
    assert failing(kernels, kernels.steps) == [0]


def test_an_index_into_something_smaller_can_fail_again():
    b = Builder()
    index = b.value(Meta((3,), dtypes.int64), "i")
    b.graph.inputs.append(index)
    rows = b("index_select", b.captured(5, 4), index, dim=0)
    b.graph.outputs = [b("index_add", b.captured(4, 4), index, rows, dim=0)]
    kernels = Kernels(b.graph)
    assert failing(kernels, kernels.steps) == [0, 1]
