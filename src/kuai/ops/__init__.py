"""The operations: primitives, and functions composed from them, one family a file.

Public here is what PyTorch has; what only the floors above need is imported from its file.
"""

import sys

from kuai.ops.copies import *
from kuai.ops.creation import *
from kuai.ops.diagonals import *
from kuai.ops.differences import *
from kuai.ops.elementwise import *
from kuai.ops.elementwise import minus as minus
from kuai.ops.elementwise import plus as plus
from kuai.ops.elementwise import quotient as quotient
from kuai.ops.gather import *
from kuai.ops.indexing import *
from kuai.ops.joining import *
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
from kuai.ops.low_rank import *
from kuai.ops.masking import *
from kuai.ops.matmul import *
from kuai.ops.movement import *
from kuai.ops.ordering import *
from kuai.ops.pointwise import broadcast_shapes, result_type
from kuai.ops.pointwise import cast as cast
from kuai.ops.random import *
from kuai.ops.rearranging import *
from kuai.ops.reduce import *
from kuai.ops.rounding import *
from kuai.ops.scatter_reduce import *
from kuai.ops.slicing import *
from kuai.ops.solving import *
from kuai.ops.solving import lu_old as lu
from kuai.ops.solving import lu_solve_old as lu_solve
from kuai.ops.special import *
from kuai.ops.tapers import *
from kuai.ops.thresholds import *
from kuai.ops.transcendental import *
from kuai.ops.windows import *

_FAMILIES = (
    "copies creation diagonals differences elementwise gather indexing joining low_rank "
    "masking matmul movement ordering random rearranging reduce rounding scatter_reduce "
    "slicing solving special tapers thresholds transcendental windows"
)
__all__ = [
    "broadcast_shapes",
    "cholesky",
    "det",
    "dist",
    "inverse",
    "logdet",
    "lu",
    "lu_solve",
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
