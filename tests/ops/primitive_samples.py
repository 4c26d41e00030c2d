"""Sample inputs of every primitive: the one table that `test_primitives.py` goes through."""

from __future__ import annotations

from typing import Any

import numpy as np

import kuai.distributions
import kuai.nn  # its primitives are in the table, too  # noqa: F401
from kuai import dtypes
from kuai.core.primitive import PRIMITIVES

SLICE = PRIMITIVES["slice"]
MIDDLE = {"key": ((0, 3, 2), (1, 4, 1))}
GEOMETRY: dict[str, Any] = {"stride": (1,), "padding": (0,), "dilation": (1,), "groups": 1}


class Sample:
    """Inputs and parameters of one application.

    Args:
        inputs: arrays (and numbers, or `None`) in the order of the primitive's inputs.
        parameters: what the kernel gets by name.
        second: whether the second derivatives can be compared with differences, too.
        smooth: whether the gradient can be compared with differences at all.
    """

    def __init__(
        self, *inputs: Any, second: bool = True, smooth: bool = True, **parameters: Any
    ) -> None:
        self.inputs = inputs
        self.parameters = parameters
        self.second = second
        self.smooth = smooth


def numbers(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> np.ndarray:
    """Different numbers, none of them near another one, an integer or zero."""
    count = int(np.prod(shape))
    grid = low + (high - low) * (np.arange(count) + 0.37) / max(count, 1)
    near = np.abs(grid - np.round(grid)) < 0.02
    return np.random.default_rng(seed).permutation(grid + 0.031 * near).reshape(shape)


def whole(*values: Any) -> np.ndarray:
    """An array of int64."""
    return np.array(values, np.int64)


def flags(*values: Any) -> np.ndarray:
    """An array of bool."""
    return np.array(values, np.bool_)


def matrix(*batch: int, symmetric: bool = False) -> np.ndarray:
    """Well-conditioned 3 x 3 matrices with well-separated eigenvalues."""
    x = numbers(*batch, 3, 3, low=-0.4, high=0.4) + np.diag([1.0, 2.0, 3.5])
    return (x + np.swapaxes(x, -1, -2)) / 2 if symmetric else x


HEADS = numbers(2, 3, 4), numbers(2, 2, 4, seed=1), numbers(2, 2, 3, seed=2)

SYMMETRIC = {"cholesky", "eigh"}  # these look at one triangle, and differentiate as if at both


def x23() -> np.ndarray:
    """Any 2 x 3 numbers."""
    return numbers(2, 3)


def x34(seed: int = 0) -> np.ndarray:
    """Any 3 x 4 numbers."""
    return numbers(3, 4, seed=seed)


X = x34()
Y = numbers(3, 4, low=-1.9, high=2.05, seed=1)
POSITIVE = numbers(3, 4, low=0.2, high=2.3)
POSITIVE_Y = numbers(3, 4, low=0.3, high=2.7, seed=1)
UNIT = numbers(3, 4, low=-0.9, high=0.9)
ABOVE_ONE = numbers(3, 4, low=1.1, high=2.9)
BETWEEN = numbers(3, 4, low=0.05, high=0.95)
ROWS = whole([0, 2], [1, 1], [2, 0])
EMPTY = np.zeros((2, 0, 3))

UNARY = {
    "neg": X,
    "abs": X,
    "sign": X,
    "exp": X,
    "log": POSITIVE,
    "sqrt": POSITIVE,
    "tanh": X,
    "relu": X,
    "square": X,
    "floor": X,
    "ceil": X,
    "trunc": X,
    "exp2": X,
    "expm1": X,
    "log2": POSITIVE,
    "log10": POSITIVE,
    "log1p": POSITIVE,
    "rsqrt": POSITIVE,
    "reciprocal": POSITIVE,
    "sin": X,
    "cos": X,
    "tan": UNIT,
    "asin": UNIT,
    "acos": UNIT,
    "atan": X,
    "sinh": X,
    "cosh": X,
    "asinh": X,
    "acosh": ABOVE_ONE,
    "atanh": UNIT,
    "sigmoid": X,
    "erf": X,
    "erfc": X,
    "erfinv": UNIT,
    "lgamma": POSITIVE,
    "digamma": POSITIVE,
    "logit": BETWEEN,
    "sinc": X,
    "i0": X,
    "i1": X,
    "i0e": X,
    "i1e": X,
    "entr": POSITIVE,
    "erfcx": X,
    "ndtr": X,
    "ndtri": BETWEEN,
    "log_ndtr": X,
    "angle": X,
    "isnan": X,
    "isinf": X,
    "isfinite": X,
    "isposinf": X,
    "isneginf": X,
    "signbit": X,
    "logical_not": X > 0,
}
NAN_IS_LOST = {  # what these say of NaN is not NaN
    "sign",
    "logical_not",
    "isnan",
    "isinf",
    "isfinite",
    "isposinf",
    "isneginf",
    "signbit",
}

BINARY = {
    "plus": (X, Y),
    "minus": (X, Y),
    "mul": (X, Y),
    "quotient": (X, POSITIVE_Y),
    "pow": (POSITIVE, Y),
    "gate": (X, Y),
    "eq": (X, Y),
    "ne": (X, Y),
    "lt": (X, Y),
    "le": (X, Y),
    "gt": (X, Y),
    "ge": (X, Y),
    "logical_and": (X > 0, Y > 0),
    "logical_or": (X > 0, Y > 0),
    "logical_xor": (X > 0, Y > 0),
    "maximum": (X, Y),
    "minimum": (X, Y),
    "clamp_below": (X, numbers(3, 4, low=-1.5, high=1.4, seed=2)),
    "clamp_above": (X, numbers(3, 4, low=-1.5, high=1.4, seed=2)),
    "floor_divide": (X, POSITIVE_Y),
    "trunc_divide": (X, POSITIVE_Y),
    "remainder": (X, POSITIVE_Y),
    "fmod": (X, POSITIVE_Y),
    "copysign": (X, Y),
    "nextafter": (X, Y),
    "heaviside": (X, Y),
    "igamma": (POSITIVE, np.flip(POSITIVE)),
    "igammac": (POSITIVE, np.flip(POSITIVE)),
    "zeta": (POSITIVE + 1.5, POSITIVE),
    "fmax": (X, Y),
    "fmin": (X, Y),
    "atan2": (X, Y),
    "hypot": (X, Y),
    "logaddexp": (X, Y),
    "logaddexp2": (X, Y),
    "bitwise_and": (whole(1, 6, 12), whole(3, 5, 10)),
    "bitwise_or": (whole(1, 6, 12), whole(3, 5, 10)),
    "bitwise_xor": (whole(1, 6, 12), whole(3, 5, 10)),
    "bitwise_left_shift": (whole(1, 6, 12), whole(3, 5, 1)),
    "bitwise_right_shift": (whole(1, 6, 12), whole(3, 5, 1)),
    "gcd": (whole(1, 6, 12), whole(3, 4, 18)),
    "lcm": (whole(1, 6, 12), whole(3, 4, 18)),
}

DEGREES = np.array([0.0, 1.0, 5.0, -1.0])
SAMPLES: dict[str, list[Sample]] = {
    **{name: [Sample(x)] for name, x in UNARY.items()},
    **{name: [Sample(*pair)] for name, pair in BINARY.items()},
    "round": [Sample(X)],
    "bitwise_not": [Sample(whole(1, 6, 12)), Sample(flags(True, False))],
    "clamp": [Sample(X, np.full((3, 4), -0.9), np.full((3, 4), 1.05))],
    "select_where": [Sample(Y > 0, X, Y)],
    "abs_power": [Sample(X, exponent=3.0), Sample(X, exponent=2.5)],
    "frexp": [Sample(POSITIVE)],
    "polygamma": [Sample(POSITIVE, n=1), Sample(POSITIVE, n=2)],
    "masked_fill": [Sample(X, Y > 0, np.array(1.5))],
    "cast": [Sample(X, dtype=dtypes.float64), Sample(X, dtype=dtypes.int64)],
    # shapes and views
    "view_scatter": [
        Sample(X, numbers(2, 3, seed=3), view=SLICE, parameters=MIDDLE),
        Sample(
            X,
            numbers(3, seed=3),
            view=PRIMITIVES["diagonal"],
            parameters={"offset": 1, "dim1": 0, "dim2": 1},
        ),
    ],
    "view_as_shape": [Sample(X, shape=(2, 6)), Sample(numbers(1), shape=())],
    "reshape": [Sample(X, shape=(2, 6)), Sample(X.T, shape=(12,))],
    "view_as_dtype": [Sample(X, dtype=dtypes.int64), Sample(X, dtype=dtypes.float32)],
    "squeeze": [Sample(numbers(2, 1, 3, 1), dims=(1, 3)), Sample(numbers(1, 1), dims=(0, 1))],
    "unsqueeze": [Sample(X, dim=1), Sample(np.array(0.7), dim=0)],
    "permute": [Sample(numbers(2, 3, 2), dims=(2, 0, 1)), Sample(np.array(0.7), dims=())],
    "expand": [Sample(numbers(3, 1), shape=(2, 3, 4)), Sample(np.array(0.7), shape=(2,))],
    "clone": [Sample(X), Sample(np.array(0.7))],
    "contiguous_copy": [Sample(X.T), Sample(np.array(0.7))],
    "overwrite": [Sample(X, numbers(4)), Sample(X, np.array(0.7))],
    "slice": [Sample(X, key=MIDDLE["key"]), Sample(X, key=((0, 3, 1), (2, 2, 1)))],
    "select": [Sample(X, key=((0, 3, 1), 2)), Sample(numbers(4), key=(3,))],
    "embed": [Sample(x23(), shape=(3, 4), view=SLICE, parameters=MIDDLE)],
    "diagonal": [
        Sample(X, offset=1, dim1=0, dim2=1),
        Sample(numbers(2, 3, 2), offset=0, dim1=2, dim2=0),
    ],
    "tril": [Sample(X, diagonal=0), Sample(numbers(2, 3, 3), diagonal=-1)],
    "triu": [Sample(X, diagonal=0), Sample(numbers(2, 3, 3), diagonal=1)],
    "unfold": [Sample(X, dim=1, size=2, step=1), Sample(numbers(5), dim=0, size=2, step=3)],
    "sum_windows": [Sample(numbers(3, 3, 2), shape=(3, 4), dim=1, size=2, step=1)],
    "as_strided": [
        Sample(X, size=(2, 3), stride=(4, 1), offset=1, x_stride=(4, 1), x_offset=0),
        Sample(X, size=(2, 2), stride=(0, 5), offset=0, x_stride=(4, 1), x_offset=0),
    ],
    "flip": [Sample(X, dims=(0, 1)), Sample(X, dims=())],
    "roll": [Sample(X, shifts=(1, -2), dims=(0, 1))],
    "repeated_positions": [Sample(whole(2, 0, 3))],
    "cat": [Sample(X, numbers(2, 4, seed=3), dim=0), Sample(x23(), x23(), x23(), dim=1)],
    "stack": [Sample(X, Y, dim=1), Sample(np.array(0.7), np.array(0.3), dim=0)],
    "split": [Sample(X, sizes=(1, 3), dim=1)],
    "unbind": [Sample(X, dim=1)],
    # indexing
    "index": [
        Sample(X, whole(2, 0, 2), positions=(0,)),
        Sample(X, whole([0], [2]), whole(1, 3), positions=(0, 1)),
    ],
    "index_embed": [
        Sample(numbers(3, 4), whole(2, 0, 2), shape=(3, 4), positions=(0,)),
        Sample(x23(), whole([0], [2]), whole(1, 3, 1), shape=(3, 4), positions=(0, 1)),
    ],
    "index_put": [
        Sample(X, numbers(2, 4), whole(2, 0), positions=(0,), accumulate=False),
        Sample(X, numbers(3, 4), whole(2, 0, 2), positions=(0,), accumulate=True),
    ],
    "nonzero": [Sample(np.trunc(X))],
    "masked_select": [Sample(X, Y > 0)],
    "masked_scatter": [Sample(X, Y > 0, numbers(12, seed=2))],
    "masked_front": [Sample(X, Y > 0, shape=(12,))],
    "gather": [Sample(X, ROWS, dim=1), Sample(X, whole([0, 2, 2, 1]), dim=0)],
    "scatter": [Sample(X, whole([0, 2, 1, 1]), numbers(1, 4, seed=2), dim=0)],
    "scatter_add": [Sample(X, ROWS, numbers(3, 2, seed=2), dim=1)],
    "scatter_combine": [
        Sample(
            X,
            ROWS,
            numbers(3, 2, low=0.5, high=1.9, seed=2),
            dim=1,
            reduce=reduce,
            include_self=True,
            second=reduce == "sum",
        )
        for reduce in ("sum", "prod", "amax", "amin")
    ],
    "scatter_reduce": [
        Sample(
            X,
            ROWS,
            numbers(3, 2, low=0.5, high=1.9, seed=2),
            dim=1,
            reduce=reduce,
            include_self=include_self,
            second=reduce in ("sum", "mean"),
        )
        for reduce in ("sum", "prod", "mean", "amax", "amin")
        for include_self in (True, False)
    ],
    "index_select": [Sample(X, whole(1, 1, 3), dim=1)],
    "index_add": [Sample(X, whole(1, 1), numbers(3, 2, seed=2), dim=1)],
    "index_copy": [Sample(X, whole(1, 3), numbers(3, 2, seed=2), dim=1)],
    # reductions
    **{
        name: [
            Sample(X, dim=(0, 1), keepdim=False),
            Sample(X, dim=(1,), keepdim=True),
            Sample(np.array(0.7), dim=(), keepdim=False),
        ]
        for name in ("sum", "prod", "amax", "amin", "all", "any")
    },
    **{
        name: [Sample(X, dim=1, keepdim=True), Sample(X, dim=None, keepdim=False)]
        for name in ("argmax", "argmin")
    },
    **{
        name: [Sample(X, dim=1), Sample(X, dim=0)]
        for name in ("cumsum", "cumprod", "cummax_index", "cummin_index", "logcumsumexp")
    },
    **{name: [Sample(X)] for name in ("same", "detach")},
    "mean": [
        Sample(X, dim=(1,), keepdim=False),
        Sample(numbers(2, 3, 4), dim=(0, 2), keepdim=True),
        Sample(X, dim=(0, 1), keepdim=False),
        Sample(np.array(0.7), dim=(), keepdim=False),
    ],
    **{
        name: [
            Sample(X, dim=(1,), keepdim=False, freedom=3.0),
            Sample(numbers(2, 3, 4), dim=(0, 2), keepdim=True, freedom=8.0),
        ]
        for name in ("fused_var", "fused_std")
    },
    **{
        name: [
            Sample(X, dim=(1,), keepdim=False),
            Sample(numbers(2, 3, 4), dim=(0, 2), keepdim=True),
        ]
        for name in ("fused_norm", "fused_logsumexp")
    },
    **{
        name: [Sample(X), Sample(numbers(70, low=-5.0, high=5.0))]
        for name in ("fused_gelu", "fused_gelu_tanh", "fused_silu", "fused_logsigmoid")
    },
    "fused_softplus": [Sample(X, beta=1.0, threshold=20.0), Sample(X, beta=2.0, threshold=1.0)],
    "fused_leaky_relu": [Sample(X, slope=0.1)],
    "fused_elu": [
        Sample(X, alpha=1.0, scale=1.0, input_scale=1.0),
        Sample(X, alpha=1.5, scale=0.7, input_scale=2.0),
    ],
    **{
        name: [Sample(X, Y, reduction=reduction) for reduction in ("mean", "sum", "none")]
        for name in ("fused_mse", "fused_l1", "fused_bce_with_logits")
    },
    "fused_smooth_l1": [
        Sample(X, Y, reduction="mean", beta=1.0, scale=1.0),
        Sample(X, Y, reduction="none", beta=0.7, scale=0.7),
    ],
    **{
        name: [
            Sample(X, whole(2, 0, 3), reduction=reduction) for reduction in ("mean", "sum", "none")
        ]
        for name in ("fused_nll", "fused_cross_entropy")
    },
    "fused_layer_norm": [
        Sample(X, numbers(4), numbers(4, seed=1), ndim=1, eps=1e-5),
        Sample(numbers(2, 3, 4), numbers(3, 4), None, ndim=2, eps=1e-5),
        Sample(X, None, None, ndim=1, eps=1e-5),
    ],
    "fused_lstm": [Sample(numbers(2, 12), numbers(2, 3, seed=1))],
    "fused_gru": [Sample(numbers(2, 9), numbers(2, 9, seed=1), numbers(2, 3, seed=2))],
    "fused_rms_norm": [
        Sample(X, numbers(4), ndim=1, eps=1e-5),
        Sample(numbers(2, 3, 4), None, ndim=2, eps=1e-5),
    ],
    "fused_hardtanh": [Sample(X, low=-1.0, high=0.5)],
    "log_softmax": [Sample(X, dim=(1,)), Sample(np.array(0.7), dim=()), Sample(EMPTY, dim=(1,))],
    "softmax": [Sample(X, dim=(1,)), Sample(np.array(0.7), dim=()), Sample(EMPTY, dim=(1,))],
    # products and decompositions
    "matmul": [
        Sample(X, numbers(4, 2)),
        Sample(numbers(2, 1, 3, 4), numbers(3, 4, 2)),
        Sample(numbers(0, 3), numbers(3, 0)),
    ],
    "linear": [
        Sample(X, numbers(2, 4), numbers(2)),
        Sample(numbers(2, 3, 4), numbers(2, 4), numbers(2)),
        Sample(numbers(4), numbers(2, 4), numbers(2)),
    ],
    "linear_without_bias": [
        Sample(X, numbers(2, 4)),
        Sample(numbers(2, 3, 4), numbers(2, 4)),
        Sample(numbers(4), numbers(2, 4)),
    ],
    # convolution
    "convolution": [
        Sample(numbers(2, 2, 4), numbers(3, 2, 2, seed=1), **GEOMETRY),
        Sample(
            numbers(1, 4, 4, 3),
            numbers(2, 2, 2, 1, seed=1),
            stride=(2, 1),
            padding=(1, 0),
            dilation=(1, 2),
            groups=2,
        ),
        Sample(np.zeros((0, 2, 4)), numbers(3, 2, 2), **GEOMETRY),
    ],
    "convolution_input_gradient": [
        Sample(numbers(2, 3, 3), numbers(3, 2, 2, seed=1), sizes=(4,), **GEOMETRY),
        Sample(
            numbers(1, 2, 2, 2),
            numbers(2, 1, 2, 1, seed=1),
            sizes=(5, 2),
            stride=(2, 1),
            padding=(1, 0),
            dilation=(3, 1),
            groups=2,
        ),
        Sample(np.zeros((0, 3, 3)), numbers(3, 2, 2), sizes=(4,), **GEOMETRY),
    ],
    "convolution_weight_gradient": [
        Sample(numbers(2, 2, 4), numbers(2, 3, 3, seed=1), kernel_size=(2,), **GEOMETRY),
        Sample(
            numbers(1, 4, 4, 3),
            numbers(1, 2, 2, 1, seed=1),
            kernel_size=(2, 2),
            stride=(2, 1),
            padding=(0, 0),
            dilation=(1, 2),
            groups=2,
        ),
        Sample(np.zeros((0, 2, 4)), np.zeros((0, 3, 3)), kernel_size=(2,), **GEOMETRY),
    ],
    # attention
    "attention": [
        Sample(*HEADS, scale=0.7, is_causal=False),
        Sample(*HEADS, scale=0.7, is_causal=True),
        Sample(
            *HEADS, flags([True, False], [True, True], [False, True]), scale=0.7, is_causal=False
        ),
    ],
    "attention_gradient": [
        Sample(
            numbers(2, 3, 3, seed=3),
            *HEADS,
            numbers(2, 3, 3, seed=4),
            numbers(2, 3, low=2.0, high=4.0),
            scale=0.7,
            is_causal=True,
            smooth=False,
        ),
    ],
    # pooling
    "max_pool": [
        Sample(
            numbers(2, 5),
            kernel_size=(2,),
            stride=(2,),
            padding=(0,),
            dilation=(1,),
            count=(2,),
        ),
        Sample(
            numbers(2, 5, 4),
            kernel_size=(3, 2),
            stride=(2, 1),
            padding=(1, 1),
            dilation=(1, 2),
            count=(3, 4),
        ),
        Sample(
            np.zeros((0, 5)),
            kernel_size=(2,),
            stride=(1,),
            padding=(0,),
            dilation=(1,),
            count=(4,),
        ),
    ],
    "max_pooled": [
        Sample(
            numbers(2, 5),
            np.take_along_axis(numbers(2, 5), whole([1, 3], [0, 2]), 1),
            whole([1, 3], [0, 2]),
            kernel_size=(2,),
            stride=(2,),
            padding=(0,),
            dilation=(1,),
        ),
    ],
    "max_pool_input_gradient": [
        Sample(
            numbers(2, 2),
            whole([1, 3], [2, 2]),
            sizes=(5,),
            kernel_size=(3,),
            stride=(2,),
            padding=(0,),
            dilation=(1,),
        ),
        Sample(
            numbers(2, 2, 2),
            whole([[1, 0], [3, 4]], [[1, 1], [4, 5]]),
            sizes=(2, 3),
            kernel_size=(2, 3),
            stride=(1, 1),
            padding=(1, 1),
            dilation=(1, 1),
        ),
        Sample(
            np.zeros((0, 2)),
            np.zeros((0, 2), np.int64),
            sizes=(5,),
            kernel_size=(2,),
            stride=(2,),
            padding=(0,),
            dilation=(1,),
        ),
    ],
    "window_sum": [
        Sample(numbers(2, 5), dim=1, size=2, step=1),
        Sample(numbers(5, 2), dim=0, size=2, step=3),
        Sample(np.zeros((0, 5)), dim=1, size=3, step=2),
    ],
    "inv": [Sample(matrix()), Sample(matrix(2))],
    "solve": [Sample(matrix(), numbers(3, 2)), Sample(matrix(2), numbers(2, 3, 2))],
    "det": [Sample(matrix()), Sample(matrix(2))],
    "slogdet": [Sample(matrix()), Sample(matrix(2))],
    "cholesky": [Sample(matrix(symmetric=True))],
    "qr": [Sample(matrix(), mode="reduced"), Sample(numbers(4, 2), mode="reduced")],
    "eigh": [Sample(matrix(symmetric=True), lower=True)],
    "pinv": [
        Sample(matrix()[:, :2], atol=None, rtol=None, hermitian=False),
        Sample(matrix(2)[..., :2, :], atol=0.1, rtol=0.01, hermitian=False),
    ],
    "chebyshev_polynomial_t": [Sample(X, DEGREES)],
    "chebyshev_polynomial_u": [Sample(X, DEGREES)],
    "chebyshev_polynomial_v": [Sample(X, DEGREES)],
    "chebyshev_polynomial_w": [Sample(X, DEGREES)],
    "hermite_polynomial_h": [Sample(X, DEGREES)],
    "hermite_polynomial_he": [Sample(X, DEGREES)],
    "laguerre_polynomial_l": [Sample(X, DEGREES)],
    "legendre_polynomial_p": [Sample(X, DEGREES)],
    "shifted_chebyshev_polynomial_t": [Sample(X, DEGREES)],
    "shifted_chebyshev_polynomial_u": [Sample(X, DEGREES)],
    "shifted_chebyshev_polynomial_v": [Sample(X, DEGREES)],
    "shifted_chebyshev_polynomial_w": [Sample(X, DEGREES)],
    "lu_factor": [Sample(matrix()), Sample(matrix()[:2]), Sample(matrix()[:, :2])],
    "exchanges": [Sample(np.array([[2, 3, 3], [1, 2, 3]], np.int32), rows=4)],
    "svd": [Sample(matrix(), full_matrices=False)],
    # ordering and search
    "argsort": [Sample(X, dim=1, descending=False), Sample(X, dim=0, descending=True)],
    "unique": [Sample(np.trunc(X), dim=None), Sample(np.trunc(X), dim=0)],
    "unique_consecutive": [Sample(np.trunc(X), dim=None)],
    "bincount": [
        Sample(whole(0, 2, 2), None, minlength=0),
        Sample(whole(0, 2, 2), numbers(3), minlength=5),
    ],
    "searchsorted": [
        Sample(np.sort(numbers(5)), X, right=False),
        Sample(np.sort(X, -1), Y, right=True),
    ],
    "isin": [Sample(whole(1, 2, 3), whole(3, 1), invert=False)],
    "random_bits": [Sample(whole(7, 0), count=5)],
    "matrix_exp": [Sample(matrix()), Sample(matrix(2))],
    "mode_index": [Sample(np.array([[1.0, 2.0, 2.0], [3.0, 1.0, 0.0]]), dim=1)],
    "histogram_counts": [Sample(X, bins=4, low=-2.0, high=2.0), Sample(X, bins=3, low=0, high=0)],
    "binomial_numbers": [Sample(whole(1, 2, 3, 4), whole(5, 6, 7), np.array([0.1, 0.5, 0.9]))],
    "gamma_numbers": [Sample(whole(1, 2, 3, 4), POSITIVE, smooth=False)],
    "gamma_slope": [Sample(POSITIVE, POSITIVE_Y)],
    "von_mises_numbers": [Sample(whole(1, 2, 3, 4), POSITIVE)],
    "random_poisson": [Sample(whole(1, 2, 3, 4), POSITIVE)],
    # layers and losses
    "bernoulli_nll": [Sample(BETWEEN, numbers(3, 4, low=0.1, high=0.9, seed=1))],
    "embedding_rows": [
        Sample(X, whole([0, 2], [2, 2]), padding_idx=-1, by_frequency=False),
        Sample(X, whole([0, 2], [2, 2]), padding_idx=-1, by_frequency=True, smooth=False),
        Sample(X, whole([0, 2], [2, 2]), padding_idx=0, by_frequency=False, smooth=False),
    ],
    "backward_hook": [Sample(X, Y)],
}

NONE = np.zeros(0, np.int64)
for _name, _samples in {
    **{
        name: [Sample(EMPTY, dim=(1,), keepdim=False), Sample(EMPTY, dim=(0,), keepdim=True)]
        for name in ("sum", "prod", "all", "any")
    },
    **{name: [Sample(EMPTY, dim=(0,), keepdim=True)] for name in ("amax", "amin")},
    **{name: [Sample(EMPTY, dim=0, keepdim=True)] for name in ("argmax", "argmin")},
    **{
        name: [Sample(EMPTY, dim=1), Sample(EMPTY, dim=0)]
        for name in ("cumsum", "cumprod", "cummax_index", "cummin_index", "logcumsumexp")
    },
    "cast": [Sample(EMPTY, dtype=dtypes.float32)],
    "view_as_shape": [Sample(EMPTY, shape=(0, 6))],
    "reshape": [Sample(EMPTY, shape=(3, 0))],
    "permute": [Sample(EMPTY, dims=(1, 2, 0))],
    "expand": [Sample(np.zeros((1, 0)), shape=(4, 0))],
    "slice": [Sample(EMPTY, key=((0, 1, 1), (0, 0, 1), (0, 3, 2)))],
    "diagonal": [Sample(EMPTY, offset=0, dim1=1, dim2=2)],
    "tril": [Sample(EMPTY, diagonal=0)],
    "triu": [Sample(EMPTY, diagonal=0)],
    "flip": [Sample(EMPTY, dims=(0, 1))],
    "roll": [Sample(EMPTY, shifts=(1,), dims=(1,))],
    "cat": [Sample(EMPTY, np.zeros((2, 2, 3)), dim=1)],
    "stack": [Sample(EMPTY, EMPTY, dim=1)],
    "split": [Sample(EMPTY, sizes=(1, 2), dim=2)],
    "unbind": [Sample(EMPTY, dim=0)],
    "index": [Sample(X, NONE, positions=(1,))],
    "index_put": [
        Sample(X, np.zeros((0, 4)), NONE, positions=(0,), accumulate=accumulate)
        for accumulate in (True, False)
    ],
    "nonzero": [Sample(EMPTY)],
    "masked_select": [Sample(EMPTY, EMPTY > 0)],
    "gather": [Sample(X, np.zeros((0, 4), np.int64), dim=0)],
    "scatter": [Sample(X, np.zeros((0, 4), np.int64), np.zeros((0, 4)), dim=0)],
    "scatter_add": [Sample(X, np.zeros((0, 4), np.int64), np.zeros((0, 4)), dim=0)],
    "index_select": [Sample(X, NONE, dim=1)],
    "index_add": [Sample(X, NONE, np.zeros((3, 0)), dim=1)],
    "index_copy": [Sample(X, NONE, np.zeros((3, 0)), dim=1)],
    "matmul": [
        Sample(np.zeros((0, 2, 3)), numbers(3, 4)),
        Sample(np.zeros((2, 0)), np.zeros((0, 3))),
    ],
    "linear": [Sample(np.zeros((0, 4)), numbers(2, 4), numbers(2))],
    "linear_without_bias": [Sample(np.zeros((0, 4)), numbers(2, 4))],
    "argsort": [Sample(EMPTY, dim=1, descending=False)],
    "unique": [Sample(np.zeros(0), dim=None)],
    "searchsorted": [Sample(np.zeros(0), X, right=False)],
    "isin": [Sample(X, np.zeros(0), invert=False)],
    "inv": [Sample(np.zeros((0, 3, 3)))],
    "det": [Sample(np.zeros((0, 3, 3)))],
    "solve": [Sample(np.zeros((0, 3, 3)), np.zeros((0, 3, 2)))],
    "random_bits": [Sample(whole(7, 0), count=0)],
}.items():
    SAMPLES[_name] += _samples
