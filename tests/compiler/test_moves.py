"""Operations that move data, as native programs, against their NumPy kernels."""

import numpy as np
import pytest

from kuai import dtypes
from kuai.compiler.steps import Nest, walk_steps
from kuai.core.primitive import PRIMITIVES
from tests.compiler.native_run import Program, graph_of, run
from tests.compiler.test_stages import Builder
from tests.ops.primitive_samples import MIDDLE, SAMPLES, SLICE, whole

ALL = [
    dtypes.float32,
    dtypes.float64,
    dtypes.float16,
    dtypes.bfloat16,
    dtypes.int64,
    dtypes.int32,
    dtypes.int16,
    dtypes.int8,
    dtypes.uint8,
    dtypes.bool_,
]
MOVING = """
    cat stack embed view_scatter roll flip split unbind reshape clone contiguous_copy overwrite
    permute expand slice select diagonal squeeze unsqueeze unfold as_strided
    tril triu gather index_select index embedding_rows masked_fill
    scatter scatter_add scatter_reduce scatter_combine index_add index_copy index_put index_embed
    sum_windows window_sum max_pool max_pooled max_pool_input_gradient
    argmax argmin cumsum cumprod cummax_index cummin_index logcumsumexp
    argsort searchsorted isin masked_scatter masked_front
""".split()


def agree(name, *inputs, **parameters):
    primitive = PRIMITIVES[name]
    with np.errstate(all="ignore"):
        expected = primitive.kernel(*inputs, **parameters)
    got = run(primitive, *inputs, **parameters)
    several = isinstance(expected, tuple)
    pairs = zip(expected, got, strict=True) if several and len(expected) > 1 else [(expected, got)]
    for want, have in pairs:
        want = np.asarray(want[0] if isinstance(want, tuple) else want)
        assert (have.dtype, have.shape) == (want.dtype, want.shape)
        if want.dtype.kind in "fV":
            tolerance = {2: 2e-2, 4: 1e-6, 8: 1e-14}[want.dtype.itemsize]
            wide = np.float64
            np.testing.assert_allclose(have.astype(wide), want.astype(wide), tolerance, tolerance)
        else:
            np.testing.assert_array_equal(have, want)


def values(dtype, *shape, seed=0):
    found = np.random.default_rng(seed).uniform(-3, 3, shape)
    if dtype is dtypes.bool_:
        return found > 0
    return np.abs(found).astype(dtype.numpy) if dtype is dtypes.uint8 else found.astype(dtype.numpy)


@pytest.mark.parametrize("name", MOVING)
def test_every_sample(name):
    for sample in SAMPLES[name]:
        agree(name, *sample.inputs, **sample.parameters)


@pytest.mark.parametrize("dtype", ALL, ids=lambda d: d.name)
def test_all_types(dtype):
    x, y, row = values(dtype, 5, 21), values(dtype, 5, 21, seed=1), values(dtype, 21)
    index = whole(3, 0, 3, 1)
    agree("cat", x, y, dim=1)
    agree("stack", x, y, dim=2)
    agree("embed", values(dtype, 2, 3), shape=(5, 21), view=SLICE, parameters=MIDDLE)
    agree("view_scatter", x, values(dtype, 2, 3), view=SLICE, parameters=MIDDLE)
    agree("roll", x, shifts=(2, -5), dims=(0, 1))
    agree("tril", x, diagonal=3)
    agree("triu", x, diagonal=-1)
    agree("index_select", x, index, dim=0)
    agree("index_select", x, index, dim=1)
    agree("gather", x, np.stack([index] * 5), dim=1)
    agree("index", x, index, index[:, None], positions=(0, 1))
    agree("scatter", x, np.stack([index] * 5), y[:, :4], dim=1)
    agree("index_copy", x, index[1:], y[:3], dim=0)
    agree("index_put", x, row, index, positions=(0,), accumulate=False)
    agree("argmax", x, dim=1, keepdim=True)
    agree("argmin", x, dim=0, keepdim=False)
    agree("cummax_index", x, dim=0)
    agree("cummin_index", x, dim=1)
    for descending in (False, True):
        agree("argsort", x, dim=1, descending=descending)
        agree("argsort", values(dtype, 150, 2), dim=0, descending=descending)
    if dtype is not dtypes.bfloat16:
        agree("searchsorted", np.sort(row), x, right=False)
    if dtype is dtypes.int64 or dtype.is_floating_point:  # others are cast before they are summed
        agree("cumsum", x, dim=1)
        agree("cumsum", x, dim=0)
        agree("cumprod", x, dim=1)
    if dtype is not dtypes.bool_:
        agree("index_add", x, index, y[:4], dim=0)
        agree("scatter_add", x, np.stack([index] * 5), y[:, :4], dim=1)
        agree("index_put", x, row, index, positions=(0,), accumulate=True)
        agree("index_embed", values(dtype, 4, 21), index, shape=(5, 21), positions=(0,))
        agree("sum_windows", values(dtype, 3, 19, 4), shape=(3, 40), dim=1, size=4, step=2)


