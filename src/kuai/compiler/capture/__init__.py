"""From a call of a Python function to a graph: what it does to tensors, and what it read."""

from kuai.compiler.capture.capture import capture, capture_call
from kuai.compiler.capture.captured import Argument, Captured, NumberInput
from kuai.compiler.capture.sameness import changed_floats

__all__ = [
    "Argument",
    "Captured",
    "NumberInput",
    "capture",
    "capture_call",
    "changed_floats",
]
