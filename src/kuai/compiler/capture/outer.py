"""Tensors from outside, and the user's lines, as a capture knows them."""

from __future__ import annotations

import functools
import os
import sys
from types import FrameType
from typing import Any

import numpy as np

import kuai
from kuai.compiler.graph import StackMeta, Value
from kuai.compiler.rewrite.functions import is_library_file
from kuai.ops.windows import blank_like

_OWN = os.path.dirname(kuai.__file__)


class Outer:
    """A tensor from outside, as it was before the capture."""

    def __init__(self, x: Any, value: Value) -> None:
        self.tensor = x
        self.value = value
        self.payload = x._payload
        self.node = x._node
        self.requires_grad = x._requires_grad
        self.grad = x._grad
        self.counter = tuple(list.__iter__(x._counter))
        self.reads_grad = False
        self.overwritten = False  # its grad was written before anything read it

    @property
    def changed(self) -> bool:
        """Whether the capture has given it another value."""
        return self.tensor._payload is not self.payload

    def restore(self) -> None:
        """Put it back as it was."""
        x = self.tensor
        if x._payload is not self.payload or x._counter[1] != self.counter[1]:
            x._payload = self.payload
            x._counter[1] = self.counter[1]
            x._counter[0] = self.counter[0]
        if x._view is not None:
            x._view.generation = x._counter[1]
        x._node, x._requires_grad = self.node, self.requires_grad
        x._grad = self.grad


def lies_as(value: Value, array: np.ndarray) -> None:
    """Note how a tensor from outside lies in memory, where that is not plain."""
    if array.base is not None or not array.flags.c_contiguous:
        value.lies_as = blank_like(array)


def is_stack(value: Value) -> bool:
    """Whether a value is a loop's stack."""
    return isinstance(value.meta, StackMeta)


@functools.cache
def _is_own(file: str) -> bool:
    return file.startswith((_OWN, "<")) or is_library_file(file)


def user_place() -> tuple[str, int]:
    """File and line of the innermost frame that is not kuai's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not _is_own(code.co_filename):
            return code.co_filename, frame.f_lineno
        frame = frame.f_back
    return "", 0


def user_line() -> str:
    """The user's line, as `file:line`."""
    file, line = user_place()
    return f"{file}:{line}" if file else ""
