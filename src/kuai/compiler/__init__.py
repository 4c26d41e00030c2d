"""From Python to a graph, and from there to machine code: one file a stage, in that order."""

from kuai.compiler.capture import capture
from kuai.compiler.graph import Graph, Operation, Value

__all__ = ["Graph", "Operation", "Value", "capture"]
