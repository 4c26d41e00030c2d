"""Convolutions, and transposed ones, over one, two and three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kuai import ops
from kuai.core import tape
from kuai.errors import DtypeError, ShapeError
from kuai.nn.functional.padding import pad
from kuai.nn.functional.precision import narrow, widen
from kuai.ops.conv import convolution_, convolution_input_gradient, input_sizes
from kuai.ops.pointwise import lowered

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Sizes = tuple[int, ...]


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Sums of products of `weight` with the windows of a sequence.

    Args:
        input: `(N, C, L)` or `(C, L)`.
        weight: `(O, C/groups, K)`.
        bias: what to add to each of the output channels, `(O,)`.
        stride: from one window to the next.
        padding: how many zeros to add at both ends; `"valid"` for none, `"same"` for as many as
            keep the length.
        dilation: from one element of a window to the next.
        groups: of channels; each output channel sees those of its group only.

    Shape:
        the result `(N, O, Lo)` or `(O, Lo)`, with
        `Lo = (L + 2 padding - dilation (K - 1) - 1) // stride + 1`.

    Raises:
        ShapeError: the shapes do not fit.
        DtypeError: the types differ.
    """
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Sums of products of `weight` with the windows of an image; options as of `conv1d`.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, weight `(O, C/groups, Kh, Kw)`; the result
        `(N, O, Ho, Wo)` or `(O, Ho, Wo)`.
    """
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Sums of products of `weight` with the windows of a volume; options as of `conv1d`.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, weight `(O, C/groups, Kd, Kh, Kw)`; the result
        `(N, O, Do, Ho, Wo)` or `(O, Do, Ho, Wo)`.
    """
    return _convolution("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """The transposed map of a convolution: each element spreads `weight` over a sequence.

    Args:
        input: `(N, C, L)` or `(C, L)`.
        weight: `(C, O/groups, K)`.
        bias: what to add to each of the output channels, `(O,)`.
        stride: from where one element spreads to where the next one does.
        padding: how many elements of the result to leave out at both ends.
        output_padding: how many elements to add at the end of the result.
        groups: of channels.
        dilation: from one element of the spread weight to the next.

    Shape:
        the result `(N, O, Lo)` or `(O, Lo)`, with
        `Lo = (L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1`.

    Raises:
        ShapeError: the shapes do not fit.
        DtypeError: the types differ.
    """
    geometry = (stride, padding, output_padding, dilation)
    return _transposed("conv_transpose1d", 1, input, weight, bias, geometry, groups)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """The transposed map of a convolution of images; options as of `conv_transpose1d`.

    Shape:
        input `(N, C, H, W)` or `(C, H, W)`, weight `(C, O/groups, Kh, Kw)`; the result
        `(N, O, Ho, Wo)` or `(O, Ho, Wo)`.
    """
    geometry = (stride, padding, output_padding, dilation)
    return _transposed("conv_transpose2d", 2, input, weight, bias, geometry, groups)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """The transposed map of a convolution of volumes; options as of `conv_transpose1d`.

    Shape:
        input `(N, C, D, H, W)` or `(C, D, H, W)`, weight `(C, O/groups, Kd, Kh, Kw)`; the result
        `(N, O, Do, Ho, Wo)` or `(O, Do, Ho, Wo)`.
    """
    geometry = (stride, padding, output_padding, dilation)
    return _transposed("conv_transpose3d", 3, input, weight, bias, geometry, groups)


# -- for any number of dimensions --------------------------------------------------------------


def _convolution(
    name: str,
    n: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    dilation: int | Sequence[int],
    groups: int,
) -> Tensor:
    input, weight, bias = lowered(input, weight, bias)
    _check(name, n, input, weight, bias, weight._payload.shape[0])
    strides = spread(stride, n, "stride")
    dilations = spread(dilation, n, "dilation")
    _check_positive(strides, dilations, groups)
    x, w = widen_floats(input, name), widen_floats(weight, name)
    if isinstance(padding, str):
        x, pads = _named_padding(padding, x, weight._payload.shape[2:], strides, dilations)
    else:
        pads = spread(padding, n, "padding")
    if min(pads) < 0:
        raise RuntimeError("negative padding is not supported")
    batched = input._payload.ndim == n + 2
    result = convolution_(
        x if batched else ops.unsqueeze(x, 0),
        w,
        stride=strides,
        padding=pads,
        dilation=dilations,
        groups=groups,
    )
    return _finished(result, bias, batched, input)


def _named_padding(
    padding: str, x: Tensor, kernel: Sizes, stride: Sizes, dilation: Sizes
) -> tuple[Tensor, Sizes]:
    """What `"valid"` and `"same"` mean: the input with what goes to one end only, and the rest."""
    if padding == "valid":
        return x, (0,) * len(kernel)
    if padding != "same":
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    more = [t % 2 for t in total]
    if any(more):
        x = pad(x, [end for extra in reversed(more) for end in (0, extra)])
    return x, tuple([t // 2 for t in total])


def _transposed(
    name: str,
    n: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: tuple[int | Sequence[int], ...],
    groups: int,
) -> Tensor:
    input, weight, bias = lowered(input, weight, bias)
    _check(name, n, input, weight, bias, weight._payload.shape[1] * groups)
    names = ("stride", "padding", "output_padding", "dilation")
    strides, pads, output_pads, dilations = (
        spread(sizes, n, what) for sizes, what in zip(geometry, names, strict=True)
    )
    _check_positive(strides, dilations, groups)
    if min(pads) < 0:
        raise RuntimeError("negative padding is not supported")
    if any(o >= max(s, d) for o, s, d in zip(output_pads, strides, dilations, strict=True)):
        raise RuntimeError(
            "output padding must be smaller than either stride or dilation, but got "
            f"output_padding: {output_pads} stride: {strides} dilation: {dilations}"
        )
    shape = input._payload.shape
    batched = len(shape) == n + 2
    kernel = weight._payload.shape[2:]
    sizes = input_sizes(shape[-n:], kernel, strides, pads, dilations, output_pads)
    if min(sizes) < 1 and min(shape[-n:]) > 0:
        raise ShapeError(
            f"Given input size per channel: {list(shape[-n:])}. Calculated output size per "
            f"channel: {list(sizes)}. Output size is too small"
        )
    x, w = widen_floats(input, name), widen_floats(weight, name)
    result = convolution_input_gradient(
        x if batched else ops.unsqueeze(x, 0),
        w,
        sizes=sizes,
        stride=strides,
        padding=pads,
        dilation=dilations,
        groups=groups,
    )
    return _finished(result, bias, batched, input)


def _finished(result: Tensor, bias: Tensor | None, batched: bool, input: Tensor) -> Tensor:
    """The result with its bias, in the form and type of the input."""
    if bias is not None:
        per_channel = (-1, *(1,) * (result._payload.ndim - 2))
        result = result + ops.reshape(widen_floats(bias, "convolution"), per_channel)
    result = narrow(result, input)
    return tape.called(result if batched else ops.squeeze(result, 0), "ConvolutionBackward0")


def widen_floats(x: Tensor, name: str) -> Tensor:
    """Floating numbers in the precision to compute in, and integers as they are."""
    return x if x._payload.dtype.kind in "iu" else widen(x, name)


def spread(sizes: int | Sequence[int], n: int, name: str) -> Sizes:
    """One number, or one for each dimension, as a tuple of `n`.

    Raises:
        RuntimeError: there are neither one nor `n`.
    """
    if isinstance(sizes, int):
        return (sizes,) * n
    if len(sizes) == 1:
        return (int(sizes[0]),) * n
    if len(sizes) != n:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {n} values to match the "
            f"convolution dimensions, but got {name}={list(sizes)}"
        )
    return tuple([int(size) for size in sizes])


def _check_positive(stride: Sizes, dilation: Sizes, groups: int) -> None:
    if min(stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(dilation) <= 0:
        raise RuntimeError("dilation should be greater than zero")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")


def _check(
    name: str, n: int, input: Tensor, weight: Tensor, bias: Tensor | None, channels: int
) -> None:
    x, w = input._payload, weight._payload
    if x.ndim not in (n + 1, n + 2):
        raise ShapeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input "
            f"of size: {list(x.shape)}"
        )
    if w.ndim != n + 2:
        raise ShapeError(
            f"Expected {n + 2}D weight for {name}, but got weight of size: {list(w.shape)}"
        )
    if x.dtype != w.dtype:
        raise DtypeError(
            f"Input type ({input.dtype.name}) and weight type ({weight.dtype.name}) should be the "
            "same"
        )
    if bias is None:
        return
    if bias._payload.shape != (channels,):
        raise ShapeError(
            f"Given weight of size {list(w.shape)}, expected bias to be 1-dimensional with "
            f"{channels} elements, but got bias of size {list(bias._payload.shape)} instead"
        )
    if bias._payload.dtype != x.dtype:
        raise DtypeError(
            f"Input type ({input.dtype.name}) and bias type ({bias.dtype.name}) should be the same"
        )


__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
]
