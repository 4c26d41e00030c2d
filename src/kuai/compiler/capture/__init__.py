"""From a call of a Python function to a graph: what it does to tensors, and what it read."""

from kuai.compiler.capture.capture import capture, capture_call
from kuai.compiler.capture.captured import Argument, Captured, NumberInput, Source
from kuai.compiler.capture.sameness import changed_floats

__all__ = [
    "Argument",
    "Captured",
    "NumberInput",
    "Source",
    "capture",
    "capture_call",
    "changed_floats",
]
