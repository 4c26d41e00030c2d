"""The errors that kuai raises where Python has no fitting class of its own.

All derive from the class that PyTorch raises in the same situations, so that code written for
PyTorch catches them.
"""

from __future__ import annotations


class ShapeError(RuntimeError):
    """Shapes that do not fit together; the message says what was got and what was expected."""


class DtypeError(RuntimeError):
    """A data type that an operation does not accept."""


class GradientError(RuntimeError):
    """A gradient that cannot be computed: no graph, a freed one, or a value changed in place."""


class OperandError(TypeError):
    """An operand is neither a tensor nor a number."""


class CheckpointError(RuntimeError):
    """A file of tensors that is truncated, corrupted, hostile, or not of a known format."""


class DataDependentError(RuntimeError):
    """A result's shape or a Python value that depends on the values of tensors, while capturing.

    Attributes:
        advice: what to do instead.
    """

    advice = "compute with tensors throughout; conditions and loops on them are compiled"


class CompileError(RuntimeError):
    """What a compiled function does that cannot be compiled: where, why, and what to do.

    Attributes:
        file, line: where in the user's source; an empty file where that is not known.
        source: that line.
        reason: what cannot be captured.
        advice: what to do instead.
    """

    def __init__(
        self, reason: str, advice: str = "", file: str = "", line: int = 0, source: str = ""
    ) -> None:
        self.reason = reason
        self.advice = advice
        self.file = file
        self.line = line
        self.source = source.strip()
        super().__init__(reason, advice, file, line, source)

    def __str__(self) -> str:
        lines = [self.reason]
        if self.advice:
            lines.append(f"  instead: {self.advice}")
        if self.file:
            lines.append(f"  at {self.file}:{self.line}")
        if self.source:
            lines.append(f"    {self.source}")
        return "\n".join(lines)
