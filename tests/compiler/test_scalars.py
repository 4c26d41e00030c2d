"""Every primitive that says how it is compiled computes what its kernel computes."""

import math

import numpy as np
import pytest

import kuai.nn.functional  # noqa: F401 - all primitives are defined
from kuai import dtypes
from kuai.compiler.emit.builder import Module
from kuai.compiler.emit.scalars import Emit
from kuai.compiler.native import jit
from kuai.core.primitive import PRIMITIVES, Primitive
from kuai.ops.pointwise import Elementwise
from tests.compiler.emitting import program, run

FLOATS = [d for d in dtypes.ALL if d.is_floating_point]
INTEGERS = [d for d in dtypes.ALL if d.category == dtypes.INTEGER]

# Arithmetic: the same bits as the kernel, but for the sign of a zero.
EXACT = set(
    """abs bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor
    cast ceil clamp clamp_above clamp_below copysign eq floor floor_divide fmax fmin fmod gate ge gt
    heaviside isfinite isinf isnan isneginf isposinf le logical_and logical_not logical_or
    logical_xor lt masked_fill maximum minimum minus mul ne neg plus quotient reciprocal relu
    remainder round rsqrt select_where sign signbit sqrt square trunc trunc_divide angle""".split()
)
# Functions: units in the last place by which a result may be off; those of the mathematical
# functions themselves are measured in test_math.py.
FUNCTIONS = dict.fromkeys(
    """abs_power acos acosh asin asinh atan atan2 atanh cos cosh erf erfinv exp exp2 expm1
    hypot log log10 log1p log2 pow sigmoid sin sinh tan tanh""".split(),
    3.0,
)
FUNCTIONS |= {"erfc": 6.0, "ndtr": 6.0}
# Composed of several of those: each step rounds, and what cancels leaves differences.
COMPOSED = {"bernoulli_nll", "digamma", "entr", "lgamma", "logaddexp", "logaddexp2"}
COMPOSED |= {"logit", "sinc"}
# The compiler's own, which gives what it is given: tests/compiler/test_failures.py.
CHECKS = {"check_each"}

INPUTS = {"select_where": ("bool", "x", "x"), "masked_fill": ("x", "bool", "x")}
PARAMETERS = {"abs_power": [{"exponent": 2.5}, {"exponent": 2}, {"exponent": -1}]}
PARAMETERS["cast"] = [{"dtype": d} for d in dtypes.ALL]
DIVISIONS = ("floor_divide", "trunc_divide", "remainder", "fmod")

LOWERED = sorted(name for name, p in PRIMITIVES.items() if p.lower is not None)


def values(d: dtypes.dtype, rng: np.random.Generator) -> np.ndarray:
    """Special values of a type, and random ones."""
    if d is dtypes.bool_:
        return np.array([False, True])
    if not d.is_floating_point:
        info = dtypes.iinfo(d)
        special = [0, 1, 2, 3, 5, 7, 8, 31, 63, 64, info.max, info.max - 1, info.min, info.min + 1]
        if d.is_signed:
            special += [-1, -2, -3, -8]
        drawn = rng.integers(info.min, info.max, 20, dtype=d.numpy, endpoint=True)
        return np.concatenate([np.array(special, d.numpy), drawn])
    limits = dtypes.finfo(d)
    special = [0.0, 1.0, 0.5, 1.5, 2.0, 2.5, 3.0, 10.0, limits.max, limits.tiny, limits.eps]
    special += [limits.tiny * limits.eps, limits.tiny / 4, math.inf, 100.0, 300.0, 3e9, 1e19]
    both = [*special, *[-x for x in special], math.nan]
    with np.errstate(over="ignore"):
        return np.concatenate([np.array(both), rng.standard_normal(20) * 3]).astype(d.numpy)


def operands(name: str, d: dtypes.dtype, seed: int = 0) -> list[np.ndarray]:
    """All combinations of values for the inputs of a primitive."""
    rng = np.random.default_rng(seed)
    kinds = INPUTS.get(name, ("x",) * len(PRIMITIVES[name].inputs))
    columns = [values(dtypes.bool_ if k == "bool" else d, rng) for k in kinds]
    if len(columns) == 3:  # not all combinations of three
        n = 4000
        return [c[rng.integers(0, len(c), n)] for c in columns]
    if name in DIVISIONS and not d.is_floating_point:
        columns[1] = columns[1][columns[1] != 0]
    if name == "bernoulli_nll":  # of probabilities
        columns = [np.linspace(0, 1, 40).astype(d.numpy)] * 2
    grid = np.meshgrid(*columns, indexing="ij")
    return [g.ravel() for g in grid]


