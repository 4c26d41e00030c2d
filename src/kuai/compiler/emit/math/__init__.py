"""The functions of analysis in vector code."""

from __future__ import annotations

from kuai.compiler.emit.builder import Function, Ref


def apply(function: Function, name: str, *arguments: Ref) -> Ref:
    """The value of a function, of floats or doubles with or without lanes."""
    return function.intrinsic(name, *arguments)
