"""Says whether a result is PyTorch's, and if not, in what it differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch


class Mismatch(AssertionError):
    """The result differs from PyTorch's; the text says in what."""


class Tolerance(NamedTuple):
    """How far a value may lie from PyTorch's: `absolute + relative * |expected|`."""

    absolute: float
    relative: float


# Computes a result of PyTorch's in float64.
Exact = Callable[[], Any]

# PyTorch's own, of `torch.testing.assert_close`.
DEFAULT = {
    "float16": Tolerance(1e-5, 1e-3),
    "bfloat16": Tolerance(1e-5, 1.6e-2),
    "float32": Tolerance(1e-5, 1.3e-6),
    "float64": Tolerance(1e-7, 1e-7),
}
EXACT = Tolerance(0.0, 0.0)

# How far PyTorch may be, relative to the largest value, from its own result in float64, for the
# difference to be rounding; beyond, the operator depends on the type (on its largest number, say).
_CREDIBLE = {"float16": 0.1, "bfloat16": 0.1, "float32": 1e-4}


def tolerances(decorators: tuple[Any, ...] = ()) -> dict[str, Tolerance]:
    """The tolerance for each dtype: PyTorch's default, or what its own test of the operator uses.

    Args:
        decorators: those of an `OpInfo` or a `ModuleInfo`.
    """
    table = dict(DEFAULT)
    for decorator in decorators:
        if getattr(decorator, "device_type", None) not in (None, "cpu"):
            continue
        for inner in getattr(decorator, "decorators", [decorator]):
            for dtype, own in getattr(inner, "d", {}).items():
                name = dtype_name(dtype)
                if name in table and isinstance(getattr(own, "atol", None), float):
                    absolute, relative = table[name]
                    table[name] = Tolerance(max(absolute, own.atol), max(relative, own.rtol))
    return table


def dtype_name(dtype: Any) -> str:
    """`float32` for `torch.float32` and `kuai.float32`."""
    return str(dtype).rpartition(".")[2]


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of either library."""
    return hasattr(value, "requires_grad") and hasattr(value, "detach")


def as_array(tensor: Any) -> np.ndarray:
    """The values of a tensor of either library, in a type that NumPy compares exactly."""
    tensor = tensor.detach()
    if dtype_name(tensor.dtype) in ("bfloat16", "float16"):
        tensor = tensor.float()
    if isinstance(tensor, torch.Tensor):
        return tensor.numpy(force=True)  # derivatives that are zero everywhere may be unallocated
    return np.asarray(tensor.numpy())


def assert_same(
    actual: Any,
    expected: Any,
    table: dict[str, Tolerance],
    values: bool = True,
    where: str = "result",
    exact: Exact | None = None,
) -> None:
    """Compares a result with PyTorch's: kind, shape, dtype, values; containers item by item.

    Args:
        actual: what the library under test returned.
        expected: what PyTorch returned.
        table: the tolerance for each floating dtype.
        values: whether values are compared too.
        where: what the result is called in the error.
        exact: gives PyTorch's result in float64, for results in narrower types: where rounding
            errors of sums cancel, both libraries are off by more than the tolerance, and kuai may
            be off by twice as much as PyTorch.

    Raises:
        Mismatch: they differ.
    """
    if isinstance(expected, torch.Tensor):
        assert_same_tensor(actual, expected, table, values, where, exact)
    elif isinstance(expected, torch.dtype):
        if dtype_name(actual) != dtype_name(expected):
            raise Mismatch(f"{where}: {actual}, not {expected}")
    elif isinstance(expected, dict):
        if not isinstance(actual, dict) or list(actual) != list(expected):
            raise Mismatch(f"{where}: {actual!r}, not a dict of {list(expected)}")
        for key, item in expected.items():
            named = f"{where}[{key!r}]"
            assert_same(actual[key], item, table, values, named, part_of(exact, key))
    elif isinstance(expected, (list, tuple)):
        kind = list if isinstance(expected, list) else tuple
        if not isinstance(actual, kind):
            raise Mismatch(f"{where}: a {type(actual).__name__}, not a {kind.__name__}")
        if len(actual) != len(expected):
            raise Mismatch(f"{where}: {len(actual)} items, not {len(expected)}")
        for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
            assert_same(one, other, table, values, f"{where}[{i}]", part_of(exact, i))
        for i, name in enumerate(field_names(expected)):
            if getattr(actual, name, None) is not actual[i]:
                raise Mismatch(f"{where}: has no field {name}")
    elif isinstance(expected, (bool, int, float, str)) or expected is None:
        if type(actual) is not type(expected):
            raise Mismatch(f"{where}: {actual!r}, not {expected!r}")
        if values and isinstance(expected, float):
            absolute, relative = table["float32"]
            if not np.isclose(actual, expected, rtol=relative, atol=absolute, equal_nan=True):
                raise Mismatch(f"{where}: {actual!r}, not {expected!r}")
        elif values and actual != expected:
            raise Mismatch(f"{where}: {actual!r}, not {expected!r}")


def part_of(exact: Exact | None, i: Any) -> Exact | None:
    """What gives the part `i` of what `exact` gives."""
    return None if exact is None else lambda: exact()[i]


def field_names(result: Any) -> list[str]:
    """The names under which `torch.max(x, 0)` and its like give their parts, in order."""
    kind = type(result)
    if kind.__module__ != "torch.return_types":
        return []
    probe = kind(range(len(result)))
    named = {
        getattr(probe, name): name
        for name in vars(kind)
        if not name.startswith(("_", "n_")) and isinstance(getattr(probe, name), int)
    }
    return [named[i] for i in range(len(result))]


def assert_same_tensor(
    actual: Any,
    expected: torch.Tensor,
    table: dict[str, Tolerance],
    values: bool,
    where: str,
    exact: Exact | None = None,
) -> None:
    """Compares shape, dtype and values of two tensors.

    Raises:
        Mismatch: they differ.
    """
    if not is_tensor(actual):
        raise Mismatch(f"{where}: a {type(actual).__name__}, not a tensor")
    if tuple(actual.shape) != tuple(expected.shape):
        raise Mismatch(f"{where}: shape {tuple(actual.shape)}, not {tuple(expected.shape)}")
    name = dtype_name(expected.dtype)
    if dtype_name(actual.dtype) != name:
        raise Mismatch(f"{where}: dtype {dtype_name(actual.dtype)}, not {name}")
    if not values:
        return
    got, wanted = as_array(actual), as_array(expected)
    absolute, relative = table.get(name, EXACT)
    if name not in table:
        close = got == wanted
    else:
        close = np.isclose(got, wanted, rtol=relative, atol=absolute, equal_nan=True)
    if not close.all() and exact is not None and name in _CREDIBLE:
        truth = as_array(exact())
        close |= np.abs(got - truth) <= np.abs(wanted - truth)
        finite = np.isfinite(truth)
        theirs = np.max(np.abs(wanted - truth), initial=0.0, where=finite)
        if theirs < _CREDIBLE[name] * np.max(np.abs(truth), initial=0.0, where=finite):
            close |= np.abs(got - truth) <= 2 * theirs
    if not close.all():
        at = tuple(int(i) for i in np.argwhere(~close)[0])
        raise Mismatch(
            f"{where}: {int((~close).sum())} of {close.size} values differ, "
            f"at {list(at)} {got[at]!s}, not {wanted[at]!s}"
        )
