"""kuai: neural networks out of blocks, in plain Python, at the speed of native code."""

from kuai import dtypes
from kuai.core.base import Size
from kuai.core.tape import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from kuai.dtypes import *  # noqa: F403
from kuai.tensor import Tensor
from kuai.ops import *  # noqa: F403, I001 - after kuai.tensor, whose name the function takes

bool = dtypes.bool_  # noqa: A001
float = dtypes.float_  # noqa: A001
int = dtypes.int_  # noqa: A001
