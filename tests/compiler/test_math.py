"""The functions of analysis, compiled: how many units in the last place they are off."""

import math

import mpmath
import numpy as np
import pytest

from kuai import dtypes
from kuai.compiler.emit.math import FUNCTIONS
from tests.compiler.emitting import run

# The greatest error in units of the last place, of floats and of doubles.
BOUNDS = {
    "exp": (1.1, 1.1),
    "exp2": (1.3, 1.3),
    "expm1": (1.5, 1.6),
    "log": (0.9, 0.9),
    "log2": (0.9, 0.9),
    "log10": (0.9, 0.9),
    "log1p": (1.5, 1.3),
    "sin": (1.5, 1.5),
    "cos": (1.5, 1.5),
    "tan": (0.51, 2.2),
    "asin": (0.51, 1.6),
    "acos": (0.51, 1.2),
    "atan": (0.51, 1.6),
    "atan2": (0.51, 1.8),
    "sinh": (0.51, 1.6),
    "cosh": (0.51, 1.4),
    "tanh": (1.4, 1.4),
    "asinh": (0.51, 1.7),
    "acosh": (0.51, 2.5),
    "atanh": (0.51, 1.7),
    "sigmoid": (2.5, 2.5),
    "erf": (1.2, 1.2),
    "erfc": (0.51, 5.5),
    "erfinv": (0.51, 3.0),
    "pow": (0.51, 1.3),
    "hypot": (0.51, 0.6),
}
# Those near whose zeros digits are lost: relative to 1, where the value is less.
ROUGH = {"lgamma": (2.0, 8.0), "digamma": (2.0, 8.0), "logaddexp": (1.0, 2.5)}
ROUGH["logaddexp2"] = (1.0, 2.5)
TWO = {"atan2", "pow", "hypot", "logaddexp", "logaddexp2"}


def reference(name: str):
    """The function, on mpmath's numbers."""
    m = mpmath.mp
    known = {
        "sigmoid": lambda x: 1 / (1 + m.exp(-x)),
        "log1p": lambda x: mpmath.log1p(x),
        "exp2": lambda x: m.mpf(2) ** x,
        "log2": lambda x: m.log(x) / m.log(2),
        "pow": lambda x, y: m.mpf(1) if y == 0 else x**y,
        "logaddexp": lambda x, y: m.log(m.exp(x) + m.exp(y)),
        "logaddexp2": lambda x, y: m.log(m.mpf(2) ** x + m.mpf(2) ** y) / m.log(2),
        "lgamma": lambda x: m.log(abs(m.gamma(x))) if abs(x) < 100 else m.re(m.loggamma(x)),
    }
    return known.get(name) or getattr(m, name)


def units(got: np.ndarray, exact: list, d: dtypes.dtype, floor: float = 0.0) -> np.ndarray:
    """The distances in units of the last place of the exact value, or of `floor`."""
    limits = dtypes.finfo(d)
    found = []
    for g, e in zip(got.tolist(), exact, strict=True):
        rounded = 0.0 if abs(e) < mpmath.mpf(2) ** -1100 else float(d.numpy.type(float(e)))
        if g == rounded or (math.isnan(g) and mpmath.isnan(e)):
            found.append(0.0)
            continue
        if math.isnan(g) or math.isinf(g):
            found.append(math.inf)
            continue
        size = max(abs(e), floor, limits.tiny)
        unit = mpmath.ldexp(limits.eps, int(mpmath.floor(mpmath.log(size, 2))))
        found.append(float(abs(g - e) / unit))
    return np.array(found)


