"""The operations: primitives, and functions composed from them, one family a file."""

from kuai.ops.creation import *  # noqa: F403
from kuai.ops.elementwise import *  # noqa: F403
from kuai.ops.gather import *  # noqa: F403
from kuai.ops.indexing import *  # noqa: F403
from kuai.ops.joining import *  # noqa: F403
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
from kuai.ops.linalg import cholesky_old as cholesky
from kuai.ops.linalg import norm_old as norm
from kuai.ops.linalg import qr_old as qr
from kuai.ops.linalg import svd_old as svd
from kuai.ops.masking import *  # noqa: F403
from kuai.ops.matmul import *  # noqa: F403
from kuai.ops.movement import *  # noqa: F403
from kuai.ops.ordering import *  # noqa: F403
from kuai.ops.pointwise import broadcast_shapes, result_type  # noqa: F401
from kuai.ops.random import *  # noqa: F403
from kuai.ops.reduce import *  # noqa: F403
from kuai.ops.rounding import *  # noqa: F403
from kuai.ops.slicing import *  # noqa: F403
from kuai.ops.transcendental import *  # noqa: F403
