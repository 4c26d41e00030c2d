"""Installs PyTorch, the oracle of the parity tests, into the environment that runs this file.

Exactly `torch==2.13.0`, since parity is with that version, and only a build for the CPU: the other
builds bring gigabytes of libraries that kuai has no use for. Where it is not to be had, the parity
tests are skipped; this file says so and succeeds.

    python tools/install_oracle.py
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

ORACLE = "torch==2.13.0"
# What torch imports, and `expecttest`, which its table of operator samples imports.
NEEDS = [
    "expecttest",
    "filelock",
    "fsspec",
    "jinja2",
    "networkx",
    "setuptools>=77.0.3",
    "sympy>=1.13.3",
    "typing_extensions>=4.10",
]
ACCELERATOR_LIBRARIES = ("cuda", "nvidia", "triton", "pytorch-triton")


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What pip, in this environment, answers to the arguments."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def installed() -> bool:
    """Whether the oracle is here and imports, along with its table of operator samples."""
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
    if version.partition("+")[0] != ORACLE.partition("==")[2]:
        return False
    probe = "import torch, torch.testing._internal.common_methods_invocations"
    command = [sys.executable, "-W", "ignore", "-c", probe]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def why_not() -> str | None:
    """Installs the oracle and says why that failed, if it did."""
    found = pip("install", "--dry-run", "--quiet", "--report", "-", "--no-deps", ORACLE)
    if found.returncode != 0:
        return f"pip finds no {ORACLE} for this Python and platform"
    # An empty list: that version is installed already, though it lacks what it needs.
    for package in json.loads(found.stdout)["install"]:
        requirements = package["metadata"].get("requires_dist") or []
        if any(
            requirement.startswith(ACCELERATOR_LIBRARIES) and "extra ==" not in requirement
            for requirement in requirements
        ):
            return f"pip finds only a {ORACLE} that needs an accelerator's libraries"
    print(f"installing {ORACLE}, the oracle of the parity tests", flush=True)
    for step in (["--no-deps", ORACLE], NEEDS):
        done = pip("install", "--quiet", *step)
        if done.returncode != 0:
            return f"pip could not install {' '.join(step)}: {done.stderr.strip()[-300:]}"
    return None if installed() else f"{ORACLE} does not import here"


def main() -> int:
    """Installs the oracle where that can be done; says so where it cannot."""
    if not installed() and (reason := why_not()):
        # Half an oracle would fail the tests that a missing one only leaves out.
        pip("uninstall", "--quiet", "--yes", "torch")
        print(f"the parity tests with PyTorch will be skipped: {reason}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
