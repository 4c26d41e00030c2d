"""Comparing tensors in tests, as in `torch.testing`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kuai import dtypes, ops
from kuai.tensor import Tensor

__all__ = ["assert_allclose", "assert_close", "make_tensor"]

# For each type, how far apart numbers may be: relatively, and absolutely.
_TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5),
    dtypes.bfloat16: (1.6e-2, 1e-5),
    dtypes.float32: (1.3e-6, 1e-5),
    dtypes.float64: (1e-7, 1e-7),
}


class _Options:
    """What `assert_close` was asked."""

    def __init__(self, rtol: float | None, atol: float | None, **flags: bool) -> None:
        if (rtol is None) != (atol is None):
            missing = "rtol" if rtol is None else "atol"
            raise ValueError(
                f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}."
            )
        self.rtol = rtol
        self.atol = atol
        self.equal_nan = flags["equal_nan"]
        self.check_dtype = flags["check_dtype"]
        self.check_stride = flags["check_stride"]
        self.allow_subclasses = flags["allow_subclasses"]

    def tolerances(self, *found: dtypes.dtype) -> tuple[float, float]:
        """The relative and the absolute tolerance for numbers of these types: the wider ones."""
        if self.rtol is not None and self.atol is not None:
            return self.rtol, self.atol
        wanted = [_TOLERANCES.get(d, (0.0, 0.0)) for d in found]
        return max(r for r, _ in wanted), max(a for _, a in wanted)


class _Mismatch(Exception):
    def __init__(self, text: str, path: tuple[Any, ...] = ()) -> None:
        super().__init__(text)
        self.text = text
        self.path = path


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """Assert that two tensors (arrays, numbers, or sequences or mappings of them) are close.

    Two numbers are close when they are equal, or finite with
    `|actual - expected| <= atol + rtol * |expected|`.

    Args:
        actual: what was computed.
        expected: what it should be.
        allow_subclasses: whether tensors of different classes may be compared.
        rtol: the relative tolerance; by default that of the tensors' types.
        atol: the absolute tolerance; both are given, or neither.
        equal_nan: whether NaN equals NaN.
        check_device: without effect: there is one device.
        check_dtype: whether the types must be the same.
        check_layout: without effect: there is one layout.
        check_stride: whether the strides must be the same.
        msg: the error's text, or a function that makes it from the text that it would have.

    Raises:
        AssertionError: they are not close, or differ in shape or type.
        TypeError: they are of kinds that cannot be compared.
        ValueError: only one tolerance is given.
    """
    options = _Options(
        rtol,
        atol,
        equal_nan=equal_nan,
        check_dtype=check_dtype,
        check_stride=check_stride,
        allow_subclasses=allow_subclasses,
    )
    try:
        _compare(actual, expected, options)
    except _Mismatch as mismatch:
        text = mismatch.text
        if mismatch.path:
            text += "\n\nThe failure occurred for item " + "".join(
                f"[{p!r}]" for p in mismatch.path
            )
        if msg is not None:
            text = msg(text) if callable(msg) else msg
        raise AssertionError(text) from None


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str = "",
) -> None:
    """The old form of `assert_close`: what is no tensor is made one."""
    assert_close(
        _as_tensor(actual),
        _as_tensor(expected),
        rtol=rtol,
        atol=atol,
        equal_nan=equal_nan,
        check_dtype=False,
        msg=msg or None,
    )


def _as_tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else ops.tensor(x)


def _compare(actual: Any, expected: Any, options: _Options) -> None:
    if actual is None or expected is None:
        if actual is not expected:
            raise _Mismatch(f"None mismatch: {actual} is not {expected}")
    elif isinstance(actual, Tensor) and isinstance(expected, Tensor):
        _compare_tensors(actual, expected, options)
    elif isinstance(actual, np.ndarray) and isinstance(expected, np.ndarray):
        _compare_tensors(ops.from_numpy(actual), ops.from_numpy(expected), options)
    elif isinstance(actual, bool | np.bool_) and isinstance(expected, bool | np.bool_):
        if bool(actual) is not bool(expected):
            raise _Mismatch(f"Booleans mismatch: {actual} is not {expected}")
    elif isinstance(actual, int | float | np.number) and isinstance(
        expected, int | float | np.number
    ):
        _compare_numbers(actual, expected, options)
    elif isinstance(actual, Mapping) and isinstance(expected, Mapping):
        _compare_mappings(actual, expected, options)
    elif _is_sequence(actual) and _is_sequence(expected):
        if len(actual) != len(expected):
            raise _Mismatch(
                f"The length of the sequences mismatch: {len(actual)} != {len(expected)}"
            )
        for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
            _compare_item(i, a, b, options)
    else:
        raise TypeError(
            "No comparison pair was able to handle inputs of type "
            f"{type(actual)} and {type(expected)}."
        )


def _is_sequence(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, str | bytes)


def _compare_item(place: Any, actual: Any, expected: Any, options: _Options) -> None:
    try:
        _compare(actual, expected, options)
    except _Mismatch as mismatch:
        raise _Mismatch(mismatch.text, (place, *mismatch.path)) from None


def _compare_mappings(actual: Any, expected: Any, options: _Options) -> None:
    if set(actual) != set(expected):
        missing, additional = list(set(expected) - set(actual)), list(set(actual) - set(expected))
        raise _Mismatch(
            "The keys of the mappings do not match:\n"
            f"Missing keys in the actual mapping: {sorted(missing, key=str)}\n"
            f"Additional keys in the actual mapping: {sorted(additional, key=str)}"
        )
    for key in sorted(expected, key=str):
        _compare_item(key, actual[key], expected[key], options)


def _compare_numbers(actual: Any, expected: Any, options: _Options) -> None:
    kinds = type(actual), type(expected)
    if options.check_dtype and kinds[0] is not kinds[1]:
        raise _Mismatch(f"The (d)types do not match: {kinds[0]} != {kinds[1]}.")
    whole = isinstance(actual, int | np.integer) and isinstance(expected, int | np.integer)
    rtol, atol = options.tolerances(dtypes.int64 if whole else dtypes.float64)
    difference = abs(actual - expected)
    both_nan = options.equal_nan and actual != actual and expected != expected
    if actual == expected or both_nan or (difference <= atol + rtol * abs(expected) < np.inf):
        return
    raise _Mismatch(_about_numbers(actual, expected, rtol, atol))


def _about_numbers(actual: Any, expected: Any, rtol: float, atol: float) -> str:
    exact = rtol == atol == 0
    difference = abs(actual - expected)
    relative = difference / abs(expected) if expected else float("inf")
    text = (
        f"Scalars are not {'equal' if exact else 'close'}!\n\nExpected {expected} but got {actual}"
    )
    text += f".\nAbsolute difference: {difference}" + _allowed(atol, exact)
    return text + f"\nRelative difference: {relative}" + _allowed(rtol, exact)


def _allowed(tolerance: float, exact: bool) -> str:
    return "" if exact else f" (up to {tolerance} allowed)"


def _compare_tensors(actual: Tensor, expected: Tensor, options: _Options) -> None:
    if not options.allow_subclasses and type(actual) is not type(expected):
        raise TypeError(f"the classes differ: {type(actual)} and {type(expected)}")
    if actual.shape != expected.shape:
        raise _Mismatch(
            f"The values for attribute 'shape' do not match: {actual.shape} != {expected.shape}."
        )
    if options.check_dtype and actual.dtype is not expected.dtype:
        raise _Mismatch(
            f"The values for attribute 'dtype' do not match: {actual.dtype} != {expected.dtype}."
        )
    if options.check_stride and actual.stride() != expected.stride():
        raise _Mismatch(
            "The values for attribute 'stride()' do not match: "
            f"{actual.stride()} != {expected.stride()}."
        )
    rtol, atol = options.tolerances(actual.dtype, expected.dtype)
    common = dtypes.promote_types(actual.dtype, expected.dtype)
    a, b = (x.detach().to(common)._payload for x in (actual, expected))
    if a.dtype.kind == "V":  # bfloat16
        a, b = a.astype(np.float32), b.astype(np.float32)
    with np.errstate(all="ignore"):
        if a.dtype.kind == "f":
            close = np.isclose(a, b, rtol, atol, options.equal_nan)
        else:
            close = _whole_are_close(a, b, rtol, atol)
        if not close.all():
            raise _Mismatch(_about_tensors(a, b, close, rtol, atol))


def _whole_are_close(a: np.ndarray, b: np.ndarray, rtol: float, atol: float) -> np.ndarray:
    if rtol == atol == 0:
        return np.asarray(a == b)
    wide = b.astype(np.int64)
    return np.asarray(np.abs(a.astype(np.int64) - wide) <= atol + rtol * np.abs(wide))


def _about_tensors(
    a: np.ndarray, b: np.ndarray, close: np.ndarray, rtol: float, atol: float
) -> str:
    exact = rtol == atol == 0
    if a.dtype.kind != "f":
        a, b = a.astype(np.int64), b.astype(np.int64)
    if not a.ndim:
        return _about_numbers(a.item(), b.item(), rtol, atol)
    wrong = int((~close).sum())
    absolute = np.abs(a - b)
    wide = a.dtype if a.dtype.kind == "f" else np.dtype(np.float32)
    relative = absolute.astype(wide) / np.abs(b).astype(wide)
    lines = [
        f"Tensor-likes are not {'equal' if exact else 'close'}!",
        "",
        f"Mismatched elements: {wrong} / {close.size} ({wrong / close.size:.1%})",
    ]
    for kind, differences, tolerance in (
        ("absolute", absolute, atol),
        ("relative", relative, rtol),
    ):
        shown = np.where(close, -1, differences)  # equal infinities differ by NaN
        place = np.unravel_index(int(np.argmax(shown)), shown.shape)
        at = ", ".join(map(str, place)) + ("," if len(place) == 1 else "")
        lines.append(
            f"Greatest {kind} difference: {differences[place].item()} at index ({at})"
            + _allowed(tolerance, exact)
        )
    return "\n".join(lines)


def make_tensor(
    *shape: Any,
    dtype: dtypes.dtype,
    device: Any = None,
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
    noncontiguous: bool = False,
    exclude_zero: bool = False,
) -> Tensor:
    """A tensor of random numbers for a test.

    Args:
        shape: sizes one by one, or as one sequence.
        dtype: the type.
        device: must name the CPU, where given.
        low: the least number; by default -9, or 0 for unsigned and bool.
        high: what the numbers stay below; by default 9, 10 for integers, 2 for bool.
        requires_grad: whether gradients flow to it.
        noncontiguous: whether its elements lie apart in memory.
        exclude_zero: whether zeros are replaced by the smallest number above.
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if dtype is dtypes.bool_:
        least, most = 0 if low is None else low, 2 if high is None else high
    elif dtype.is_floating_point:
        least, most = -9 if low is None else low, 9 if high is None else high
    else:
        least = (-9 if dtype.is_signed else 0) if low is None else low
        most = 10 if high is None else high
    if noncontiguous and sizes:
        drawn = (*sizes[:-1], 2 * sizes[-1])
    else:
        drawn = sizes
    if dtype.is_floating_point:
        result = ops.empty(drawn, dtype=dtype, device=device).uniform_(least, most)
    else:
        result = ops.randint(int(least), int(most), drawn, dtype=dtype, device=device)
    if exclude_zero:
        smallest = dtypes.finfo(dtype).tiny if dtype.is_floating_point else 1
        result = ops.where(result == 0, smallest, result).to(dtype)
    if noncontiguous and sizes:
        result = result[..., ::2]
    return result.requires_grad_(requires_grad) if requires_grad else result