DOMAINS = {  # beside all exponents: where the function is looked at closely
    "log": (0, 3),
    "log2": (0, 3),
    "log10": (0, 3),
    "log1p": (-1, 3),
    "asin": (-1, 1),
    "acos": (-1, 1),
    "atanh": (-1, 1),
    "erfinv": (-1, 1),
    "acosh": (1, 3),
    "exp": (-100, 90),
    "exp2": (-150, 128),
    "sinh": (-90, 90),
    "cosh": (-90, 90),
    "sin": (-50, 50),
    "cos": (-50, 50),
    "tan": (-50, 50),
    "erfc": (-3, 10),
    "lgamma": (-5, 40),
    "digamma": (-5, 40),
}
WHOLE_LINE = {"lgamma": 150.0, "digamma": 1e10, "erfinv": 1.0, "erfc": 1e30, "pow": 1e30}


def samples(name: str, d: dtypes.dtype, count: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of all sizes, and closer ones where the function's digits change most."""
    low, high = DOMAINS.get(name, (-10, 10))
    limits = dtypes.finfo(d)
    top = min(WHOLE_LINE.get(name, limits.max), limits.max)
    exponents = rng.uniform(math.log2(limits.tiny * limits.eps), math.log2(top), count // 2)
    sizes = np.exp2(exponents) * rng.choice([-1.0, 1.0], count // 2)
    if name in ("lgamma", "digamma"):
        sizes = np.abs(sizes)
    return np.concatenate([rng.uniform(low, high, count - count // 2), sizes]).astype(d.numpy)


def compiled(name: str, d: dtypes.dtype, lanes: int, arrays: list) -> np.ndarray:
    return run(lambda emit, *x: getattr(emit, name)(*x), arrays, d, lanes)


def exact_values(name: str, arrays: list) -> list:
    """The function's values to 40 digits; NaN where it has no real one."""
    function, values = reference(name), []
    with mpmath.workdps(40):
        for x in zip(*[a.astype(np.float64).tolist() for a in arrays], strict=True):
            try:
                value = function(*[mpmath.mpf(v) for v in x])
            except (ValueError, ZeroDivisionError):
                value = mpmath.nan
            values.append(value if isinstance(value, mpmath.mpf) else mpmath.nan)
    return values


@pytest.mark.parametrize("d", [dtypes.float32, dtypes.float64], ids=lambda d: d.name)
@pytest.mark.parametrize("name", sorted(BOUNDS | ROUGH))
def test_errors_stay_within_their_bounds(name, d):
    rng = np.random.default_rng(len(name))
    arrays = [samples(name, d, 800, rng) for _ in range(2 if name in TWO else 1)]
    if name == "pow":
        arrays[1] = rng.uniform(-30, 30, 800).astype(d.numpy)
    got = compiled(name, d, 16 if d is dtypes.float32 else 8, arrays)
    exact = exact_values(name, arrays)
    bound = (BOUNDS | ROUGH)[name][d is dtypes.float64]
    with np.errstate(over="ignore"):
        apart = units(got, exact, d, 1.0 if name in ROUGH else 0.0)
    worst = int(apart.argmax())
    assert apart[worst] <= bound, ([a[worst] for a in arrays], got[worst], exact[worst])


IN_NUMPY = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh"}
IN_NUMPY |= {"acosh": "arccosh", "atanh": "arctanh", "pow": "power", "atan2": "arctan2"}


def in_doubles(name: str):
    """The function of doubles, by NumPy or the C library."""
    if name == "sigmoid":
        return lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x)))
    if name in ("erf", "erfc"):
        return np.vectorize(getattr(math, name), otypes=[np.float64])
    return getattr(np, IN_NUMPY.get(name, name))


@pytest.mark.parametrize("name", sorted(set(BOUNDS) - {"erfinv"}))
def test_floats_of_every_exponent_stay_within_their_bounds(name):
    rng = np.random.default_rng(7)
    every = np.arange(0, 1 << 32, 50021, dtype=np.uint64).astype(np.uint32).view(np.float32)
    low, high = DOMAINS.get(name, (-10, 10))
    x = np.concatenate([every, np.linspace(low, high, 50000, dtype=np.float32)])
    arrays = [x, rng.permutation(x)] if name in TWO else [x]
    with np.errstate(all="ignore"):
        exact = in_doubles(name)(*[a.astype(np.float64) for a in arrays])
        rounded = exact.astype(np.float32)
        got = compiled(name, dtypes.float32, 16, arrays)
        unit = np.spacing(np.minimum(np.abs(rounded), np.finfo(np.float32).max)).astype(np.float64)
        apart = np.abs(got.astype(np.float64) - exact) / unit
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    apart = np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))
    worst = int(apart.argmax())
    assert apart[worst] <= BOUNDS[name][0], ([a[worst] for a in arrays], got[worst], exact[worst])


def special(d: dtypes.dtype) -> np.ndarray:
    limits = dtypes.finfo(d)
    least = limits.tiny * limits.eps
    positive = [0.0, least, limits.tiny / 3, limits.tiny, 0.5, 1.0, 1.5, 2.0, 3.0]
    positive += [1e3, limits.max, math.inf]
    return np.array([*positive, *[-x for x in positive], math.nan], d.numpy)


@pytest.mark.parametrize("d", [dtypes.float32, dtypes.float64], ids=lambda d: d.name)
@pytest.mark.parametrize("name", sorted((set(BOUNDS) | set(ROUGH)) - {"digamma", "lgamma"}))
def test_zeros_infinities_and_nan_meet_the_values_of_numpy(name, d):
    x = special(d)
    arrays = [g.ravel() for g in np.meshgrid(x, x)] if name in TWO else [x]
    got = compiled(name, d, 8, arrays)
    with np.errstate(all="ignore"):
        if name == "erfinv":
            expected = np.where(np.abs(x) < 1, got, np.where(np.abs(x) == 1, x * np.inf, np.nan))
        else:
            expected = in_doubles(name)(*[a.astype(np.float64) for a in arrays]).astype(d.numpy)
    np.testing.assert_allclose(got, expected, rtol=8 * dtypes.finfo(d).eps)
    if name != "acosh":  # (of 1, the sign of 0 means nothing)
        zero = (expected == 0) & ~np.isnan(got)
        np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(expected[zero]))