def lower(primitive: Primitive, parameters: dict):
    """The primitive's `lower` as a function of scalars."""
    return lambda emit, *x: primitive.lower(emit, *x, **parameters)


def cases():
    """Each primitive with `lower`, with each type that it takes and each set of parameters."""
    for name in LOWERED:
        p = PRIMITIVES[name]
        for d in dtypes.ALL:
            if getattr(p, "floating", False) and not d.is_floating_point:
                continue
            if name.startswith("bitwise") and d.is_floating_point:
                continue
            if name == "bernoulli_nll" and not d.is_floating_point:
                continue
            for parameters in PARAMETERS.get(name, [{}]):
                yield pytest.param(
                    name, d, parameters, id="-".join(map(str, case_name(name, d, parameters)))
                )


def case_name(name, d, parameters):
    return [name, d.name, *[getattr(v, "name", v) for v in parameters.values()]]


def kernel(name: str, arrays: list[np.ndarray], parameters: dict) -> np.ndarray | None:
    """What eager computes; None where it refuses the type."""
    with np.errstate(all="ignore"):
        try:
            return np.asarray(PRIMITIVES[name].kernel(*arrays, **parameters))
        except (NotImplementedError, RuntimeError, TypeError):
            return None


def assert_same(got: np.ndarray, expected: np.ndarray) -> None:
    """All elements are equal; NumPy's own check does not know bfloat16's NaN."""
    if expected.dtype.kind in "fV":
        got, expected = got.astype(np.float64), expected.astype(np.float64)
    np.testing.assert_array_equal(got, expected)


def ulps_apart(got: np.ndarray, expected: np.ndarray, d: dtypes.dtype) -> np.ndarray:
    """The distance from float64 numbers in units of the last place of a type."""
    limits = dtypes.finfo(d)
    with np.errstate(all="ignore"):
        rounded = expected.astype(d.numpy).astype(np.float64)
        wide = got.astype(np.float64)
        exponent = np.frexp(np.clip(np.abs(rounded), limits.tiny, limits.max))[1]
        unit = np.ldexp(limits.eps, exponent - 1)
        unit = np.maximum(unit, limits.tiny * limits.eps)
        apart = np.abs(wide - expected) / unit
    same = (wide == rounded) | (np.isnan(wide) & np.isnan(rounded))
    return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))


@pytest.mark.parametrize(("name", "d", "parameters"), list(cases()))
def test_the_compiled_form_computes_what_the_kernel_computes(name, d, parameters):
    arrays = operands(name, d)
    expected = kernel(name, arrays, parameters)
    if expected is None:
        return
    p = PRIMITIVES[name]
    result = dtypes.from_numpy_dtype(expected.dtype)
    for lanes in (16, 0):
        got = run(lower(p, parameters), arrays, result, lanes)
        if name in EXACT or not result.is_floating_point:
            assert_same(got, expected)
        elif name in COMPOSED:
            slack = 8 * dtypes.finfo(d).eps
            both = [x.astype(np.float64) for x in (got, expected)]
            np.testing.assert_allclose(*both, rtol=slack, atol=slack)
        else:
            if d is not dtypes.float64:
                expected = kernel(name, [x.astype(np.float64) for x in arrays], parameters)
            apart = ulps_apart(got, expected, d)
            worst = int(apart.argmax())
            given = [x[worst] for x in arrays]
            assert apart[worst] <= FUNCTIONS[name], (given, got[worst], expected[worst])


def test_each_lowered_primitive_is_in_one_of_the_tables():
    assert EXACT.isdisjoint(FUNCTIONS)
    missing = set(LOWERED) - EXACT - set(FUNCTIONS) - COMPOSED - CHECKS
    assert not missing


def test_elementwise_primitives_without_a_compiled_form_are_the_rare_ones():
    rare = "gcd i0 i0e i1 i1e igamma igammac lcm log_ndtr ndtri nextafter polygamma zeta erfcx"
    elementwise = {n for n, p in PRIMITIVES.items() if isinstance(p, Elementwise)}
    polynomials = {name for name in PRIMITIVES if "_polynomial_" in name}
    assert elementwise - set(LOWERED) == set(rare.split()) | polynomials


