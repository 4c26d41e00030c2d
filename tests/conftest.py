"""What every test starts from: gradients are recorded."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kuai


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    """Puts the global settings back after a test."""
    yield
    kuai.set_grad_enabled(True)
