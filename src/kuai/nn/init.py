"""Initial values for parameters: each function fills a tensor in place, and returns it."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kuai import ops
from kuai.core.tape import no_grad

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Generator = Any

_LINEAR = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which to scale weights that feed this nonlinearity.

    It is 1 for linear maps, convolutions and `"sigmoid"`, 5/3 for `"tanh"`, √2 for `"relu"`,
    √(2 / (1 + slope²)) for `"leaky_relu"` and 3/4 for `"selu"`.

    Args:
        nonlinearity: the function's name in `nn.functional`.
        param: the negative slope of `"leaky_relu"`; 0.01 by default.

    Raises:
        ValueError: the name is unknown, or `param` is not a number.
    """
    if nonlinearity in _LINEAR or nonlinearity == "sigmoid":
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope: object = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Uniform numbers from `[a, b)`."""
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Normal numbers of this mean and standard deviation."""
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Normal numbers, drawn again where they lie outside `[a, b]`.

    Where few would lie inside, uniform numbers of `[a, b]` are drawn instead, and kept with the
    probability that the normal density gives them.
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=2,
        )
    inside = _normal_below((b - mean) / std) - _normal_below((a - mean) / std)
    with no_grad():
        if inside > 0.3:
            result = _redrawn_normal(tensor, mean, std, a, b, generator)
        else:
            result = _rejected_uniform(tensor, mean, std, a, b, generator)
        return tensor.copy_(result)


def _normal_below(x: float) -> float:
    return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0


def _redrawn_normal(
    like: Tensor, mean: float, std: float, a: float, b: float, generator: Generator | None
) -> Tensor:
    low, high = like.new_tensor(a), like.new_tensor(b)  # as its type can represent them
    values = ops.empty_like(like).normal_(mean, std, generator=generator)
    while True:
        outside = (values < low) | (values > high)
        if not outside.any():
            return values
        fresh = ops.empty_like(like).normal_(mean, std, generator=generator)
        values = ops.where(outside, fresh, values)


def _rejected_uniform(
    like: Tensor, mean: float, std: float, a: float, b: float, generator: Generator | None
) -> Tensor:
    peak = max(a, min(mean, b))
    log_peak = -0.5 * ((peak - mean) / std) ** 2
    values = ops.empty_like(like)
    pending = ops.ones_like(like) > 0
    while True:
        candidates = ops.empty_like(like).uniform_(a, b, generator=generator)
        values = ops.where(pending, candidates, values)
        log_density = ((candidates - mean) / std) ** 2 * -0.5 - log_peak
        height = ops.log(ops.empty_like(like).uniform_(generator=generator))
        pending = pending & (height > log_density)
        if not pending.any():
            return values


def constant_(tensor: Tensor, val: float) -> Tensor:
    """One value throughout."""
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    with no_grad():
        return tensor.zero_()


def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix, as far as it reaches.

    Raises:
        ValueError: the tensor is not a matrix.
    """
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    with no_grad():
        return tensor.copy_(ops.eye(*tensor.shape, dtype=tensor.dtype))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Convolution kernels that leave their input as it is, as far as the channels reach.

    Args:
        tensor: the kernels, of 3, 4 or 5 dimensions.
        groups: in how many groups of channels each is to be left as it is.

    Raises:
        ValueError: the number of dimensions, or of groups, does not fit.
    """
    if tensor.ndim not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if tensor.shape[0] % groups:
        raise ValueError("dim 0 must be divisible by groups")
    per_group = tensor.shape[0] // groups
    centre = tuple(size // 2 for size in tensor.shape[2:])
    with no_grad():
        tensor.zero_()
        for group in range(groups):
            for channel in range(min(per_group, tensor.shape[1])):
                tensor[(group * per_group + channel, channel, *centre)] = 1
    return tensor


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs each output depends on, and how many outputs on each input."""
    if tensor.ndim < 2:
        raise ValueError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions"
        )
    receptive_field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive_field, tensor.shape[0] * receptive_field


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    modes = ["fan_in", "fan_out"]
    if mode not in modes:
        raise ValueError(f"Mode {mode} not supported, please use one of {modes}")
    return _calculate_fan_in_and_fan_out(tensor)[modes.index(mode)]


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Uniform numbers up to `gain * √(6 / (fan_in + fan_out))`, both signs.

    Source: Glorot and Bengio (2010), Understanding the difficulty of training deep feedforward
    neural networks.
    """
    bound = math.sqrt(3.0) * gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal numbers of standard deviation `gain * √(2 / (fan_in + fan_out))`.

    Source: Glorot and Bengio (2010), as `xavier_uniform_`.
    """
    std = gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return normal_(tensor, 0.0, std, generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Uniform numbers up to `gain * √(3 / fan)`, both signs.

    Args:
        tensor: the weight, of 2 dimensions or more.
        a: the negative slope, for `"leaky_relu"`.
        mode: `"fan_in"` keeps the variance in the forward pass, `"fan_out"` in the backward pass.
        nonlinearity: what the gain is for (see `calculate_gain`).
        generator: where the numbers come from.

    Source: He et al. (2015), Delving Deep into Rectifiers.
    """
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Normal numbers of standard deviation `gain / √fan`; arguments as in `kaiming_uniform_`.

    Source: He et al. (2015), Delving Deep into Rectifiers.
    """
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=2)
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan = _calculate_correct_fan(tensor, mode)
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """A matrix with orthonormal rows or columns, times `gain`.

    Of a tensor with more dimensions, all but the first are taken as one.

    Raises:
        ValueError: the tensor has fewer than 2 dimensions.

    Source: Saxe et al. (2014), Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks; made uniform as in Mezzadri (2007), How to generate random matrices
    from the classical compact groups.
    """
    if tensor.ndim < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    from kuai import linalg

    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    with no_grad():
        flat = ops.empty(rows, columns, dtype=tensor.dtype).normal_(0, 1, generator=generator)
        q, r = linalg.qr(flat.t() if rows < columns else flat)
        q = q * ops.sign(ops.diagonal(r))
        if rows < columns:
            q = q.t()
        tensor.copy_(ops.reshape(q, *tensor.shape))
        return tensor.mul_(gain)


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Tensor:
    """Normal numbers, of which a fraction `sparsity` of each column is set to 0.

    Raises:
        ValueError: the tensor is not a matrix.

    Source: Martens (2010), Deep learning via Hessian-free optimization.
    """
    if tensor.ndim != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with no_grad():
        tensor.normal_(0, std, generator=generator)
        for column in range(columns):
            tensor[ops.randperm(rows)[:zeros], column] = 0
    return tensor


def _deprecated(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function` under its old name, without the underscore; it warns."""
    new = function.__name__
    old = new[:-1]

    @functools.wraps(function)
    def under_old_name(*args: Any, **kwargs: Any) -> Tensor:
        warnings.warn(
            f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`.",
            FutureWarning,
            stacklevel=2,
        )
        return function(*args, **kwargs)

    under_old_name.__name__ = old
    under_old_name.__doc__ = f"Deprecated name of `{new}`."
    return under_old_name


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
dirac = _deprecated(dirac_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)