@pytest.mark.parametrize("name", ["sum", "prod", "amax", "amin", "any", "all"])
@pytest.mark.parametrize("d", dtypes.ALL, ids=lambda d: d.name)
def test_a_reduction_combines_to_what_its_kernel_gives(name, d):
    p = PRIMITIVES[name]
    if name in ("sum", "prod") and not d.is_floating_point:
        d = dtypes.int64  # as which other integers are summed
    x, y = np.meshgrid(*[values(d, np.random.default_rng(k)) for k in range(2)])
    with np.errstate(all="ignore"):
        expected = p.kernel(np.stack([x.ravel(), y.ravel()]), dim=(0,), keepdim=False)
    result = dtypes.from_numpy_dtype(expected.dtype)

    def combined(emit, a, b):
        start = emit.const(p.identity(result), result)
        first = p.combine(emit, start, emit.cast(a, result))
        return p.combine(emit, first, emit.cast(b, result))

    got = run(combined, [x.ravel(), y.ravel()], result, 16)
    assert_same(got, expected)


@pytest.mark.parametrize("d", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["plus", "mul", "quotient", "eq", "relu", "maximum", "pow"])
def test_a_python_number_is_an_operand_in_the_type_of_the_other(name, d):
    p = PRIMITIVES[name]
    x = values(d, np.random.default_rng(1))
    if name == "pow":  # NumPy's square root of minus infinity depends on the type
        x = x[np.isfinite(x)]
    for number in (0.1, 2, -1, 0.5, 3):
        given = [x, number][: len(p.inputs)]
        exact = [x, np.asarray(number, d.numpy)][: len(p.inputs)]
        expected = kernel(name, exact, {})
        got = run(lower(p, {}), given, dtypes.from_numpy_dtype(expected.dtype), 8)
        if name == "pow":
            assert ulps_apart(got, expected.astype(np.float64), d).max() <= 3
        else:
            assert_same(got, expected)


@pytest.mark.parametrize("d", INTEGERS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", DIVISIONS)
def test_division_of_integers_by_zero_is_checked_and_does_no_harm(name, d):
    f = Module().function("f", "void", [])
    emit = Emit(f, 4, d)
    PRIMITIVES[name].lower(emit, emit.const(1, d), emit.const(0, d))
    [check] = emit.checks
    assert check.bad.type == "<4 x i1>"
    assert check.exception is RuntimeError
    assert check.message == "ZeroDivisionError"
    zero = np.zeros(5, d.numpy)
    run(lower(PRIMITIVES[name], {}), [zero, zero], d, 4)


def strided(d: dtypes.dtype, lanes: int, stride: int, masked: bool) -> str:
    """A module with `copy(from, to)`: one vector, `stride` elements apart on both sides."""
    module = Module()
    f = module.function("copy", "void", [("ptr", "a"), ("ptr", "b")], internal=False)
    emit = Emit(f, lanes)
    mask = emit.tail(f.const(lanes - 1, "i64")) if masked else None
    value = emit.load(f.arguments[0], d, stride, mask=mask)
    emit.store(value, f.arguments[1], stride or 1, mask=mask)
    f.ret()
    return str(module)


@pytest.mark.parametrize("d", dtypes.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("stride", [0, 1, 3, -2, -1])
@pytest.mark.parametrize("masked", [False, True])
def test_memory_is_read_and_written_at_strides(d, stride, masked):
    import ctypes

    if stride == 0 and masked:
        return
    lanes = 8
    library = jit.load(jit.assemble(strided(d, lanes, stride, masked), verify=True), ["copy"])
    copy = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(library["copy"])
    source = values(d, np.random.default_rng(2))
    source = np.resize(source, 3 * lanes)
    target = np.zeros_like(source)
    start = (lanes - 1) * -stride if stride < 0 else 0
    offset = start * source.itemsize
    copy(source.ctypes.data + offset, target.ctypes.data + offset)
    places = [start + stride * i for i in range(lanes - masked)]
    expected = np.zeros_like(source)
    expected[[start + (stride or 1) * i for i in range(lanes - masked)]] = source[places]
    assert_same(target, expected)


def test_products_and_sums_of_16_bits_round_in_between():
    text = program(
        lambda emit, x: emit.add(emit.mul(x, x), x),
        [np.ones(1, np.float16)],
        dtypes.float16,
        8,
        "f",
    )
    assert text.count("fptrunc") >= 4
    x = np.linspace(0, 3, 1000).astype(np.float16)
    got = run(lambda emit, x: emit.add(emit.mul(x, x), x), [x], dtypes.float16, 8)
    np.testing.assert_array_equal(got, x * x + x)
