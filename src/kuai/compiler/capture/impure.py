"""Functions that give another answer each time, which a program would only have once."""

from __future__ import annotations

import builtins
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kuai.compiler.capture.observing import Observing

_IMPURE = {
    "os",
    "posix",
    "random",
    "time",
    "secrets",
    "uuid",
    "datetime",
    "numpy.random",
    "_random",
    "socket",
}


_SEEDED = {"default_rng", "RandomState", "Random", "Generator", "PCG64", "SeedSequence"}


def refuse_impure(session: Observing, function: Any, args: tuple[Any, ...] = ()) -> None:
    """Refuse functions whose result would be baked in, though it differs from call to call."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", "function")
    module = getattr(function, "__module__", None) or getattr(owner, "__name__", None)
    kind = type(owner).__module__
    if kind in ("random", "numpy.random.mtrand", "numpy.random._generator"):
        shared = owner is getattr(sys.modules.get("random"), "_inst", None) or (
            owner is getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None)
        )
        if not shared and not session.reads.is_outside(owner):
            return  # seeded, and used up, within the function
        module = "random"
    elif name in _SEEDED and args:
        return
    elif args and type(args[0]).__module__ == "os":  # the environment
        module = "os"
    if module in _IMPURE or function in (builtins.input, builtins.open):
        session.recorder.refuse(
            f"a call of {module}.{name}, whose result would be computed once, while compiling",
            "pass the result as an argument; random numbers come from kuai.rand and its relatives",
        )
