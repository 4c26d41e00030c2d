"""Looking into a program while it runs, compiled or not."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

import numpy as np

from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import Meta, Primitive, primitive


@primitive
class print_values(Primitive):
    """Print tensors among other things; nothing is computed.

    `parts` are what is printed: a text, as a tuple, or whether the next tensor is one, and not a
    number.
    """

    inputs = ("values",)
    variadic = True
    differentiable = False
    has_effects = True

    def kernel(self, *values: np.ndarray, parts: tuple[Any, ...], sep: str, end: str) -> tuple[()]:
        tensors = iter(values)
        shown = [_shown(p, tensors) for p in parts]
        builtins.print(*shown, sep=sep, end=end, flush=True)
        return ()

    def infer(self, *values: Meta, parts: tuple[Any, ...], sep: str, end: str) -> tuple[()]:
        return ()


def _shown(part: Any, tensors: Iterator[np.ndarray]) -> Any:
    if type(part) is tuple:
        return part[0]
    array = np.array(next(tensors))
    return wrap(array) if part else array.item()


def print(*values: Any, sep: str = " ", end: str = "\n") -> None:
    """Print values as `print` does, also those of tensors inside a compiled program.

    Args:
        values: tensors, whose values at that moment are printed, and anything else, which is
            printed as it was when the program was compiled.
        sep: what stands between them.
        end: what stands after the last one.

    Examples:
        >>> @kuai.compile
        ... def halve(x):
        ...     while x.sum() > 1:
        ...         kuai.debug.print("x is", x)
        ...         x = x / 2
        ...     return x
    """
    if primitives.intercept is None:
        builtins.print(*values, sep=sep, end=end, flush=True)
        return
    tensors = [v.detach() for v in values if isinstance(v, TensorBase)]
    parts = tuple([(str(v),) if not isinstance(v, TensorBase) else not v._weak for v in values])
    print_values(*tensors, parts=parts, sep=sep, end=end)


__all__ = ["print"]
