"""Finds the coefficients of `kuai/compiler/emit/math`: best polynomials, by Remez's exchange.

    python tools/fit_functions.py            # every fit
    python tools/fit_functions.py log        # those whose name contains `log`

Each fit approximates a function on an interval so that the greatest relative error of the whole
(`weight` says relative to what) is least; what is printed is the error after the coefficients
were rounded to the precision in which they are used. Needs mpmath.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np

mp.mp.dps = 50
Real = Any


class Fit(NamedTuple):
    """One approximation: `function(x) ~ sum of c_k x**k`, error divided by `weight(x)`."""

    name: str
    function: Callable[[Real], Real]
    low: Real
    high: Real
    degree: int
    weight: Callable[[Real], Real]
    single: bool


def chebyshev_points(low: Real, high: Real, count: int) -> list[Real]:
    """Points that lie denser towards the ends."""
    middle, half = (low + high) / 2, (high - low) / 2
    return [middle - half * mp.cos(mp.pi * i / (count - 1)) for i in range(count)]


def remez(
    xs: Sequence[Real], ys: Sequence[Real], ws: Sequence[Real], powers: Sequence[int]
) -> tuple[list[Real], Real]:
    """Coefficients with the least greatest `|y - p(x)| / w` on the grid, and that error."""
    n = len(powers)
    step = (len(xs) - 1) / n
    chosen = [round(i * step) for i in range(n + 1)]
    for _ in range(30):
        matrix = mp.matrix(n + 1, n + 1)
        right = mp.matrix(n + 1, 1)
        for row, i in enumerate(chosen):
            for column, power in enumerate(powers):
                matrix[row, column] = xs[i] ** power
            matrix[row, n] = ws[i] * (-1) ** row
            right[row] = ys[i]
        solution = mp.lu_solve(matrix, right)
        coefficients = list(solution[:n])
        errors = [
            (y - sum(c * x**p for c, p in zip(coefficients, powers, strict=True))) / w
            for x, y, w in zip(xs, ys, ws, strict=True)
        ]
        extremes = _alternating(errors, n + 1)
        if extremes is None or extremes == chosen:
            break
        chosen = extremes
    return coefficients, max(map(abs, errors))


def _alternating(errors: Sequence[Real], count: int) -> list[int] | None:
    """The indices of extremes of alternating sign: the greatest of each run of one sign."""
    found: list[int] = []
    for i, e in enumerate(errors):
        if found and (e > 0) == (errors[found[-1]] > 0):
            if abs(e) > abs(errors[found[-1]]):
                found[-1] = i
        else:
            found.append(i)
    while len(found) > count:
        sizes = [abs(errors[i]) for i in found]
        least = sizes.index(min(sizes))
        if len(found) == count + 1 or least in (0, len(found) - 1):
            del found[0 if sizes[0] < sizes[-1] else -1]
        else:  # its two neighbours are of one sign: the smaller goes with it
            other = least - 1 if sizes[least - 1] < sizes[least + 1] else least + 1
            for i in sorted((least, other), reverse=True):
                del found[i]
    return found if len(found) == count else None


def rounded(value: Real, single: bool) -> Real:
    """The nearest float or double."""
    return mp.mpf(float(np.float32(float(value)))) if single else mp.mpf(float(value))


def fit(f: Fit) -> tuple[list[Real], Real]:
    """The rounded coefficients, lowest first, and the relative error of the fit."""
    xs = chebyshev_points(mp.mpf(f.low), mp.mpf(f.high), 40 * (f.degree + 2))
    xs = [x for x in xs if x != 0]
    ys = [f.function(x) for x in xs]
    ws = [f.weight(x) for x in xs]
    coefficients, _ = remez(xs, ys, ws, range(f.degree + 1))
    done = [rounded(c, f.single) for c in coefficients]
    errors = [
        abs(y - mp.polyval(done[::-1], x)) / abs(w) for x, y, w in zip(xs, ys, ws, strict=True)
    ]
    return done, max(errors)


def both(name: str, degrees: tuple[int | None, int | None], *rest: Any) -> list[Fit]:
    """The fits of one function for float and for double."""
    function, low, high, weight = rest
    return [
        Fit(f"{name} {kind}", function, low, high, degree, weight, kind == "float")
        for kind, degree in zip(("float", "double"), degrees, strict=True)
        if degree is not None
    ]


def atanh_rest(z: Real) -> Real:
    """`log((1 + s) / (1 - s)) = 2 s + s z R(z)` with `z = s²`."""
    s = mp.sqrt(z)
    return (mp.log((1 + s) / (1 - s)) / s - 2) / z


def power_rest(z: Real) -> Real:
    """`log((1 + s) / (1 - s)) = 2 s (1 + z / 3 + z**2 R(z))` with `z = s²`."""
    s = mp.sqrt(z)
    return (mp.atanh(s) / s - 1 - z / 3) / z**2


def asin_rest(z: Real) -> Real:
    """`asin(s) = s + s z R(z)` with `z = s²`."""
    s = mp.sqrt(z)
    return (mp.asin(s) / s - 1) / z


HALF_LN2 = mp.log(2) / 2 * mp.mpf("1.001")
ROOT = mp.sqrt(mp.mpf(1) / 2) - 1, mp.sqrt(2) - 1
QUARTER = (mp.pi / 4) ** 2 * mp.mpf("1.001")
FITS = [
    *both(
        "exp: (e**r - 1 - r) / r**2",
        (4, 9),
        lambda r: (mp.exp(r) - 1 - r) / r**2,
        -HALF_LN2,
        HALF_LN2,
        lambda r: mp.exp(r) / r**2,
    ),
    *both(
        "exp2: (2**r - 1) / r",
        (5, 10),
        lambda r: (2**r - 1) / r,
        -mp.mpf("0.5005"),
        mp.mpf("0.5005"),
        lambda r: 2**r / r,
    ),
    *both(
        "log: (log(1 + f) - f + f**2 / 2) / f**3",
        (8, None),
        lambda f: (mp.log1p(f) - f + f**2 / 2) / f**3,
        *ROOT,
        lambda f: mp.log1p(f) / f**3,
    ),
    *both("log: atanh's series", (None, 6), atanh_rest, 0, mp.mpf("0.02945"), lambda z: 2 / z),
    *both(
        "sin: (sin(r) / r - 1) / r**2",
        (3, 6),
        lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        0,
        QUARTER,
        lambda z: mp.sin(mp.sqrt(z)) / mp.sqrt(z) / z,
    ),
    *both(
        "cos: (cos(r) - 1 + r**2 / 2) / r**4",
        (2, 5),
        lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2,
        0,
        QUARTER,
        lambda z: mp.cos(mp.sqrt(z)) / z**2,
    ),
    *both("asin", (None, 12), asin_rest, 0, mp.mpf("0.2505"), lambda z: 1 / z),
    *both(
        "atan: (atan(t) / t - 1) / t**2",
        (None, 11),
        lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        0,
        (mp.sqrt(2) - 1) ** 2 * mp.mpf("1.001"),
        lambda z: mp.atan(mp.sqrt(z)) / mp.sqrt(z) / z,
    ),
    *both(
        "sinh: (sinh(x) / x - 1) / x**2",
        (None, 7),
        lambda z: (mp.sinh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        0,
        1,
        lambda z: mp.sinh(mp.sqrt(z)) / mp.sqrt(z) / z,
    ),
    *both(
        "power: the series of log after its second term",
        (None, 9),
        power_rest,
        0,
        mp.mpf("0.02945"),
        lambda z: 1 / z**2,
    ),
    *both(
        "erf: erf(x) / x - 1",
        (7, None),
        lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1,
        0,
        mp.mpf("0.9026"),
        lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z),
    ),
    *both(
        "erf: log(erfc(x))",
        (8, None),
        lambda x: mp.log(mp.erfc(x)),
        mp.mpf("0.949"),
        mp.mpf("3.95"),
        lambda x: mp.erf(x) / mp.erfc(x),
    ),
    *both(
        "erf near: erf(x) / x - 1",
        (None, 14),
        lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1,
        0,
        mp.mpf("1.0"),
        lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z),
    ),
    *both(
        "tanh: (tanh(x) / x - 1) / x**2",
        (4, 10),
        lambda z: (mp.tanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        0,
        mp.mpf("0.3026"),
        lambda z: mp.tanh(mp.sqrt(z)) / mp.sqrt(z) / z,
    ),
    *both(
        "tan: (tan(r) / r - 1) / r**2",
        (None, 13),
        lambda z: (mp.tan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z,
        0,
        QUARTER,
        lambda z: mp.tan(mp.sqrt(z)) / mp.sqrt(z) / z,
    ),
]


def main() -> None:
    """Print each fit."""
    for f in FITS:
        if len(sys.argv) < 2 or sys.argv[1] in f.name:
            coefficients, error = fit(f)
            print(f"{f.name}: error 2^{float(mp.log(error, 2)):.1f}")
            for c in coefficients:
                print(f"    {float(np.float32(c))!r}," if f.single else f"    {float(c)!r},")


if __name__ == "__main__":
    main()
