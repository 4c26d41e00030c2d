"""NumPy kernels that programs call for what has no code of its own, such as a matrix's inverse.

All programs share one table of kernels and one callback; a program knows the number of its first.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai.compiler.layout import Layout
from kuai.compiler.native.locks import Lock
from kuai.core.base import wrap

if TYPE_CHECKING:
    from kuai.compiler.emit.emitted import HostCall
    from kuai.compiler.graph import Operation

_calls: list[HostCall | None] = []
_free: list[tuple[int, int]] = []  # places in the table that programs have given back
_lock = Lock()


def register(calls: Sequence[HostCall]) -> int:
    """Put a program's kernels into the table; the number of the first."""
    with _lock:
        for place in _free:
            if place[1] == len(calls):
                _free.remove(place)
                _calls[place[0] : place[0] + len(calls)] = calls
                return place[0]
        _calls.extend(calls)
        return len(_calls) - len(calls)


def forget(first: int, count: int) -> None:
    """Take a program's kernels out of the table."""
    with _lock:
        _calls[first : first + count] = [None] * count
        _free.append((first, count))


def run(number: int, pointers: int) -> None:
    """Run the kernel of this number on arrays at these addresses.

    Raises:
        BaseException: what the kernel raises.
    """
    call = _calls[number]
    assert call is not None
    table = (ctypes.c_void_p * (len(call.inputs) + len(call.outputs))).from_address(pointers)
    addresses = iter(table)
    arguments = [_argument(x, addresses) for x in call.inputs]
    operation, failed = call.operation, None
    try:
        with np.errstate(all="ignore"):
            result = operation.primitive.kernel(*arguments, **operation.parameters)
    except Exception as error:
        failed = _explained(error, operation, arguments)
    if failed is not None:
        raise failed
    results = result if isinstance(result, (tuple, list)) else (result,)
    for array, layout in zip(results, call.outputs, strict=True):
        np.copyto(array_at(next(addresses) or 0, layout), array, casting="unsafe")


def _explained(error: Exception, operation: Operation, arguments: Sequence[Any]) -> Exception:
    """The error that eager raises where a kernel fails, with its place noted."""
    given = [wrap(x) if isinstance(x, np.ndarray) else x for x in arguments]
    try:
        operation.primitive.explain(error, given, operation.parameters)
    except Exception as better:
        error = better
    operation.origin.annotate(error)
    return error.with_traceback(None)


def _argument(x: Any, addresses: Any) -> Any:
    if isinstance(x, Layout):
        return array_at(next(addresses) or 0, x)
    if isinstance(x, tuple):  # a value that is the same number everywhere
        meta, number = x
        return np.broadcast_to(np.asarray(number, meta.dtype.numpy), meta.shape)
    return x


def array_at(address: int, layout: Layout) -> np.ndarray:
    """The array of this layout at an address."""
    if not math.prod(layout.shape):
        return np.empty(layout.shape, layout.dtype.numpy)
    ends = [(n - 1) * s for n, s in zip(layout.shape, layout.strides, strict=True)]
    low = sum(e for e in ends if e < 0)
    high = sum(e for e in ends if e > 0) + layout.dtype.itemsize
    start = address + layout.offset + low
    memory: Any = (ctypes.c_char * (high - low)).from_address(start)
    return np.ndarray(
        layout.shape, layout.dtype.numpy, buffer=memory, offset=-low, strides=layout.strides
    )
