"""The structure around tensors (dicts, lists, plain values) as JSON, and back.

JSON's own values stand for `None`, bools, ints, finite floats, strings and lists. Everything else
is an object with one entry whose key names the type: `{"tuple": [...]}`, `{"tensor": 3}`, ...
"""

from __future__ import annotations

import base64
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from kuai import dtypes
from kuai.core.base import Size, TensorBase
from kuai.device import device
from kuai.errors import CheckpointError

FACTORIES: dict[str, Any] = {
    kind.__name__: kind for kind in (int, float, bool, str, list, dict, set, tuple)
}
DTYPES = {element.name: element for element in dtypes.ALL}


class Writer:
    """Turns an object into JSON values, and collects the tensors in it.

    Attributes:
        arrays: the tensors' arrays, in order of appearance.
        names: a readable name for each: the keys that lead to it.
        properties: what else to keep of each: its kind, and whether it requires gradients.
    """

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.names: list[str] = []
        self.properties: list[dict[str, Any]] = []
        self._taken: set[str] = {"", "__metadata__"}
        self._numbers: dict[int, int] = {}
        self._keep: list[object] = []  # an id stays unique only while its object lives
        self._path: list[Any] = []
        self._open: set[int] = set()

    def encode(self, obj: Any) -> Any:
        """The JSON value of an object.

        Raises:
            TypeError: it cannot be saved.
            ValueError: it contains itself.
        """
        kind = type(obj)
        if obj is None or kind in (bool, int, str):
            return obj
        if kind is float:
            return obj if math.isfinite(obj) else {"float": str(obj)}
        if isinstance(obj, TensorBase):
            return {"tensor": self._tensor(obj)}
        if kind in ENCODERS:
            return ENCODERS[kind](obj)
        if isinstance(obj, np.generic) and obj.dtype.name in DTYPES:
            return {"scalar": self._add(obj, np.asarray(obj), {"kind": "array"})}
        if kind is np.ndarray and obj.dtype.name in DTYPES and obj.dtype.isnative:
            return {"array": self._add(obj, obj, {"kind": "array"})}
        if kind in CONTAINERS:
            if id(obj) in self._open:
                raise ValueError(f"kuai.save: {self._where()} contains itself")
            self._open.add(id(obj))
            try:
                return CONTAINERS[kind](self, obj)
            finally:
                self._open.discard(id(obj))
        raise TypeError(self._refusal(obj))

    def items(self, items: Any) -> list[Any]:
        """The values of a sequence."""
        return [self._at(i, item) for i, item in enumerate(items)]

    def pairs(self, mapping: Any) -> list[Any]:
        """The keys and values of a mapping."""
        return [[self.encode(key), self._at(key, value)] for key, value in mapping.items()]

    def _at(self, key: Any, value: Any) -> Any:
        self._path.append(key)
        encoded = self.encode(value)
        self._path.pop()
        return encoded

    def _tensor(self, tensor: TensorBase) -> int:
        from kuai.nn.parameter import Parameter
        from kuai.tensor import Tensor

        kind = type(tensor)
        if kind is not Tensor and kind is not Parameter:
            lazy = kind.__name__.startswith("Uninitialized")
            advice = ": run the model on an input first, which gives lazy parameters their shapes"
            raise TypeError(
                f"kuai.save: {self._where()} is a {kind.__name__}; only Tensor and Parameter can "
                f"be saved{advice if lazy else ''}"
            )
        if not isinstance(tensor._payload, np.ndarray):
            raise TypeError(f"kuai.save: {self._where()} has no values yet: it is being compiled")
        properties: dict[str, Any] = {}
        if kind is Parameter:
            properties["kind"] = "Parameter"
        if tensor.requires_grad:
            properties["requires_grad"] = True
        return self._add(tensor, tensor._payload, properties)

    def _add(self, obj: object, array: np.ndarray, properties: dict[str, Any]) -> int:
        number = self._numbers.get(id(obj))
        if number is None:
            number = self._numbers[id(obj)] = len(self.arrays)
            self._keep.append(obj)
            self.arrays.append(array)
            self.names.append(self._name())
            self.properties.append(properties)
        return number

    def _name(self) -> str:
        plain = ".".join(str(key) for key in self._path).encode("utf-8", "replace").decode()
        name, copies = plain or "tensor", 1
        while name in self._taken:
            copies += 1
            name = f"{plain}#{copies}"
        self._taken.add(name)
        return name

    def _where(self) -> str:
        return "obj" + "".join(f"[{key!r}]" for key in self._path)

    def _refusal(self, obj: Any) -> str:
        name = type(obj).__name__
        if hasattr(obj, "state_dict") and not isinstance(obj, type):
            advice = "save its state_dict(), and load that into a new one with load_state_dict()"
        elif callable(obj):
            advice = "code is not saved, only data"
        else:
            advice = (
                "only tensors, numbers, strings, bytes, None, dtypes, sizes, devices, and lists, "
                "tuples, dicts and sets of these can be"
            )
        return f"kuai.save: {self._where()} ({name}) cannot be saved: {advice}"