def test_gamma_functions_have_their_poles():
    x = np.array([0.0, -0.0, -1.0, -2.0, math.inf, -math.inf, math.nan, 1.0, 2.0])
    inf, nan = math.inf, math.nan
    got = compiled("lgamma", dtypes.float64, 4, [x])
    np.testing.assert_array_equal(got, [inf, inf, inf, inf, inf, inf, nan, 0, 0])
    got = compiled("digamma", dtypes.float64, 4, [x])
    expected = [-inf, inf, nan, nan, inf, nan, nan, -0.5772156649015329, 0.42278433509846714]
    np.testing.assert_allclose(got, expected, rtol=1e-15)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_number_of_lanes_changes_nothing(name):
    rng = np.random.default_rng(3)
    for d in (dtypes.float32, dtypes.float64):
        arrays = [samples(name, d, 101, rng) for _ in range(2 if name in TWO else 1)]
        few, many, one = (compiled(name, d, lanes, arrays) for lanes in (4, 16, 0))
        np.testing.assert_array_equal(few, many)
        if (name, d) == ("pow", dtypes.float64):  # C's own computes one alone
            np.testing.assert_array_max_ulp(one, many, 2)
        else:
            np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("name", ["exp", "exp2", "sigmoid", "sinh", "pow"])
def test_without_an_instruction_for_powers_of_two_the_values_are_the_same(name, monkeypatch):
    rng = np.random.default_rng(4)
    for d in (dtypes.float32, dtypes.float64):
        arrays = [samples(name, d, 500, rng) for _ in range(2 if name in TWO else 1)]
        usual = compiled(name, d, 8, arrays)
        with monkeypatch.context() as patch:
            patch.setattr(
                "kuai.compiler.emit.math.scale.has_scale_instruction", lambda lanes, double: False
            )
            np.testing.assert_array_equal(compiled(name, d, 8, arrays), usual)


def test_functions_of_this_module_are_all_measured():
    assert set(FUNCTIONS) == set(BOUNDS) | set(ROUGH)
