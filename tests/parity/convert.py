"""Carries arguments from PyTorch to the library under test."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.testing._internal.opinfo.core import OpInfo

NARROW = (torch.float16, torch.bfloat16, torch.float32)


class Excluded(Exception):
    """The value is of a kind that kuai leaves out by design; the text says which."""


class Converter:
    """Turns PyTorch values into those of `target`, nested containers included.

    One converter serves one call: a tensor that stands in two places of its arguments stands in
    the same two places of the converted ones.

    Args:
        target: the module under test, `kuai` (or `torch` itself, to test the harness).
        widen: whether narrower floating types become float64 (`torch` itself: the exact result).
    """

    def __init__(self, target: types.ModuleType, widen: bool = False) -> None:
        self.target = target
        self.widen = widen
        self.tensors: dict[int, Any] = {}
        self.memories: dict[int, torch.UntypedStorage] = {}
        self.alive: list[Any] = []  # ids and addresses mean something only while these live

    def __call__(self, value: Any) -> Any:
        """The counterpart of `value`.

        Raises:
            Excluded: it holds a complex, sparse or quantised tensor or number.
        """
        if isinstance(value, torch.Tensor):
            return self.tensor(value)
        if isinstance(value, complex):
            raise Excluded("complex number")
        if isinstance(value, torch.dtype):
            return self.dtype(value)
        if isinstance(value, torch.device):
            return self.target.device(str(value))
        if isinstance(value, torch.Size):
            return self.target.Size(value)
        if isinstance(value, torch.memory_format):
            return getattr(self.target, str(value).removeprefix("torch."))
        if isinstance(value, torch.layout):
            if value is not torch.strided:
                raise Excluded("sparse layout")
            return self.target.strided
        if isinstance(value, torch.Generator):
            return self.target.Generator().manual_seed(value.initial_seed())
        if isinstance(value, torch.nn.Module):
            return self.module(value)
        if isinstance(value, Mapping):
            return type(value)((self(key), self(item)) for key, item in value.items())
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(self, value))
        if isinstance(value, (list, tuple, set)):
            return type(value)(map(self, value))
        if isinstance(value, slice):
            return slice(self(value.start), self(value.stop), self(value.step))
        if callable(value):
            return counterpart(value, self.target)
        return value

    def dtype(self, value: torch.dtype) -> Any:
        """The data type of the same name."""
        if value.is_complex or "q" in str(value).removeprefix("torch."):
            raise Excluded(f"dtype {value}")
        if self.widen and value in NARROW:
            return torch.float64
        return getattr(self.target, str(value).removeprefix("torch."))

    def tensor(self, value: torch.Tensor) -> Any:
        """A tensor of equal values, strides, dtype and `requires_grad`, on memory of its own."""
        if value.is_complex():
            raise Excluded("complex tensor")
        if value.is_sparse or value.layout != torch.strided:
            raise Excluded("sparse tensor")
        if value.is_quantized:
            raise Excluded("quantised tensor")
        if value.device.type != "cpu":
            raise Excluded(f"device {value.device.type}")
        if id(value) not in self.tensors:
            converted = self.copy(value)
            if isinstance(value, torch.nn.Parameter):
                converted = self.target.nn.Parameter(converted, value.requires_grad)
            elif value.requires_grad:
                converted.requires_grad_()
            self.tensors[id(value)] = converted
            self.alive.append(value)
        return self.tensors[id(value)]

    def copy(self, value: torch.Tensor) -> Any:
        """The tensor on copied memory; tensors that overlap do so again."""
        value = value.detach()
        memory = value.untyped_storage()
        if memory.data_ptr() not in self.memories:
            self.memories[memory.data_ptr()] = memory.clone()
        memory = self.memories[memory.data_ptr()]
        if self.target is torch:
            tensor = torch.empty(0, dtype=value.dtype)
            tensor.set_(memory, value.storage_offset(), value.shape, value.stride())
            return tensor.double() if self.widen and tensor.dtype in NARROW else tensor
        array = strided_array(memory, value)
        if value.storage_offset() and value.is_contiguous() and array.base is not None:
            whole = strided_array(memory, value.as_strided((storage_size(value),), (1,), 0))
            first = value.storage_offset()
            part = self.target.from_numpy(whole)[first : first + value.numel()]
            return part.view(tuple(value.shape)).detach()
        return self.target.from_numpy(array)

    def module(self, value: torch.nn.Module) -> Any:
        """A block of the same class and contents, attribute by attribute."""
        name = type(value).__name__
        kind = getattr(self.target.nn, name, None) or getattr(self.target.nn.modules.linear, name)
        converted = kind.__new__(kind)
        self.target.nn.Module.__init__(converted)
        for name, item in vars(value).items():
            vars(converted)[name] = self(item)
        return converted


def storage_size(value: torch.Tensor) -> int:
    """How many elements the memory holds that a tensor looks at."""
    return value.untyped_storage().nbytes() // value.element_size()


def strided_array(memory: torch.UntypedStorage, value: torch.Tensor) -> np.ndarray:
    """`memory` as an array of the dtype, shape, strides and offset of `value`."""
    if value.dtype == torch.bfloat16:
        import ml_dtypes

        dtype = np.dtype(ml_dtypes.bfloat16)
    else:
        dtype = np.dtype(str(value.dtype).removeprefix("torch."))
    flat = torch.tensor([], dtype=torch.uint8).set_(memory).numpy()
    usable = flat.nbytes // dtype.itemsize * dtype.itemsize
    start = flat[:usable].view(dtype)[value.storage_offset() :]
    strides = [step * dtype.itemsize for step in value.stride()]
    return np.lib.stride_tricks.as_strided(start, tuple(value.shape), strides)


def counterpart(function: Any, target: types.ModuleType) -> Any:
    """The function of `target` that stands where `function` stands in PyTorch.

    A function of PyTorch's test suite (a lambda around a call, say) is given `target` in the place
    of the `torch` that it mentions.

    Raises:
        AttributeError: `target` has none.
    """
    if target is torch:
        return function
    if isinstance(function, functools.partial):
        inner = counterpart(function.func, target)
        return functools.partial(inner, *function.args, **function.keywords)
    module = getattr(function, "__module__", None) or "torch"  # PyTorch's C functions have none
    if isinstance(function, types.FunctionType) and module.startswith("torch.testing"):
        return rebound(function, target)
    if module.startswith("torch"):
        return look_up(public_path(function), target)
    return function


def rebound(function: types.FunctionType, target: types.ModuleType) -> Any:
    """`function` with `target` for every `torch` among its globals."""
    names = dict(function.__globals__)
    names["torch"] = target
    names["wrapper_set_seed"] = lambda op, *args, **kwargs: op(*args, **kwargs)
    if "F" in names and hasattr(target, "nn"):
        names["F"] = target.nn.functional
    closure = function.__closure__
    if closure:
        cells = [cell.cell_contents for cell in closure]
        closure = tuple(
            types.CellType(
                counterpart(value, target)
                if callable(value) and not isinstance(value, OpInfo)
                else value
            )
            for value in cells
        )
    copy = types.FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, closure
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


_PLACES = {
    "": torch,
    "Tensor": torch.Tensor,
    "nn.functional": torch.nn.functional,
    "linalg": torch.linalg,
    "special": torch.special,
    "fft": torch.fft,
    "nn": torch.nn,
    "nn.init": torch.nn.init,
    "masked": torch.masked,
    "signal.windows": torch.signal.windows,
    "sparse": torch.sparse,
}


def public_path(function: Any) -> str:
    """Where PyTorch's user finds `function`, such as `nn.functional.relu`.

    Raises:
        AttributeError: in none of the public places.
    """
    name = getattr(function, "__name__", type(function).__name__)
    for place, holder in _PLACES.items():
        for candidate in (name, name.split("_", 1)[-1]):  # linalg.inv calls itself linalg_inv
            if getattr(holder, candidate, None) is function:
                return f"{place}.{candidate}" if place else candidate
    raise AttributeError(f"no public name of {function!r} is known")


def look_up(path: str, target: types.ModuleType) -> Any:
    """The object at a dotted path below `target`.

    Raises:
        AttributeError: there is none.
    """
    found: Any = target
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise AttributeError(f"{target.__name__}.{path} does not exist") from None
    return found
