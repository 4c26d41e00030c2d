"""PyTorch's checkpoint files: the zip format, and the one that was written before version 1.6."""

from __future__ import annotations

import io
import os
import sys
import zipfile
import zlib
from typing import IO, Any

import numpy as np

from kuai import dtypes
from kuai.errors import CheckpointError
from kuai.io.memory import Storage
from kuai.io.torch_pickle import Interpreter, StorageType

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


def read_zip(file: IO[bytes], name: str) -> Any:
    """The object in a file of the zip format.

    Raises:
        CheckpointError: the file is not whole, or holds more than tensors and plain values.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return _ZipFile(archive).read()
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from error.__cause__
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        ValueError,
        KeyError,
        OSError,
        RuntimeError,
        IndexError,
        OverflowError,
        UnicodeError,
    ) as error:
        raise CheckpointError(f"{name}: truncated or corrupted: {error}") from error


class _ZipFile:
    """An archive that holds a pickle and the storages that it names."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > _size(archive):
            # PyTorch stores records as they are: what would unpack to more is no file of its own.
            raise CheckpointError("the archive's records are larger than the archive")
        names = [entry.filename for entry in entries]
        if len(set(names)) < len(names):
            raise CheckpointError("the archive has two records of one name")
        pickles = [n for n in names if n.endswith("/data.pkl") and n.count("/") == 1]
        if len(pickles) != 1:
            raise CheckpointError("a zip archive, but none that PyTorch saved (it has no data.pkl)")
        self.archive = archive
        self.folder = pickles[0][: -len("data.pkl")]
        if f"{self.folder}constants.pkl" in names:
            raise CheckpointError("a TorchScript program; only tensors and state dicts are read")
        order = self.record("byteorder") if f"{self.folder}byteorder" in names else b"little"
        if order not in (b"little", b"big"):
            raise CheckpointError(f"an unknown byte order {order!r}")
        self.swapped = order.decode() != sys.byteorder
        self.storages: dict[str, Storage] = {}

    def read(self) -> Any:
        """The object."""
        return Interpreter(self.storage).run(io.BytesIO(self.record("data.pkl")))

    def record(self, name: str) -> bytes:
        """One record's bytes, checked against its checksum."""
        return self.archive.read(self.folder + name)

    def storage(self, identity: tuple[Any, ...]) -> Storage:
        """The storage of `("storage", type, key, location, number of elements)`."""
        kind, key, count = _identity(identity, 5)
        element = kind.element or dtypes.uint8
        size = count * element.itemsize
        found = self.storages.get(key)
        if found is None:
            content = self.record(f"data/{key}")
            memory = _in_native_order(np.frombuffer(content, np.uint8), element, self.swapped)
            found = self.storages[key] = Storage(memory, kind.element)
        if found.memory.nbytes < size:
            raise CheckpointError(
                f"storage {key} has {found.memory.nbytes} bytes, but should have {size}"
            )
        return _typed(found, kind.element)


def read_legacy(file: IO[bytes], name: str) -> Any:
    """The object in a file of the format before PyTorch 1.6.

    It is a sequence of pickles (a magic number, the format's version, facts about the machine,
    the object, the keys of its storages), and then the storages' content, each after its length.

    Raises:
        CheckpointError: the file is not whole, or holds more than tensors and plain values.
    """
    try:
        return _LegacyFile(file).read()
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from error.__cause__


