"""kuai: neural networks out of blocks, in plain Python, at the speed of native code."""

from __future__ import annotations

import gc
import importlib
import math as _math
from typing import TYPE_CHECKING, Any

from kuai import dtypes, ops
from kuai.config import (
    are_deterministic_algorithms_enabled,
    get_default_device,
    get_float32_matmul_precision,
    get_num_interop_threads,
    get_num_threads,
    set_default_device,
    set_float32_matmul_precision,
    set_num_interop_threads,
    set_num_threads,
    use_deterministic_algorithms,
)
from kuai.core.base import Size
from kuai.core.tape import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from kuai.device import device
from kuai.dtypes import (
    bfloat16,
    can_cast,
    double,
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    long,
    promote_types,
    set_default_dtype,
    short,
    uint8,
)
from kuai.layout import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    layout,
    memory_format,
    preserve_format,
    strided,
)
from kuai.ops import *
from kuai.ops.arguments import explain_all, explained
from kuai.tensor import Tensor
from kuai.version import __version__

explain_all(globals(), ops.__all__)
tensor = ops.tensor  # the function, not the module that defines the class
bool = dtypes.bool_
float = dtypes.float_
int = dtypes.int_
e, inf, nan, pi, newaxis = _math.e, _math.inf, _math.nan, _math.pi, None

_ON_FIRST_USE: dict[str, str | None] = {
    **dict.fromkeys(
        [
            "amp", "autograd", "backends", "cuda", "data", "debug", "distributions", "func", "io",
            "linalg", "nn", "optim", "random", "signal", "special", "testing", "utils",
        ]
    ),
    **dict.fromkeys(
        [
            "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor",
            "FloatTensor", "HalfTensor", "IntTensor", "LongTensor", "ShortTensor",
        ],
        "kuai.legacy",
    ),
    **dict.fromkeys(["save", "load"], "kuai.io"),
    **dict.fromkeys(
        [
            "adaptive_avg_pool1d", "adaptive_max_pool1d", "alpha_dropout", "avg_pool1d",
            "batch_norm", "bilinear", "celu", "channel_shuffle", "conv1d", "conv2d", "conv3d",
            "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_similarity",
            "dropout", "feature_alpha_dropout", "group_norm", "layer_norm",
            "instance_norm", "max_pool1d", "max_pool1d_with_indices", "max_pool2d", "max_pool3d",
            "pairwise_distance", "pdist", "pixel_shuffle", "pixel_unshuffle",
            "rms_norm", "rrelu", "selu", "threshold",
        ],
        "kuai.nn.functional",
    ),
    **dict.fromkeys(
        [
            "gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh",
            "rnn_tanh_cell",
        ],
        "kuai.nn.functional.recurrent",
    ),
    **dict.fromkeys(
        [
            "binary_cross_entropy_with_logits", "cosine_embedding_loss", "embedding",
            "hinge_embedding_loss", "kl_div", "margin_ranking_loss", "poisson_nll_loss",
            "triplet_margin_loss",
        ],
        "kuai.nn.functional.top_level",
    ),
    **dict.fromkeys(
        ["affine_grid_generator", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d"],
        "kuai.nn.functional.grid",
    ),
    **dict.fromkeys(["summary", "draw"], "kuai.show"),
    **dict.fromkeys(
        ["autocast", "get_autocast_dtype", "is_autocast_enabled"],
        "kuai.amp",
    ),
    "compile": "kuai.compiler.run.compile",
    "vmap": "kuai.func",
    "return_types": "kuai.ops",
    "set_printoptions": "kuai.printing",
}  # fmt: skip


_METHODS = {"detach", "get_device", "is_inference", "is_signed"}  # functions, too


def __getattr__(name: str) -> Any:
    if name in _METHODS or (name[-1] == "_" and name[0] != "_" and hasattr(Tensor, name)):
        return getattr(Tensor, name)  # `relu_(x)` for `x.relu_()`
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module 'kuai' has no attribute '{name}'")
    room = _ON_FIRST_USE[name]
    if room is None:
        return importlib.import_module(f"kuai.{name}")
    looked_for_garbage = gc.isenabled()
    gc.disable()  # what an import makes lasts
    try:
        value = getattr(importlib.import_module(room), name)
    finally:
        if looked_for_garbage:
            gc.enable()
    globals()[name] = value
    return value


def is_tensor(obj: Any) -> Any:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Tensor)


@explained
def is_floating_point(input: Tensor) -> Any:
    """Whether the tensor's type is floating."""
    return input.is_floating_point()


@explained
def is_complex(input: Tensor) -> Any:
    """False: kuai has no complex numbers."""
    return False


def is_nonzero(input: Tensor) -> Any:
    """Whether a tensor of one element is not zero."""
    return input.__bool__()


@explained
def numel(input: Tensor) -> Any:
    """The number of elements."""
    return input.numel()


def set_default_tensor_type(t: Any) -> None:
    """Set the floating type of new tensors, by an old constructor or its name."""
    name = t if isinstance(t, str) else t.__name__
    set_default_dtype(getattr(importlib.import_module("kuai.legacy"), name.split(".")[-1]).dtype)


__all__ = [
    "__version__",
    "are_deterministic_algorithms_enabled",
    "bfloat16",
    "bool",
    "can_cast",
    "channels_last",
    "channels_last_3d",
    "contiguous_format",
    "device",
    "double",
    "dtype",
    "e",
    "enable_grad",
    "finfo",
    "float",
    "float16",
    "float32",
    "float64",
    "get_default_device",
    "get_default_dtype",
    "get_float32_matmul_precision",
    "get_num_interop_threads",
    "get_num_threads",
    "half",
    "iinfo",
    "inf",
    "inference_mode",
    "int",
    "int16",
    "int32",
    "int64",
    "int8",
    "is_complex",
    "is_floating_point",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "is_nonzero",
    "is_tensor",
    "layout",
    "long",
    "memory_format",
    "nan",
    "newaxis",
    "no_grad",
    "numel",
    "pi",
    "preserve_format",
    "promote_types",
    "set_default_device",
    "set_default_dtype",
    "set_default_tensor_type",
    "set_float32_matmul_precision",
    "set_grad_enabled",
    "set_num_interop_threads",
    "set_num_threads",
    "short",
    "Size",
    "strided",
    "Tensor",
    "tensor",
    "uint8",
    "use_deterministic_algorithms",
]
__all__ += ops.__all__
