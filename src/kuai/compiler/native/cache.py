"""What was made once and is kept on disk: machine code, under a hash of what it was made from.

Any number of processes may read and write at once: a file appears whole, by a rename, and carries
a checksum, so that one which was cut short or damaged is as good as none. Where nothing can be
written, nothing is kept.
"""

from __future__ import annotations

import os
from contextlib import suppress

from kuai.version import __version__

try:
    from _blake2 import blake2b  # that of hashlib, which would import OpenSSL beside it
except ImportError:
    from hashlib import blake2b

LIMIT = 512 * 1024 * 1024  # bytes on disk; the files used longest ago go first
_MAGIC = b"kuai\x01"
_DIGEST = 16


def directory() -> str:
    """Where files are kept: `KUAI_CACHE_DIR`, or `kuai` in the user's cache directory."""
    given = os.environ.get("KUAI_CACHE_DIR")
    if given:
        return given
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.path.join(os.path.expanduser(base), "kuai")


def key(*parts: str) -> str:
    """The name for what is made from these texts by this version of kuai and of LLVM."""
    import llvmlite

    digest = blake2b(digest_size=_DIGEST)
    for part in (__version__, llvmlite.__version__, *parts):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def read(name: str) -> bytes | None:
    """What is kept under a key; `None` if nothing is, or if it is damaged."""
    path = os.path.join(directory(), name)
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError:
        return None
    start = len(_MAGIC) + _DIGEST
    content = data[start:]
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : start] != digest_of(content):
        return None
    with suppress(OSError):
        os.utime(path)  # used just now: the last to go
    return content


def has(name: str) -> bool:
    """Whether something is kept under a key, sound or not."""
    return os.path.exists(os.path.join(directory(), name))


def write(name: str, content: bytes) -> None:
    """Keep something under a key. It is no error if that cannot be done."""
    folder = directory()
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        os.makedirs(folder, exist_ok=True)
        try:
            with open(temporary, "wb") as stream:
                stream.write(_MAGIC + digest_of(content) + content)
            os.replace(temporary, os.path.join(folder, name))
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _bound(folder)
    except OSError:
        pass


def digest_of(content: bytes) -> bytes:
    """A hash of some bytes."""
    return blake2b(content, digest_size=_DIGEST).digest()


_written = 0


def _bound(folder: str) -> None:
    """Remove what was used longest ago where there is too much; a look at every 32nd writing."""
    global _written
    _written += 1
    if _written % 32 != 1:
        return
    files = []
    for entry in os.scandir(folder):
        try:
            facts = entry.stat()
        except OSError:  # another process removed it
            continue
        files.append((facts.st_mtime, facts.st_size, entry.path))
    excess = sum(size for _, size, _ in files) - LIMIT
    for _, size, path in sorted(files):
        if excess <= 0:
            return
        try:
            os.unlink(path)
        except OSError:
            continue
        excess -= size


_sources: str | None = None


def sources() -> str:
    """Which files make programs, and when they were changed: other files make other programs."""
    global _sources
    if _sources is None:
        import kuai

        root = os.path.dirname(kuai.__file__)
        found: list[str] = []
        for folder in ("compiler", "core", "ops", "nn/functional"):
            _stamps(os.path.join(root, folder), found)
        _sources = "\n".join(sorted(found))
    return _sources


def _stamps(folder: str, found: list[str]) -> None:
    for entry in os.scandir(folder):
        if entry.is_dir() and entry.name != "__pycache__":
            _stamps(entry.path, found)
        elif entry.name.endswith(".py"):
            facts = entry.stat()
            found.append(f"{entry.path} {facts.st_size} {facts.st_mtime_ns}")
