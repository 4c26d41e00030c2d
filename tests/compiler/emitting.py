"""Runs what `Emit` computes on arrays: a loop over the elements, with a masked tail."""

import ctypes
from collections.abc import Callable

import numpy as np

from kuai import dtypes
from kuai.compiler.emit.builder import Module, Ref
from kuai.compiler.emit.scalars import Emit, Scalar
from kuai.compiler.native import jit

WIDE = '"min-legal-vector-width"="512" "prefer-vector-width"="512"'
NUMBERS = (bool, int, float)


def program(
    compute: Callable[..., Scalar], inputs: list, dtype: dtypes.dtype, lanes: int, name: str
) -> str:
    """A module with `name(ptr inputs, ptr result, i64 n)`; numbers among the inputs are baked."""
    module = Module()
    f = module.function(
        name, "void", [("ptr", "in"), ("ptr", "out"), ("i64", "n")], internal=False, attributes=WIDE
    )
    table, out, n = f.arguments

    def body(index: Ref, mask: Ref | None) -> None:
        emit = Emit(f, lanes, dtype)
        given = []
        for k, x in enumerate(inputs):
            if isinstance(x, NUMBERS):
                given.append(x)
                continue
            d = dtypes.from_numpy_dtype(x.dtype)
            pointer = f.load("ptr", f.at(table, k, "ptr"))
            pointer = f.at(pointer, f.mul(index, f.const(d.itemsize, "i64")), "i8")
            given.append(emit.load(pointer, d, mask=mask))
        result = compute(emit, *given)
        assert result.dtype is dtype
        pointer = f.at(out, f.mul(index, f.const(dtype.itemsize, "i64")), "i8")
        emit.store(result, pointer, mask=mask)

    step = max(lanes, 1)
    whole = f.sub(n, f.binary("urem", n, f.const(step, "i64")))
    with f.loop(0, whole, step) as index:
        body(index, None)
    if lanes:
        with f.when(f.compare("slt", whole, n)):
            body(whole, Emit(f, lanes).tail(f.sub(n, whole)))
    f.ret()
    return str(module)


def run(
    compute: Callable[..., Scalar], inputs: list, dtype: dtypes.dtype, lanes: int
) -> np.ndarray:
    """What `compute(emit, *scalars)` gives for each element of the inputs, of one shape."""
    text = program(compute, inputs, dtype, lanes, "elements")
    arrays = [np.ascontiguousarray(x) for x in inputs if not isinstance(x, NUMBERS)]
    library = jit.load(jit.assemble(text, verify=True), ["elements"])
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(
        library["elements"]
    )
    result = np.empty(arrays[0].shape, dtype.numpy)
    places = iter(arrays)
    table = (ctypes.c_void_p * len(inputs))(
        *[None if isinstance(x, NUMBERS) else next(places).ctypes.data for x in inputs]
    )
    call(ctypes.addressof(table), result.ctypes.data, result.size)
    return result