@pytest.mark.parametrize("reduce", ["sum", "mean", "prod", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.int64], ids=lambda d: d.name)
def test_scatter_reduce(reduce, include_self, dtype):
    x, source = values(dtype, 4, 20), values(dtype, 7, 20, seed=2)
    index = np.random.default_rng(3).integers(0, 4, (7, 20))
    agree("scatter_reduce", x, index, source, dim=0, reduce=reduce, include_self=include_self)


def test_arrays_that_do_not_lie_in_order():
    x, y = values(dtypes.float32, 21, 6).T, values(dtypes.float32, 12, 42)[::2, ::-2]
    index = np.repeat(whole(3, 0, 3, 1), 2)[::2]
    agree("cat", x, y, dim=0)
    agree("stack", x, y, dim=0)
    agree("view_scatter", x, y[:2, :3], view=SLICE, parameters=MIDDLE)
    agree("roll", y, shifts=(3,), dims=(1,))
    agree("flip", y, dims=(1,))
    agree("tril", x, diagonal=0)
    agree("reshape", x, shape=(18, 7))
    for dim in (0, 1):
        agree("index_select", y, index, dim=dim)
        agree(
            "index_add",
            x,
            index,
            y[:4, :4] @ np.ones((4, 21), "f4") if dim == 0 else y[:, :4],
            dim=dim,
        )
        agree("cumsum", y, dim=dim)
        agree("argmax", y, dim=dim, keepdim=False)
        agree("argsort", y, dim=dim, descending=True)
    agree("argmax", x, dim=None, keepdim=False)
    agree("gather", x, np.broadcast_to(index[:, None], (4, 21)), dim=0)
    agree("scatter_add", y, np.broadcast_to(index[:, None], (4, 21)), x[:4], dim=0)


def test_arrays_without_dimensions():
    x = np.array(0.7, np.float32)
    for name in ("argmax", "argmin"):
        agree(name, x, dim=None, keepdim=False)
    for name in ("cumsum", "cumprod", "cummax_index", "logcumsumexp"):
        agree(name, x, dim=0)
    agree("argsort", x, dim=0, descending=False)
    agree("stack", x, x, dim=0)
    agree("index", np.arange(5.0), np.array(-2), positions=(0,))
    agree("searchsorted", np.arange(5.0), np.array(2.0), right=True)


def test_nan_and_infinity():
    nan, inf = np.nan, np.inf
    x = np.array([[1, nan, 3, nan], [-inf, -inf, -inf, -inf], [inf, 2, nan, inf]], np.float32)
    for name in ("argmax", "argmin"):
        for dim in (0, 1, None):
            agree(name, x, dim=dim, keepdim=False)
    for dim in (0, 1):
        agree("cummax_index", x, dim=dim)
        agree("cummin_index", x, dim=dim)
        agree("cumsum", x, dim=dim)
        for descending in (False, True):
            agree("argsort", x, dim=dim, descending=descending)
    for right in (False, True):
        agree("searchsorted", np.array([1, 2, inf, nan, nan], np.float32), x, right=right)


def test_equal_elements_stay_in_order():
    x = np.random.default_rng(0).integers(0, 4, (3, 301))
    for descending in (False, True):
        agree("argsort", x, dim=1, descending=descending)
    agree("argmax", x, dim=1, keepdim=False)


def test_negative_indices_count_from_the_end():
    x = values(dtypes.float32, 4, 5, 6)
    agree("index", x, whole([-1, 2], [0, -4]), positions=(0,))
    agree("index", x, whole(-1, 2), whole(0, -6), positions=(0, 2))
    agree("index_put", x, np.array(1.5, np.float32), whole(-1, 2), positions=(1,), accumulate=True)


@pytest.mark.parametrize(
    ("name", "error", "inputs", "parameters"),
    [
        ("index_select", IndexError, (np.ones((3, 4)), whole(0, 3)), {"dim": 0}),
        ("index_select", IndexError, (np.ones((0, 4)), whole(0)), {"dim": 0}),
        ("gather", RuntimeError, (np.ones(3), whole(-1, 0)), {"dim": 0}),
        ("index", IndexError, (np.ones((3, 40)), whole(0, -4)), {"positions": (0,)}),
        (
            "embedding_rows",
            IndexError,
            (np.ones((3, 4)), whole([1, 3])),
            {"padding_idx": -1, "by_frequency": False},
        ),
        ("scatter", RuntimeError, (np.ones(3), whole(3), np.ones(1)), {"dim": 0}),
        (
            "scatter_add",
            RuntimeError,
            (np.ones((2, 40)), whole([40]), np.ones((1, 1))),
            {"dim": 1},
        ),
        ("index_add", RuntimeError, (np.ones((3, 40)), whole(-1), np.ones((1, 40))), {"dim": 0}),
        ("index_copy", IndexError, (np.ones((3, 40)), whole(3), np.ones((1, 40))), {"dim": 0}),
        (
            "index_put",
            IndexError,
            (np.ones((3, 4)), np.ones(4), whole(9)),
            {"positions": (0,), "accumulate": True},
        ),
    ],
)
def test_an_index_out_of_range_is_refused_as_eager_refuses_it(name, error, inputs, parameters):
    primitive = PRIMITIVES[name]
    with pytest.raises(error):
        primitive.kernel(*inputs, **parameters)
    with pytest.raises(error):
        run(primitive, *inputs, **parameters)


