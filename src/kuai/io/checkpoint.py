"""kuai's own files: safetensors, with the structure around the tensors in the metadata."""

from __future__ import annotations

import json
from typing import IO, Any

import numpy as np

from kuai import dtypes
from kuai.errors import CheckpointError
from kuai.io.memory import Storage, lay_out
from kuai.io.structure import DTYPES, Reader, Writer

VERSION = 1
LARGEST_HEADER = 100_000_000  # safetensors' own limit
ELEMENTS = {
    "F64": dtypes.float64,
    "F32": dtypes.float32,
    "F16": dtypes.float16,
    "BF16": dtypes.bfloat16,
    "I64": dtypes.int64,
    "I32": dtypes.int32,
    "I16": dtypes.int16,
    "I8": dtypes.int8,
    "U8": dtypes.uint8,
    "BOOL": dtypes.bool_,
}


def encode(obj: object) -> bytes:
    """The content of a file with this object.

    Raises:
        TypeError: something in it cannot be saved.
    """
    import safetensors.numpy

    writer = Writer()
    tree = writer.encode(obj)
    written, places = lay_out(writer.arrays, writer.names)
    for place, properties in zip(places, writer.properties, strict=True):
        place.update(properties)
    structure = {"version": VERSION, "tree": tree, "tensors": places}
    metadata = {"kuai": json.dumps(structure, separators=(",", ":"))}
    return safetensors.numpy.save(written, metadata=metadata)


def decode(file: IO[bytes], name: str) -> Any:
    """The object in a safetensors file, from where it stands to the object's end.

    Raises:
        CheckpointError: the file is not whole, or not of the format.
    """
    import safetensors

    content, metadata = _read_one(file, name)
    try:
        stored = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{name}: not a whole safetensors file: {error}") from error
    arrays = {key: _storage(name, key, view) for key, view in stored}
    if "kuai" not in metadata:
        return {key: _tensor(*found, {}) for key, found in arrays.items()}
    try:
        structure = json.loads(metadata["kuai"])
        if structure["version"] != VERSION:
            raise CheckpointError(
                f"{name}: written by a newer kuai (format {structure['version']!r}; this one "
                f"reads {VERSION})"
            )
        tensors = [_placed(arrays, place) for place in structure["tensors"]]
        return Reader(tensors).decode(structure["tree"])
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from error.__cause__
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        raise CheckpointError(
            f"{name}: the structure in the file's metadata is corrupted ({error!r})"
        ) from error


def _read_one(file: IO[bytes], name: str) -> tuple[bytes, dict[str, str]]:
    """One safetensors file's bytes, and its metadata."""
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if length > LARGEST_HEADER:
        raise CheckpointError(f"{name}: not a safetensors file (a header of {length} bytes)")
    header = file.read(length)
    if len(header) < length:
        raise CheckpointError(f"{name}: truncated: the header has {len(header)} bytes of {length}")
    try:
        entries = json.loads(header)
        metadata = entries.pop("__metadata__", None) or {}
        size = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        if type(size) is not int or not 0 <= size < 2**62:
            raise ValueError(f"data that ends at {size!r}")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise CheckpointError(f"{name}: the safetensors header is corrupted: {error}") from error
    data = file.read(size)
    if len(data) < size:
        raise CheckpointError(f"{name}: truncated: {len(data)} bytes of data of {size}")
    return prefix + header + data, metadata


def _storage(name: str, key: str, view: dict[str, Any]) -> tuple[Storage, list[int]]:
    """The memory of one array in the file, and its shape."""
    element = ELEMENTS.get(view["dtype"])
    if element is None:
        raise CheckpointError(f"{name}: tensor '{key}' has type {view['dtype']}, which kuai lacks")
    memory = np.frombuffer(view["data"], np.uint8)
    if element is dtypes.bool_:
        memory = (memory != 0).view(np.uint8)
    elif not memory.flags.writeable:
        memory = memory.copy()
    return Storage(memory, element), list(view["shape"])


def _tensor(storage: Storage, shape: list[int], place: dict[str, Any]) -> Any:
    """The tensor at this place in a storage; the whole of it where the place does not say."""
    if "shape" in place:
        element, shape, strides = DTYPES[place["dtype"]], place["shape"], place["strides"]
        return storage.tensor(element, place["offset"], shape, strides)
    element = storage.element or dtypes.uint8
    strides, step = [], element.itemsize
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return storage.tensor(element, 0, shape, strides[::-1])


def _placed(arrays: dict[str, tuple[Storage, list[int]]], place: dict[str, Any]) -> Any:
    """A tensor (or Parameter, or array) as its entry in the metadata describes it."""
    result = _tensor(*arrays[place["in"]], place)
    kind = place.get("kind", "Tensor")
    requires_grad = place.get("requires_grad", False)
    if type(requires_grad) is not bool or (requires_grad and not result.dtype.is_floating_point):
        raise CheckpointError("a tensor that cannot require gradients is marked so")
    if kind == "array":
        return result._payload
    if kind == "Parameter":
        from kuai.nn.parameter import Parameter

        return Parameter(result, requires_grad)
    result._requires_grad = requires_grad
    return result
