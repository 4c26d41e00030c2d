"""Functions that give another answer each time, which a program would only have once."""

from __future__ import annotations

import builtins
import io
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


# What looks at files, or changes them, in modules of which the rest only computes.
_FILES = {
    "pathlib": set(
        """chmod cwd exists expanduser glob group hardlink_to home is_dir is_file is_mount
        is_symlink iterdir lchmod link_to lstat mkdir open owner read_bytes read_text readlink
        rename replace resolve rglob rmdir samefile stat symlink_to touch unlink walk write_bytes
        write_text""".split()
    ),
    "numpy": set("fromfile genfromtxt load loadtxt memmap save savetxt savez".split()),
    "kuai.io.files": {"load", "save"},
}
_PATHS = set(
    """abspath exists expanduser getatime getctime getmtime getsize isdir isfile islink ismount
    lexists realpath samefile""".split()
)
for _module in ("posixpath", "genericpath", "ntpath", "os.path"):
    _FILES[_module] = _PATHS
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
    room = str(module)
    files = name in _FILES.get(room if room in _FILES else room.split(".")[0], ())
    if isinstance(owner, io.IOBase) and not session.has_made(owner):
        module, files = type(owner).__name__, True
    if files or module in _IMPURE or function in (builtins.input, builtins.open):
        session.recorder.refuse(
            f"a call of {module}.{name}, whose result would be computed once, while compiling",
            "do it where the compiled function is called, and pass the result as an argument; "
            "random numbers come from kuai.rand and its relatives",
        )
