"""The errors that kuai raises where Python has no fitting class of its own.

All derive from `RuntimeError`, which is what PyTorch raises in the same situations, so that code
written for PyTorch catches them.
"""

from __future__ import annotations


class ShapeError(RuntimeError):
    """Shapes that do not fit together; the message says what was got and what was expected."""


class DtypeError(RuntimeError):
    """A data type that an operation does not accept."""


class GradientError(RuntimeError):
    """A gradient that cannot be computed: no graph, a freed one, or a value changed in place."""


class CheckpointError(RuntimeError):
    """A file of tensors that is truncated, corrupted, hostile, or not of a known format."""


class DataDependentError(RuntimeError):
    """A result's shape or a Python value that depends on the values of tensors, while capturing."""