class _LegacyFile:
    """A legacy file, read from its start to its end."""

    def __init__(self, file: IO[bytes]) -> None:
        start = file.tell()
        self.left = file.seek(0, os.SEEK_END) - start
        file.seek(start)
        self.file = file
        self.storages: dict[str, Storage] = {}

    def read(self) -> Any:
        """The object."""
        magic, version, machine = self.pickle(), self.pickle(), self.pickle()
        if magic != LEGACY_MAGIC or version != LEGACY_PROTOCOL or type(machine) is not dict:
            raise CheckpointError("not a file of PyTorch's legacy format")
        swapped = machine.get("little_endian", True) != (sys.byteorder == "little")
        obj = self.pickle()
        keys = self.pickle()
        if type(keys) is not list or sorted(map(str, keys)) != sorted(self.storages):
            raise CheckpointError("the storages in the file are not those that its tensors need")
        for key in map(str, keys):
            self.fill(key, self.storages[key], swapped)
        return obj

    def pickle(self) -> Any:
        """The object of the next pickle."""
        return Interpreter(self.storage).run(self.file)

    def storage(self, identity: tuple[Any, ...]) -> Storage:
        """Memory for a storage, which `fill` fills once all tensors are there."""
        kind, key, count = _identity(identity, 6)
        element = kind.element or dtypes.uint8
        found = self.storages.get(key)
        if found is None:
            self.left -= count * element.itemsize
            if self.left < 0:
                raise CheckpointError("truncated: the storages are larger than the file")
            memory = np.zeros(count * element.itemsize, np.uint8)
            found = self.storages[key] = Storage(memory, element)
        if identity[5] is None:
            return _typed(found, kind.element)
        _, offset, length = identity[5]
        if type(offset) is not int or type(length) is not int or offset < 0 or length < 0:
            raise CheckpointError("a view of a storage is out of its bounds")
        part = slice(offset * element.itemsize, (offset + length) * element.itemsize)
        if part.stop > found.memory.nbytes:
            raise CheckpointError("a view of a storage is out of its bounds")
        view = Storage(found.memory[part], element)
        view.counter = found.counter
        return view

    def fill(self, key: str, storage: Storage, swapped: bool) -> None:
        """Read a storage's content."""
        element = storage.element or dtypes.uint8
        order = "big" if swapped == (sys.byteorder == "little") else "little"
        count = int.from_bytes(self.file.read(8), order)  # type: ignore[arg-type]
        size = storage.memory.nbytes
        if count * element.itemsize != size:
            raise CheckpointError(
                f"truncated or corrupted: storage {key} has {count} elements, but should have "
                f"{size // element.itemsize}"
            )
        content = self.file.read(size)
        if len(content) < size:
            raise CheckpointError(f"truncated: storage {key} has {len(content)} bytes of {size}")
        storage.memory[:] = _in_native_order(np.frombuffer(content, np.uint8), element, swapped)


def _identity(identity: tuple[Any, ...], length: int) -> tuple[StorageType, str, int]:
    """A storage's type, key and number of elements, from a persistent id."""
    if len(identity) != length:
        raise CheckpointError("a storage's identity is malformed")
    _, kind, key, location, count = identity[:5]
    if not isinstance(kind, StorageType) or type(count) is not int or count < 0:
        raise CheckpointError("a storage's identity is malformed")
    if location == "meta":
        raise CheckpointError("the file holds tensors of the meta device, which have no values")
    return kind, str(key), count


def _in_native_order(content: np.ndarray, element: dtypes.dtype, swapped: bool) -> np.ndarray:
    """A writable copy of bytes, each element in this machine's byte order; bools 0 or 1."""
    if element is dtypes.bool_:
        truth: np.ndarray = np.not_equal(content, 0).astype(np.uint8)
        return truth
    if content.nbytes % element.itemsize:
        raise CheckpointError("a storage does not hold a whole number of elements")
    if swapped and element.itemsize > 1:
        swapped_bytes: np.ndarray = content.reshape(-1, element.itemsize)[:, ::-1].ravel()
        return swapped_bytes
    return content.copy()


def _typed(storage: Storage, element: dtypes.dtype | None) -> Storage:
    """The same memory seen with this type of elements."""
    if storage.element is element:
        return storage
    seen = Storage(storage.memory, element)
    seen.counter = storage.counter
    return seen


def _size(archive: zipfile.ZipFile) -> int:
    """The size of the file that an archive is in."""
    file: Any = archive.fp
    position = file.tell()
    size: int = file.seek(0, os.SEEK_END)
    file.seek(position)
    return size