def _ordered(writer: Writer, obj: OrderedDict[Any, Any]) -> dict[str, Any]:
    encoded: dict[str, Any] = {"OrderedDict": writer.pairs(obj)}
    if vars(obj):  # a state dict keeps its blocks' versions in an attribute
        encoded["attributes"] = writer.pairs(vars(obj))
    return encoded


def _default(writer: Writer, obj: defaultdict[Any, Any]) -> dict[str, Any]:
    factory = obj.default_factory
    if factory is not None and FACTORIES.get(getattr(factory, "__name__", "")) is not factory:
        raise TypeError(writer._refusal(factory))
    return {
        "defaultdict": writer.pairs(obj),
        "factory": None if factory is None else factory.__name__,
    }


ENCODERS: dict[type, Callable[[Any], Any]] = {
    bytes: lambda obj: {"bytes": base64.b64encode(obj).decode()},
    bytearray: lambda obj: {"bytearray": base64.b64encode(obj).decode()},
    complex: lambda obj: {"complex": [repr(obj.real), repr(obj.imag)]},
    Size: lambda obj: {"Size": list(obj)},
    dtypes.dtype: lambda obj: {"dtype": obj.name},
    device: lambda obj: {"device": str(obj)},
    range: lambda obj: {"range": [obj.start, obj.stop, obj.step]},
}

CONTAINERS: dict[type, Callable[[Writer, Any], Any]] = {
    list: lambda writer, obj: writer.items(obj),
    tuple: lambda writer, obj: {"tuple": writer.items(obj)},
    set: lambda writer, obj: {"set": writer.items(obj)},
    frozenset: lambda writer, obj: {"frozenset": writer.items(obj)},
    dict: lambda writer, obj: {"dict": writer.pairs(obj)},
    Counter: lambda writer, obj: {"Counter": writer.pairs(obj)},
    OrderedDict: _ordered,
    defaultdict: _default,
}


class Reader:
    """Turns JSON values back into the object.

    Args:
        tensors: the tensors, by number.
    """

    def __init__(self, tensors: list[Any]) -> None:
        self.tensors = tensors

    def decode(self, value: Any) -> Any:
        """The object of a JSON value.

        Raises:
            CheckpointError: the value stands for nothing.
        """
        if type(value) is list:
            return [self.decode(item) for item in value]
        if type(value) is not dict:
            return value
        kind = next(iter(value), "")
        read = DECODERS.get(kind)
        if read is None:
            raise CheckpointError(f"the structure holds a value of an unknown kind '{kind}'")
        return read(self, value[kind], value)

    def number(self, index: Any) -> Any:
        """The tensor of this number."""
        if type(index) is not int or not 0 <= index < len(self.tensors):
            raise CheckpointError(f"the structure names a tensor {index!r}, which is not there")
        return self.tensors[index]

    def pairs(self, pairs: list[Any]) -> list[tuple[Any, Any]]:
        """Keys and values."""
        return [(self.decode(key), self.decode(value)) for key, value in pairs]


def _read_ordered(reader: Reader, pairs: Any, value: dict[str, Any]) -> OrderedDict[Any, Any]:
    result = OrderedDict(reader.pairs(pairs))
    for name, attribute in reader.pairs(value.get("attributes", [])):
        vars(result)[str(name)] = attribute
    return result


def _read_default(reader: Reader, pairs: Any, value: dict[str, Any]) -> defaultdict[Any, Any]:
    factory = value["factory"]
    return defaultdict(None if factory is None else FACTORIES[factory], reader.pairs(pairs))


def _read_dtype(reader: Reader, name: Any, value: dict[str, Any]) -> dtypes.dtype:
    return DTYPES[name]


Read = Callable[[Reader, Any, dict[str, Any]], Any]
DECODERS: dict[str, Read] = {
    "tensor": lambda reader, index, _: reader.number(index),
    "array": lambda reader, index, _: reader.number(index),
    "scalar": lambda reader, index, _: reader.number(index)[()],
    "float": lambda reader, text, _: float(text),
    "complex": lambda reader, parts, _: complex(float(parts[0]), float(parts[1])),
    "bytes": lambda reader, text, _: base64.b64decode(text, validate=True),
    "bytearray": lambda reader, text, _: bytearray(base64.b64decode(text, validate=True)),
    "tuple": lambda reader, items, _: tuple(map(reader.decode, items)),
    "set": lambda reader, items, _: set(map(reader.decode, items)),
    "frozenset": lambda reader, items, _: frozenset(map(reader.decode, items)),
    "dict": lambda reader, pairs, _: dict(reader.pairs(pairs)),
    "Counter": lambda reader, pairs, _: Counter(dict(reader.pairs(pairs))),
    "Size": lambda reader, items, _: Size(int(n) for n in items),
    "device": lambda reader, text, _: device(text),
    "range": lambda reader, parts, _: range(*parts),
    "dtype": _read_dtype,
    "OrderedDict": _read_ordered,
    "defaultdict": _read_default,
}
