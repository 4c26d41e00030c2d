"""Batch normalisation, and instance normalisation, its kin."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

from kuai import dtypes, ops
from kuai.core.tape import no_grad
from kuai.nn import functional as F
from kuai.nn import init
from kuai.nn.lazy import LazyModuleMixin
from kuai.nn.module import Module
from kuai.nn.parameter import Parameter, UninitializedBuffer, UninitializedParameter
from kuai.tensor import Tensor


class _NormBase(Module):
    """Weight, bias and running statistics, one of each a channel."""

    _version = 2

    num_features: int
    eps: float
    momentum: float | None
    affine: bool
    track_running_stats: bool
    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    dimensions: ClassVar[tuple[int, ...]]  # how many an input may have

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            values = ops.empty(num_features, device=device, dtype=dtype) if wanted else None
            self.register_parameter(name, None if values is None else Parameter(values))
        if track_running_stats:
            mean = ops.zeros(num_features, device=device, dtype=dtype)
            variance = ops.ones(num_features, device=device, dtype=dtype)
            self.register_buffer("running_mean", mean)
            self.register_buffer("running_var", variance)
            self.register_buffer("num_batches_tracked", ops.tensor(0, dtype=dtypes.int64))
        else:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Let the running statistics begin anew: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Let weight, bias and the running statistics begin anew."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim not in self.dimensions:
            allowed = " or ".join(f"{n}D" for n in self.dimensions)
            raise ValueError(f"expected {allowed} input (got {input.ndim}D input)")

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        *rest: Any,
    ) -> None:
        version = local_metadata.get("version")
        if (version is None or version < 2) and self.track_running_stats:
            count = self.num_batches_tracked
            count = ops.tensor(0, dtype=dtypes.int64) if count is None else count
            state_dict.setdefault(prefix + "num_batches_tracked", count)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def extra_repr(self) -> str:
        """The number of channels and the options."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_NormBase):
    def forward(self, input: Tensor) -> Tensor:
        """The input, normalised; in training, the running statistics move."""
        self._check_input_dim(input)
        momentum: Any = 0.0 if self.momentum is None else self.momentum
        tracking = self.training and self.track_running_stats
        if tracking and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the mean over all batches
                momentum = 1.0 / self.num_batches_tracked.to(dtypes.float64)
        used = not self.training or self.track_running_stats
        return F.batch_norm(
            input,
            self.running_mean if used else None,
            self.running_var if used else None,
            self.weight,
            self.bias,
            self.training or (self.running_mean is None and self.running_var is None),
            momentum,
            self.eps,
        )


class BatchNorm1d(_BatchNorm):
    """`(x - mean) / √(variance + eps) * weight + bias`, for each channel.

    In training, mean and variance are those of the batch, and the running statistics move towards
    them; in evaluation, the running statistics are used.

    Args:
        num_features: the number of channels, C.
        eps: what keeps the denominator from 0.
        momentum: how far the running statistics move with each batch; `None` for their mean over
            all batches.
        affine: whether there are weight and bias, which begin as ones and zeros.
        track_running_stats: whether there are running statistics; without, the batch's own are
            used in evaluation, too.
        device: of the parameters and buffers.
        dtype: of the parameters and buffers.
        bias: whether there is a bias, where there is a weight.

    Shape:
        input `(N, C)` or `(N, C, L)`, output the same.

    Raises:
        ValueError: the input has not so many dimensions, or in training, a channel only one value.
        ShapeError: the input has not so many channels.

    Source: Ioffe and Szegedy (2015), Batch Normalization: Accelerating Deep Network Training by
    Reducing Internal Covariate Shift.
    """

    dimensions = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images; arguments as of `BatchNorm1d`.

    Shape:
        input `(N, C, H, W)`, output the same.
    """

    dimensions = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes; arguments as of `BatchNorm1d`.

    Shape:
        input `(N, C, D, H, W)`, output the same.
    """

    dimensions = (5,)


class _InstanceNorm(_NormBase):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )

    def forward(self, input: Tensor) -> Tensor:
        """The input, normalised."""
        self._check_input_dim(input)
        batched = input.ndim == self.dimensions[1]
        channels = input.shape[int(batched)]
        if channels != self.num_features:
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={int(batched)} to match num_features "
                    f"({self.num_features}), but got: {channels}."
                )
            warnings.warn(
                f"input's size at dim={int(batched)} does not match num_features. You can silence "
                "this warning by not passing in num_features, which is not used because "
                "affine=False",
                stacklevel=2,
            )
        result = F.instance_norm(
            input if batched else input.unsqueeze(0),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return result if batched else result.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """Each sample's channels brought to mean 0 and variance 1.

    Args:
        num_features: the number of channels, C.
        eps: what keeps the denominator from 0.
        momentum: how far running statistics move with each batch.
        affine: whether there are weight and bias.
        track_running_stats: whether there are running statistics, which evaluation uses.
        device: of the parameters and buffers.
        dtype: of the parameters and buffers.
        bias: whether there is a bias, where there is a weight.

    Shape:
        input `(N, C, L)` or `(C, L)`, output the same.

    Source: Ulyanov et al. (2016), Instance Normalization: The Missing Ingredient for Fast
    Stylization.
    """

    dimensions = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of images; arguments as of `InstanceNorm1d`.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output the same.
    """

    dimensions = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of volumes; arguments as of `InstanceNorm1d`.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output the same.
    """

    dimensions = (4, 5)


class _Lazy(LazyModuleMixin):
    """A normalisation that learns `num_features` from its first input."""

    def __init__(
        self: Any,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False, bias=False)
        self.affine = affine
        self.track_running_stats = track_running_stats
        if affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                self.bias = UninitializedParameter(device=device, dtype=dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = ops.tensor(0, dtype=dtypes.int64)

    def reset_parameters(self: Any) -> None:
        """Let the parameters begin anew, once there are any."""
        if not self.has_uninitialized_params() and self.num_features != 0:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self: Any, input: Tensor) -> None:
        """Take `num_features` from the channels of `input`."""
        if not self.has_uninitialized_params():
            return
        self.num_features = input.shape[1]
        with no_grad():
            for x in (self.weight, self.bias, self.running_mean, self.running_var):
                if x is not None:
                    x.materialize((self.num_features,))
            self.reset_parameters()


class LazyBatchNorm1d(_Lazy, BatchNorm1d):  # type: ignore[misc]
    """`BatchNorm1d` that learns `num_features` from its first input, and then becomes one."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_Lazy, BatchNorm2d):  # type: ignore[misc]
    """`BatchNorm2d` that learns `num_features` from its first input, and then becomes one."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_Lazy, BatchNorm3d):  # type: ignore[misc]
    """`BatchNorm3d` that learns `num_features` from its first input, and then becomes one."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_Lazy, InstanceNorm1d):  # type: ignore[misc]
    """`InstanceNorm1d` that learns `num_features` from its first input, and then becomes one."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_Lazy, InstanceNorm2d):  # type: ignore[misc]
    """`InstanceNorm2d` that learns `num_features` from its first input, and then becomes one."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_Lazy, InstanceNorm3d):  # type: ignore[misc]
    """`InstanceNorm3d` that learns `num_features` from its first input, and then becomes one."""

    cls_to_become = InstanceNorm3d


__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
]