def test_a_pull_is_computed_with_what_is_elementwise_around_it():
    x, index = values(dtypes.float32, 6, 40), whole(5, 0, 2)
    b = Builder()
    table = b.input(6, 40)
    chosen = graph_of(PRIMITIVES["index_select"], (x, index), {"dim": 0}).inputs[1]
    b.graph.inputs.append(chosen)
    rows = b("index_select", table, chosen, dim=0)
    b.graph.outputs = [b("sum", b("mul", rows, rows), dim=(1,), keepdim=False)]
    program = Program(b.graph, [x, index])
    (step,) = walk_steps(program.plan.steps)
    assert isinstance(step, Nest)
    (got,) = program(x, index)
    np.testing.assert_allclose(got, (x[index] ** 2).sum(1), 1e-5)


def test_what_a_pull_reads_is_finished_before():
    x = values(dtypes.float32, 40)
    b = Builder()
    given = b.input(40)
    doubled = b("plus", given, given)
    b.graph.outputs = [
        b("plus", b("tril", b("expand", doubled, shape=(3, 40)), diagonal=0), doubled)
    ]
    program = Program(b.graph, [x])
    np.testing.assert_array_equal(program(x)[0], np.tril(np.broadcast_to(2 * x, (3, 40))) + 2 * x)


def test_a_captured_tensor_that_is_read_elsewhere_is_not_overwritten_at_once():
    for name, parameters in (("roll", {"shifts": (1,), "dims": (0,)}), ("flip", {"dims": (0,)})):
        b = Builder()
        w = b.captured(40)
        array = b.graph.captured[0][1]._payload
        array[...] = np.arange(40)
        new = b("plus", b(name, w, **parameters), w)
        b.graph.updates = [(w, new)]
        expected = PRIMITIVES[name].kernel(array, **parameters) + array
        Program(b.graph, [])()
        np.testing.assert_array_equal(array, expected)


def test_a_captured_table_that_is_read_by_index_is_not_overwritten_at_once():
    b = Builder()
    w = b.captured(40)
    order = graph_of(PRIMITIVES["index_select"], (np.zeros(3), whole(0)), {"dim": 0}).inputs[1]
    array = b.graph.captured[0][1]._payload
    array[...] = np.arange(40)
    index = np.arange(40)[::-1].copy()
    order = type(order)(b.graph, type(order.meta)((40,), dtypes.int64))
    b.graph.inputs.append(order)
    b.graph.updates = [(w, b("plus", b("index_select", w, order, dim=0), w))]
    Program(b.graph, [index])(index)
    np.testing.assert_array_equal(array, np.full(40, 39))


def test_pieces_are_computed_where_they_shall_lie():
    x = values(dtypes.float32, 5, 20)
    b = Builder()
    given = b.input(5, 20)
    doubled, negative = b("plus", given, given), b("neg", given)
    joined = b("cat", doubled, negative, given, dim=1)
    total = b("plus", b.total(doubled), b.total(joined))
    b.graph.outputs = [joined, total, b("stack", doubled, given, dim=0)]
    program = Program(b.graph, [x])
    buffers = program.plan.buffers
    assert buffers[negative] is buffers[joined]
    assert buffers[doubled] is not buffers[joined]  # it lies in two places
    expected = np.concatenate([2 * x, -x, x], 1)
    got = program(x)
    np.testing.assert_array_equal(got[0], expected)
    np.testing.assert_allclose(got[1], (2 * x).sum() + expected.sum(), 1e-5)
    np.testing.assert_array_equal(got[2], np.stack([2 * x, x]))


def test_pieces_made_in_one_nest_need_no_copy():
    x = values(dtypes.float32, 5, 20)
    b = Builder()
    given = b.input(5, 20)
    b.graph.outputs = [b("stack", b("plus", given, given), b("neg", given), dim=0)]
    program = Program(b.graph, [x])
    assert list(program.emitted.kernels) == ["plus_neg_0"]
    np.testing.assert_array_equal(program(x)[0], np.stack([2 * x, -x]))


def test_a_reshaped_result_is_computed_where_the_caller_wants_it():
    x = values(dtypes.float32, 5, 20)
    b = Builder()
    given = b.input(5, 20)
    b.graph.outputs = [b("reshape", b("neg", given), shape=(100,))]
    program = Program(b.graph, [x])
    assert list(program.emitted.kernels) == ["neg_0"]
    np.testing.assert_array_equal(program(x)[0], -x.reshape(-1))


def test_what_reads_the_same_array_joins_a_nest_whose_reductions_keep_its_shape():
    x = values(dtypes.float32, 3, 1)
    b = Builder()
    given = b.input(3, 1)
    b.graph.outputs = [b("amax", given, dim=(1,), keepdim=True), b("neg", given)]
    program = Program(b.graph, [x])
    assert len(program.plan.steps) == 1
    np.testing.assert_array_equal(np.concatenate(program(x)), np.concatenate([x, -x]))
