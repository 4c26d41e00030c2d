"""What a person looks at: the table of a network's blocks, and its picture."""

from __future__ import annotations

from kuai.show.drawing import Drawing, draw
from kuai.show.summary import Row, Summary, summary

__all__ = ["Drawing", "Row", "Summary", "draw", "summary"]
