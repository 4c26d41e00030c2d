"""What a program returns, and how its failures are told: all that those who only run it need."""

from __future__ import annotations

from collections.abc import Sequence

INTERRUPTED, OUT_OF_MEMORY, HOST_FAILED = -1, -2, -3
"""The statuses that are not numbers of `Emitted.failures`; 0 is success."""

MOST_VALUES = 2
"""How many integers a failure may tell."""


def message_with(message: str, values: Sequence[int]) -> str:
    """A message with values in their places; one without values may have braces of its own."""
    return message.format(*values) if values else message
