"""Python numbers that a program counts: what they give, and where they raise, as in Python."""

import functools
import itertools
import math
import operator
from collections.abc import Callable
from typing import Any

import pytest

import kuai
from kuai.errors import CompileError

ONE = """acos acosh asin asinh atan atanh cbrt ceil cos cosh degrees erf erfc exp exp2 expm1 fabs
    floor isfinite isinf isnan lgamma log log10 log1p log2 modf radians sin sinh sqrt tan tanh
    trunc""".split()
TWO = "atan2 copysign fmod hypot isclose log pow remainder".split()
# exp2 and cbrt came with Python 3.11, the first supported.
VALUES = [0.5, 1.0, 1.5, 3.0, -0.75, -2.0, 0.0, -0.0, 1e-300, 1000.0, -1e300]
VALUES += [math.inf, -math.inf, math.nan]
WHOLE = [0, 1, 2, 3, 5, 12, 18, 20, 62, -1, -2, -4, -7, 1 << 40, (1 << 53) + 1, (1 << 62) + 1]


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    """What a call gives, or the class of what it raises."""
    try:
        return function(*args)
    except (ArithmeticError, ValueError) as error:
        return type(error)


def agree(got: Any, want: Any) -> bool:
    """Whether two outcomes are the same, up to the last places of floats."""
    if isinstance(want, tuple) and isinstance(got, tuple):
        return all(agree(x, y) for x, y in zip(got, want, strict=True))
    if type(want) is not type(got):
        return False
    if isinstance(want, float) and isinstance(got, float):
        if math.isnan(want) or want == 0:
            same = math.isnan(got) if math.isnan(want) else got == 0
            return same and math.copysign(1, got) == math.copysign(1, want)
        return math.isclose(got, want, rel_tol=1e-13)
    return bool(got == want)


def of_floats(function: Any) -> Callable[..., Any]:
    def compute(*tensors: Any) -> Any:
        return function(*[float(t) for t in tensors])

    return compute


def of_ints(function: Any) -> Callable[..., Any]:
    def compute(*tensors: Any) -> Any:
        return function(*[int(t) for t in tensors])

    return compute


def floats(*values: float) -> list[Any]:
    return [kuai.tensor(v, dtype=kuai.float64) for v in values]


@pytest.mark.parametrize("name", ONE)
def test_functions_of_a_float(name: str) -> None:
    function = of_floats(getattr(math, name))
    compiled = kuai.compile(function)
    for x in VALUES:
        got, want = outcome(compiled, *floats(x)), outcome(function, *floats(x))
        if isinstance(want, int) and abs(want) >= 1 << 63:
            want = OverflowError
        if not math.isnan(x):  # a NaN's sign is nobody's promise
            assert agree(got, want), (x, got, want)


@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_floats(name: str) -> None:
    function = of_floats(getattr(math, name))
    compiled = kuai.compile(function)
    for pair in itertools.product(VALUES, VALUES):
        got, want = outcome(compiled, *floats(*pair)), outcome(function, *floats(*pair))
        both_nan = got != got and want != want
        assert both_nan or agree(got, want), (pair, got, want)


def test_functions_of_several_floats() -> None:
    def several(x: Any, y: Any, z: Any) -> Any:
        a, b, c = float(x), float(y), float(z)
        return (
            math.hypot(a, b, c),
            math.dist((a, b), (c, 2.0)),
            math.prod([a, b, 2], start=c),
            math.isclose(a, a + c / 100, rel_tol=0.1),
            math.isclose(a, b, abs_tol=10.0),
        )

    compiled = kuai.compile(several)
    for values in [(0.5, -2.0, 3.0), (3.0, 4.0, 12.0), (1e-8, 1.0, 1.0)]:
        assert agree(compiled(*floats(*values)), several(*floats(*values)))


@pytest.mark.parametrize("name", ["isqrt", "factorial"])
def test_functions_of_an_int(name: str) -> None:
    function = of_ints(getattr(math, name))
    compiled = kuai.compile(function)
    for n in WHOLE:
        want = outcome(function, kuai.tensor(n)) if name != "factorial" or n <= 20 else None
        if want is not None:
            assert agree(outcome(compiled, kuai.tensor(n)), want), n


@pytest.mark.parametrize("name", ["gcd", "lcm"])
def test_functions_of_ints(name: str) -> None:
    function = of_ints(getattr(math, name))
    compiled = kuai.compile(function)
    for pair in itertools.product(WHOLE[:-2], WHOLE[:-2]):
        want = outcome(function, *map(kuai.tensor, pair))
        if abs(want) < 1 << 62:
            assert agree(outcome(compiled, *map(kuai.tensor, pair)), want), pair


