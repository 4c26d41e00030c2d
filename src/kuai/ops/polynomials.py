"""Orthogonal polynomials of the degree `n`, by their recurrences (Abramowitz and Stegun, 22.7).

They have no gradient, as in PyTorch; where `n` is negative, they are 0.
"""

from __future__ import annotations

import numpy as np

from kuai.core.primitive import primitive
from kuai.ops.elementwise import Binary

Array = np.ndarray


class Polynomial(Binary):
    """A polynomial in `x` of the degree `y`."""

    floating = True
    some_tensor = True
    numbers = False
    differentiable = False

    def kernel(self, x: Array, y: Array) -> Array:
        wide = x.astype(np.float32) if x.dtype.itemsize == 2 else x
        degree = y.astype(np.int64)
        before, now = np.ones_like(wide), self.first(wide)
        result = np.where(degree == 0, before, np.where(degree == 1, now, 0 * now * degree))
        for k in range(1, int(degree.max(initial=0))):
            before, now = now, self.following(k, wide, now, before)
            result = np.where(degree == k + 1, now, result)
        return result.astype(x.dtype)

    def first(self, x: Array) -> Array:
        """The polynomial of degree 1."""
        raise NotImplementedError

    def following(self, k: int, x: Array, now: Array, before: Array) -> Array:
        """The polynomial of degree `k + 1`, from those of degrees `k` and `k - 1`."""
        result: Array = 2 * x * now - before
        return result


@primitive
class chebyshev_polynomial_t(Polynomial):
    """Chebyshev's polynomials of the first kind: `cos(n arccos(x))`."""

    def first(self, x):
        return x


@primitive
class chebyshev_polynomial_u(Polynomial):
    """Chebyshev's polynomials of the second kind."""

    def first(self, x):
        return 2 * x


@primitive
class chebyshev_polynomial_v(Polynomial):
    """Chebyshev's polynomials of the third kind."""

    def first(self, x):
        return 2 * x - 1


@primitive
class chebyshev_polynomial_w(Polynomial):
    """Chebyshev's polynomials of the fourth kind."""

    def first(self, x):
        return 2 * x + 1


class Shifted(Polynomial):
    """A Chebyshev polynomial of `2 x - 1`, which is orthogonal between 0 and 1."""

    def following(self, k, x, now, before):
        return 2 * (2 * x - 1) * now - before


@primitive
class shifted_chebyshev_polynomial_t(Shifted):
    """Chebyshev's polynomials of the first kind, of `2 x - 1`."""

    def first(self, x):
        return 2 * x - 1


@primitive
class shifted_chebyshev_polynomial_u(Shifted):
    """Chebyshev's polynomials of the second kind, of `2 x - 1`."""

    def first(self, x):
        return 2 * (2 * x - 1)


@primitive
class shifted_chebyshev_polynomial_v(Shifted):
    """Chebyshev's polynomials of the third kind, of `2 x - 1`."""

    def first(self, x):
        return 2 * (2 * x - 1) - 1


@primitive
class shifted_chebyshev_polynomial_w(Shifted):
    """Chebyshev's polynomials of the fourth kind, of `2 x - 1`."""

    def first(self, x):
        return 2 * (2 * x - 1) + 1


@primitive
class hermite_polynomial_h(Polynomial):
    """Hermite's polynomials, those of physicists."""

    def first(self, x):
        return 2 * x

    def following(self, k, x, now, before):
        return 2 * x * now - 2 * k * before


@primitive
class hermite_polynomial_he(Polynomial):
    """Hermite's polynomials, those of probability theory."""

    def first(self, x):
        return x

    def following(self, k, x, now, before):
        return x * now - k * before


@primitive
class laguerre_polynomial_l(Polynomial):
    """Laguerre's polynomials."""

    def first(self, x):
        return 1 - x

    def following(self, k, x, now, before):
        return ((2 * k + 1 - x) * now - k * before) / (k + 1)


@primitive
class legendre_polynomial_p(Polynomial):
    """Legendre's polynomials."""

    def first(self, x):
        return x

    def following(self, k, x, now, before):
        return ((2 * k + 1) * x * now - k * before) / (k + 1)


__all__ = [
    "chebyshev_polynomial_t",
    "chebyshev_polynomial_u",
    "chebyshev_polynomial_v",
    "chebyshev_polynomial_w",
    "hermite_polynomial_h",
    "hermite_polynomial_he",
    "laguerre_polynomial_l",
    "legendre_polynomial_p",
    "shifted_chebyshev_polynomial_t",
    "shifted_chebyshev_polynomial_u",
    "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_polynomial_w",
]
