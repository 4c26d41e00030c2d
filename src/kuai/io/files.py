"""`save` and `load`: which format a file has, and how it reaches the disk whole."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterator
from typing import IO, Any

from kuai.device import check_device, device
from kuai.errors import CheckpointError

File = str | os.PathLike[str] | IO[bytes]

ZIP_START = b"PK\x03\x04"
LEGACY_START = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"


def save(
    obj: object,
    f: File,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write tensors, and plain values and containers with tensors in them, to a file.

    The file is in the safetensors format, with the structure in its metadata. It is written
    beside its destination and then put in its place, so that a crash leaves the old file whole.
    Tensors that share memory are written once, and share memory when they are loaded.

    Args:
        obj: a tensor, a state dict, or lists, tuples, dicts and sets, nested, of tensors, numbers,
            strings, bytes, `None`, bools, dtypes, sizes and devices.
        f: a path, or a file opened for writing bytes.
        pickle_module: has no effect; nothing is pickled.
        pickle_protocol: has no effect.
        _use_new_zipfile_serialization: has no effect.
        _disable_byteorder_record: has no effect.

    Raises:
        TypeError: something in `obj` cannot be saved, such as a block or a function; nothing is
            written then.
    """
    from kuai.io.checkpoint import encode

    content = encode(obj)
    if not isinstance(f, str | os.PathLike):
        if not hasattr(f, "write"):
            raise TypeError(
                f"kuai.save: expected a path or a file open for writing, got {type(f).__name__}"
            )
        f.write(content)
        with contextlib.suppress(AttributeError):
            f.flush()
        return
    path = os.path.realpath(os.fspath(f))
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:  # a device or a pipe cannot be replaced
            file.write(content)
        return
    _write_whole(path, content)


def _write_whole(path: str, content: bytes) -> None:
    """Write a file such that at every moment the old or the new one is there, whole."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, os.stat(path).st_mode & 0o7777)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if os.name == "posix":  # the new name itself must reach the disk, too
        entry = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):
                os.fsync(entry)
        finally:
            os.close(entry)


def load(
    f: File,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what `save` wrote, any safetensors file, or a checkpoint that PyTorch wrote.

    Of PyTorch's files (`.pt`, `.pth`, in the zip format or the one before version 1.6), those of
    tensors, state dicts and plain values are read. No code from a file is ever run: what would
    need any is an error. All tensors are loaded to the CPU.

    Args:
        f: a path, or a file opened for reading bytes.
        map_location: where tensors should be: the CPU. Functions and dicts, which can only choose
            among devices, have no effect.
        pickle_module: has no effect.
        weights_only: has no effect: files are always read as with `True`.
        mmap: has no effect.
        **pickle_load_args: have no effect.

    Returns:
        the object. A safetensors file from elsewhere gives a dict of its tensors.

    Raises:
        CheckpointError: the file is truncated, corrupted, hostile, of no known format, or holds
            something that is no tensor and no plain value.
        RuntimeError: `map_location` is a device that kuai does not have.
    """
    if isinstance(map_location, str | device):
        check_device(map_location)
    with _opened(f) as (file, name):
        try:
            return _read(file, name)
        except CheckpointError:
            raise
        except RecursionError as error:
            raise CheckpointError(f"{name}: its structure is nested too deeply") from error
        except MemoryError as error:
            raise CheckpointError(f"{name}: it takes more memory than there is") from error


@contextlib.contextmanager
def _opened(f: File) -> Iterator[tuple[IO[bytes], str]]:
    """A seekable file to read from, and what to call it in messages."""
    if isinstance(f, str | os.PathLike):
        with open(f, "rb") as file:
            yield file, os.fspath(f)
        return
    if not hasattr(f, "read"):
        raise TypeError(
            f"kuai.load: expected a path or a file open for reading, got {type(f).__name__}"
        )
    name = str(getattr(f, "name", type(f).__name__))
    if hasattr(f, "seek") and hasattr(f, "tell") and getattr(f, "seekable", lambda: True)():
        yield f, name
        return
    content = f.read()
    if not isinstance(content, bytes):
        raise TypeError("kuai.load: the file must be open for reading bytes (mode 'rb')")
    yield io.BytesIO(content), name


def _read(file: IO[bytes], name: str) -> Any:
    """The object in a file, by the format that its first bytes show."""
    start = file.tell()
    first = file.read(16)
    if not isinstance(first, bytes):
        raise TypeError("kuai.load: the file must be open for reading bytes (mode 'rb')")
    file.seek(start)
    if not first:
        raise CheckpointError(f"{name}: the file is empty")
    if first.startswith(ZIP_START):
        from kuai.io.torch_file import read_zip

        return read_zip(file, name)
    if first.startswith(LEGACY_START):
        from kuai.io.torch_file import read_legacy

        return read_legacy(file, name)
    if first[8:9] == b"{":
        from kuai.io.checkpoint import decode

        return decode(file, name)
    raise CheckpointError(
        f"{name}: neither a safetensors file nor a checkpoint of PyTorch's "
        f"(it begins with {first!r})"
    )