def test_integers_of_floats() -> None:
    for function in (int, round, math.floor, math.ceil, math.trunc):
        compiled = kuai.compile(of_floats(function))
        for x in [0.5, -0.5, 1.5, 2.5, -2.5, 1e15, math.inf, -math.inf, math.nan]:
            want = outcome(of_floats(function), *floats(x))
            assert agree(outcome(compiled, *floats(x)), want), (function, x)
        assert outcome(compiled, *floats(1e19)) is OverflowError


OPERATORS = [operator.add, operator.sub, operator.mul, operator.lshift, operator.rshift]
OPERATORS += [operator.floordiv, operator.mod, operator.pow]


def test_the_operators_as_functions() -> None:
    def apply(t: Any) -> Any:
        x, y, values = int(t[0]), float(t[1]), [t, t * 2]
        product = functools.reduce(operator.mul, values)
        operator.setitem(values, 0, t * 3)
        return (
            *(f(x, y) for f in (operator.lt, operator.ge, operator.truediv, operator.ne)),
            *(f(x) for f in (operator.neg, operator.invert, operator.abs, operator.not_)),
            product,
            operator.getitem(values, x % 2),
            operator.matmul(t, t),
        )

    t = kuai.tensor([3.0, 0.5])
    assert str(kuai.compile(apply)(t)) == str(apply(t))


@pytest.mark.parametrize("function", OPERATORS)
def test_ints_do_not_leave_64_bits_unnoticed(function: Any) -> None:
    compiled = kuai.compile(of_ints(function))
    with_known = {
        y: kuai.compile(lambda t, y=y: function(int(t), y)) for y in (0, 1, 3, 62, -1, 1 << 40)
    }
    for x, y in itertools.product(WHOLE, WHOLE):
        if function is operator.pow and (y < 0 or y > 100):
            continue
        if function is operator.lshift and y > 100:
            continue
        want = outcome(function, x, y)
        if isinstance(want, int) and abs(want) >= 1 << 63:
            want = OverflowError
        for form in (compiled, with_known.get(y)):
            args = [x, y] if form is compiled else [x]
            if form is not None:
                assert agree(outcome(form, *map(kuai.tensor, args)), want), (x, y)


def test_powers_of_floats() -> None:
    compiled = kuai.compile(of_floats(operator.pow))
    exponents = (0.0, 1.0, 2.0, 3.0, 0.5, -1.0, -0.5, -2.0)
    known = {y: kuai.compile(lambda t, y=y: float(t) ** y) for y in exponents}
    for x, y in itertools.product(VALUES, [*exponents, math.inf, -math.inf, math.nan]):
        want = outcome(operator.pow, x, y)
        if isinstance(want, complex):
            want = ValueError
        for form in (compiled, known.get(y)):
            args = floats(x, y) if form is compiled else floats(x)
            if form is not None:
                got = outcome(form, *args)
                assert agree(got, want) or (got != got and want != want), (x, y, got, want)


def test_powers_modulo() -> None:
    def power(t: Any) -> Any:
        return pow(int(t), 65, 1000003), pow(int(t), 0, 7)

    assert kuai.compile(power)(kuai.tensor(123456)) == power(123456)


def test_an_int_that_is_too_great_to_meet_one() -> None:
    def sum_(t: Any) -> Any:
        return int(t) + (1 << 70)

    with pytest.raises(CompileError, match="64 bits"):
        kuai.compile(sum_)(kuai.tensor(1))


def test_the_numbers_of_fibonacci_end_where_64_bits_do() -> None:
    @kuai.compile
    def fibonacci(n: Any) -> Any:
        a, b = 0, 1
        for _ in range(n):
            a, b = b, a + b
        return a

    assert fibonacci(kuai.tensor(90)) == 2880067194370816120
    with pytest.raises(OverflowError, match="64 bits"):
        fibonacci(kuai.tensor(100))


def test_handlers_of_other_errors_are_no_obstacle() -> None:
    @kuai.compile
    def root(t: Any) -> Any:
        try:
            return math.sqrt(t) + {1: 2}[1]
        except KeyError:
            return 0.0

    assert root(kuai.tensor(4.0)) == 4.0
    with pytest.raises(ValueError, match="math domain"):
        root(kuai.tensor(-4.0))

    @kuai.compile
    def handled(t: Any) -> Any:
        try:
            return math.sqrt(t)
        except (KeyError, ValueError):
            return 0.0

    with pytest.raises(CompileError, match="inside a `try`"):
        handled(kuai.tensor(4.0))
