"""The `kuai` command."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from kuai.config import get_num_threads
from kuai.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Args:
        arguments: those of the command line by default.
    """
    parsed = parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"kuai {parsed.command}: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    top = argparse.ArgumentParser(
        prog="kuai", description="Neural networks out of blocks, in plain Python."
    )
    top.add_argument("--version", action="version", version=f"kuai {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    demo = commands.add_parser(
        "demo",
        help="train a network on handwritten digits, draw it, save it, use it",
        description="Train a network made of nested blocks on 1,438 handwritten digits, print its "
        "summary, write its drawing and its weights, load them again and read a few of the 359 "
        "digits that it has not seen. The exit code is 1 if fewer than 97 % of those are right.",
    )
    demo.add_argument(
        "--out", type=Path, default=Path("kuai-demo"), metavar="FOLDER",
        help="where to write digits.svg and digits.safetensors (default: %(default)s)",
    )  # fmt: skip
    demo.add_argument(
        "--epochs", type=_positive, default=40, metavar="N",
        help="passes over the training images (default: %(default)s)",
    )  # fmt: skip
    demo.add_argument(
        "--seed", type=int, default=0, metavar="N",
        help="of all random numbers; the same seed gives the same network (default: %(default)s)",
    )  # fmt: skip
    demo.set_defaults(run=_demo)

    info = commands.add_parser(
        "info",
        help="versions, processor, threads",
        description="Print versions, the processor and threads: what a bug report should say.",
    )
    info.set_defaults(run=_info)
    return top


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _demo(parsed: argparse.Namespace) -> int:
    from kuai.demo import run

    return 0 if run(parsed.out, parsed.epochs, parsed.seed) else 1


def _info(_: argparse.Namespace) -> int:
    for name, value in information().items():
        print(f"{name:<12}{value}")
    return 0


def information() -> dict[str, str]:
    """Versions, the processor and threads."""
    from importlib import metadata

    facts = {"kuai": __version__, "Python": platform.python_version()}
    for package in ("numpy", "llvmlite", "safetensors", "rich"):
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    facts["system"] = f"{platform.system()} {platform.release()}"
    facts["processor"] = _processor()
    facts["threads"] = f"{get_num_threads()} of {_processors()} processors"
    return facts


def _processor() -> str:
    """The processor's name, as the system tells it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    return platform.processor() or platform.machine()


def _processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
