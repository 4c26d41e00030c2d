"""Convolutions and transposed convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from kuai import dtypes, ops
from kuai.core.tape import no_grad
from kuai.nn import functional as F
from kuai.nn import init
from kuai.nn.functional.convolution import spread
from kuai.nn.lazy import LazyModuleMixin
from kuai.nn.module import Module
from kuai.nn.parameter import Parameter, UninitializedParameter
from kuai.ops.conv import reach
from kuai.tensor import Tensor

Sizes = tuple[int, ...]
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Module):
    """What all convolutions share; `n` is how many dimensions they slide over."""

    n: ClassVar[int]
    transposed: ClassVar[bool] = False

    in_channels: int
    out_channels: int
    kernel_size: Sizes
    stride: Sizes
    padding: Sizes | str
    dilation: Sizes
    output_padding: Sizes
    groups: int
    padding_mode: str
    weight: Tensor
    bias: Tensor | None

    def _set_up(
        self,
        in_channels: int,
        out_channels: int,
        sizes: dict[str, Any],
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: dtypes.dtype | None,
    ) -> None:
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        self.in_channels = in_channels
        self.out_channels = out_channels
        for name, size in sizes.items():
            setattr(self, name, size if isinstance(size, str) else spread(size, self.n, name))
        self.groups = groups
        self._check_padding(padding_mode)
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = self._ends()
        self._make_parameters(bias, device, dtype)

    def _make_parameters(self, bias: bool, device: Any, dtype: dtypes.dtype | None) -> None:
        shape = self._weight_shape()
        self.weight = Parameter(ops.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(ops.empty(self.out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _check_padding(self, padding_mode: str) -> None:
        if isinstance(self.padding, str):
            if self.padding not in ("valid", "same"):
                raise ValueError(
                    f"Invalid padding string {self.padding!r}, should be one of {{'valid', 'same'}}"
                )
            if self.padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in PADDING_MODES:
            raise ValueError(
                f"padding_mode must be one of {PADDING_MODES}, but got "
                f"padding_mode={padding_mode!r}"
            )

    def _ends(self) -> list[int]:
        """How much to pad at both ends, in the order of `F.pad`."""
        if self.padding == "valid":
            total = [0] * self.n
        elif self.padding == "same":
            total = [r - 1 for r in reach(self.kernel_size, self.dilation)]
        else:
            total = [2 * int(p) for p in self.padding]
        return [end for t in reversed(total) for end in (t // 2, t - t // 2)]

    def _weight_shape(self) -> Sizes:
        first, second = self.out_channels, self.in_channels
        if self.transposed:
            first, second = second, first
        return (first, second // self.groups, *self.kernel_size)

    def reset_parameters(self) -> None:
        """Draw initial values anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = math.prod(self.weight.shape[1:])
            if fan_in:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """The sizes and options that are not the default."""
        zeros, ones = (0,) * self.n, (1,) * self.n
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        if self.padding != zeros:
            text += f", padding={self.padding}"
        if self.dilation != ones:
            text += f", dilation={self.dilation}"
        if self.output_padding != zeros:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Direct(_Convolution):
    """A convolution of `n` dimensions."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "output_padding": 0,
        }
        self._set_up(in_channels, out_channels, sizes, groups, bias, padding_mode, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The convolution of `input` with the weight, plus the bias."""
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        function = (F.conv1d, F.conv2d, F.conv3d)[self.n - 1]
        return function(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class Conv1d(_Direct):
    """Convolution of sequences: `y[o] = bias[o] + Σ weight[o, c, k] x[c, stride t + dilation k]`.

    Weight and bias begin as uniform numbers up to `1 / √(in_channels / groups * kernel size)`,
    both signs.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: K.
        stride: from one window to the next.
        padding: how much to add at both ends; `"valid"` for nothing, `"same"` for as much as keeps
            the length.
        dilation: from one element of a window to the next.
        groups: of channels; each output channel sees those of its group only.
        bias: whether to add a number for each output channel.
        padding_mode: what to add: `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        input `(N, C, L)` or `(C, L)`, output `(N, O, Lo)` or `(O, Lo)`, with
        `Lo = (L + 2 padding - dilation (K - 1) - 1) // stride + 1`; weight `(O, C/groups, K)`.

    Raises:
        ValueError: the channels cannot be divided, or an option is unknown.
        ShapeError: the input does not fit.
    """

    n = 1


class Conv2d(_Direct):
    """Convolution of images; arguments as of `Conv1d`, with one number or two.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output `(N, O, Ho, Wo)` or `(O, Ho, Wo)`;
        weight `(O, C/groups, Kh, Kw)`.

    Examples:
        >>> layer = nn.Conv2d(3, 8, 5, padding="same")
        >>> layer(kuai.rand(4, 3, 28, 28)).shape
        kuai.Size([4, 8, 28, 28])

    Source: LeCun et al. (1998), Gradient-Based Learning Applied to Document Recognition.
    """

    n = 2


class Conv3d(_Direct):
    """Convolution of volumes; arguments as of `Conv1d`, with one number or three.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output `(N, O, Do, Ho, Wo)` or
        `(O, Do, Ho, Wo)`; weight `(O, C/groups, Kd, Kh, Kw)`.
    """

    n = 3


class _Transposed(_Convolution):
    """A transposed convolution of `n` dimensions."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        super().__init__()
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        sizes: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "output_padding": output_padding,
        }
        self._set_up(in_channels, out_channels, sizes, groups, bias, padding_mode, device, dtype)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """The transposed convolution of `input` with the weight, plus the bias.

        Args:
            input: `(N, C, *)` or `(C, *)`.
            output_size: the sizes of the result, where several are possible for the stride.

        Raises:
            ValueError: the output cannot have these sizes.
        """
        function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.n - 1]
        return function(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]  # names are for direct convolutions only
            self._output_padding(input, output_size),
            self.groups,
            self.dilation,
        )

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None) -> Sizes:
        if output_size is None:
            return self.output_padding
        sizes = list(output_size)
        batched = input.ndim == self.n + 2
        leading = input.ndim - self.n
        if len(sizes) == input.ndim:
            sizes = sizes[leading:]
        if len(sizes) != self.n:
            raise ValueError(
                f"ConvTranspose{self.n}D: for {input.ndim}D input, output_size must have {self.n} "
                f"or {self.n + 1 + batched} elements (got {len(sizes)})"
            )
        padding: Any = self.padding
        least = [
            (size - 1) * s - 2 * p + r
            for size, s, p, r in zip(
                input.shape[leading:],
                self.stride,
                padding,
                reach(self.kernel_size, self.dilation),
                strict=True,
            )
        ]
        most = [size + s - 1 for size, s in zip(least, self.stride, strict=True)]
        if any(not lo <= size <= hi for lo, size, hi in zip(least, sizes, most, strict=True)):
            raise ValueError(
                f"requested an output size of {sizes}, but valid sizes range from {least} to "
                f"{most} (for an input of {list(input.shape[leading:])})"
            )
        return tuple([size - lo for size, lo in zip(sizes, least, strict=True)])


class ConvTranspose1d(_Transposed):
    """Transposed convolution of sequences: each element spreads the weight over the result.

    It is the map that a `Conv1d` of the same options applies to gradients.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: K.
        stride: from where one element spreads to where the next one does.
        padding: how much of the result to leave out at both ends.
        output_padding: how much to add at the end of the result.
        groups: of channels.
        bias: whether to add a number for each output channel.
        dilation: from one element of the spread weight to the next.
        padding_mode: `"zeros"`.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        input `(N, C, L)` or `(C, L)`, output `(N, O, Lo)` or `(O, Lo)`, with
        `Lo = (L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1`;
        weight `(C, O/groups, K)`.

    Raises:
        ValueError: the channels cannot be divided, or an option is unknown.
        ShapeError: the input does not fit.
    """

    n = 1


class ConvTranspose2d(_Transposed):
    """Transposed convolution of images; arguments as of `ConvTranspose1d`.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, output `(N, O, Ho, Wo)` or `(O, Ho, Wo)`.
    """

    n = 2


class ConvTranspose3d(_Transposed):
    """Transposed convolution of volumes; arguments as of `ConvTranspose1d`.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, output `(N, O, Do, Ho, Wo)` or
        `(O, Do, Ho, Wo)`.
    """

    n = 3


class _Lazy(LazyModuleMixin):
    """A convolution that learns `in_channels` from its first input."""

    weight: UninitializedParameter
    bias: UninitializedParameter | None

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(0, *args, **kwargs)

    def _make_parameters(self: Any, bias: bool, device: Any, dtype: dtypes.dtype | None) -> None:
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)
        else:
            self.register_parameter("bias", None)

    def reset_parameters(self: Any) -> None:
        """Draw initial values anew, once there are values."""
        if not self.has_uninitialized_params() and self.in_channels != 0:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self: Any, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Take `in_channels` from the channels of `input`."""
        if not self.has_uninitialized_params():
            return
        if input.ndim not in (self.n + 1, self.n + 2):
            raise RuntimeError(
                f"Expected {self.n + 1}D (unbatched) or {self.n + 2}D (batched) input to "
                f"{type(self).__name__}, but got input of size: {tuple(input.shape)}"
            )
        self.in_channels = input.shape[-self.n - 1]
        if self.in_channels % self.groups:
            raise ValueError("in_channels must be divisible by groups")
        with no_grad():
            self.weight.materialize(self._weight_shape())
            if self.bias is not None:
                self.bias.materialize((self.out_channels,))
            self.reset_parameters()


class LazyConv1d(_Lazy, Conv1d):  # type: ignore[misc]
    """`Conv1d` that learns `in_channels` from its first input, and then becomes one."""

    cls_to_become = Conv1d


class LazyConv2d(_Lazy, Conv2d):  # type: ignore[misc]
    """`Conv2d` that learns `in_channels` from its first input, and then becomes one."""

    cls_to_become = Conv2d


class LazyConv3d(_Lazy, Conv3d):  # type: ignore[misc]
    """`Conv3d` that learns `in_channels` from its first input, and then becomes one."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_Lazy, ConvTranspose1d):  # type: ignore[misc]
    """`ConvTranspose1d` that learns `in_channels` from its first input, and then becomes one."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_Lazy, ConvTranspose2d):  # type: ignore[misc]
    """`ConvTranspose2d` that learns `in_channels` from its first input, and then becomes one."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_Lazy, ConvTranspose3d):  # type: ignore[misc]
    """`ConvTranspose3d` that learns `in_channels` from its first input, and then becomes one."""

    cls_to_become = ConvTranspose3d


__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
]
