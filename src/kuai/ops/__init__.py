"""The operations: primitives, and functions composed from them, one family a file.

Public here is what PyTorch has; what only the floors above need is imported from its file.
"""

import sys

from kuai.ops.creation import *  # noqa: F403
from kuai.ops.diagonals import *  # noqa: F403
from kuai.ops.differences import *  # noqa: F403
from kuai.ops.elementwise import *  # noqa: F403
from kuai.ops.elementwise import minus as minus
from kuai.ops.elementwise import plus as plus
from kuai.ops.elementwise import quotient as quotient
from kuai.ops.gather import *  # noqa: F403
from kuai.ops.indexing import *  # noqa: F403
from kuai.ops.joining import *  # noqa: F403
from kuai.ops.linalg import cholesky_old as cholesky
from kuai.ops.linalg import (
    det,
    dist,
    inverse,
    logdet,
    matrix_exp,
    matrix_power,
    pinverse,
    slogdet,
)
from kuai.ops.linalg import norm_old as norm
from kuai.ops.linalg import qr_old as qr
from kuai.ops.linalg import svd_old as svd
from kuai.ops.masking import *  # noqa: F403
from kuai.ops.matmul import *  # noqa: F403
from kuai.ops.movement import *  # noqa: F403
from kuai.ops.ordering import *  # noqa: F403
from kuai.ops.pointwise import broadcast_shapes, result_type
from kuai.ops.pointwise import cast as cast
from kuai.ops.random import *  # noqa: F403
from kuai.ops.rearranging import *  # noqa: F403
from kuai.ops.reduce import *  # noqa: F403
from kuai.ops.rounding import *  # noqa: F403
from kuai.ops.scatter_reduce import *  # noqa: F403
from kuai.ops.slicing import *  # noqa: F403
from kuai.ops.special import *  # noqa: F403
from kuai.ops.transcendental import *  # noqa: F403
from kuai.ops.windows import *  # noqa: F403

_FAMILIES = (
    "creation diagonals differences elementwise gather indexing joining masking matmul movement ordering "
    "random rearranging reduce rounding scatter_reduce slicing special transcendental windows"
)
__all__ = [
    "broadcast_shapes",
    "cholesky",
    "det",
    "dist",
    "inverse",
    "logdet",
    "matrix_exp",
    "matrix_power",
    "norm",
    "pinverse",
    "qr",
    "result_type",
    "slogdet",
    "svd",
]
for _family in _FAMILIES.split():
    __all__ += sys.modules[f"kuai.ops.{_family}"].__all__
