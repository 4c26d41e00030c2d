"""What every test starts from: the same random numbers and the default settings."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

import kuai

kuai.config.full_tracebacks = True
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell runs the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    """Seeds the random numbers before a test, and puts the global settings back after it."""
    kuai.manual_seed(0)
    yield
    kuai.set_grad_enabled(True)
    kuai.set_default_dtype(kuai.float32)
    kuai.set_printoptions(profile="default")
