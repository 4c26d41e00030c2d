"""Blocks that hold blocks or parameters: in sequence, in lists, in dictionaries."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, KeysView, Mapping
from itertools import chain
from typing import Any, TypeVar

from kuai.core.base import TensorBase
from kuai.nn.module import Module, _indented, _type_name
from kuai.nn.parameter import Parameter

S = TypeVar("S", bound="Sequential")
L = TypeVar("L", bound="ModuleList")
P = TypeVar("P", bound="ParameterList")


def _position(index: Any, size: int) -> int:
    """The position that a possibly negative index stands for.

    Raises:
        IndexError: there is none.
    """
    position = operator.index(index)
    if not -size <= position < size:
        raise IndexError(f"index {position} is out of range")
    return position % size


class _Numbered(Module):
    """What `Sequential` and `ModuleList` share: child blocks named `"0"`, `"1"`, ..."""

    def _key(self, index: Any) -> str:
        return list(self._modules)[_position(index, len(self._modules))]

    def __setitem__(self, idx: int, module: Module) -> None:
        setattr(self, self._key(idx), module)

    def __delitem__(self, idx: int | slice) -> None:
        keys = list(self._modules)[idx] if isinstance(idx, slice) else [self._key(idx)]
        for key in keys:
            delattr(self, key)
        self._renumber(list(self._modules.values()))

    def _renumber(self, blocks: Iterable[Module]) -> None:
        self._modules = {str(i): block for i, block in enumerate(blocks)}  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def append(self, module: Module) -> Any:
        """Add a block at the end.

        Returns:
            The container itself.
        """
        self.add_module(str(len(self)), module)
        return self

    def pop(self, key: int | slice) -> Any:
        """Remove the block at an index (or those of a slice) and return it."""
        removed = self[key]  # type: ignore[index]
        del self[key]
        return removed


class Sequential(_Numbered):
    """Blocks that run one after the other, each on the result of the one before.

    Args:
        *args: the blocks; or one `OrderedDict` of blocks, to name them.

    Shape:
        input: what the first block takes; output: what the last one returns.

    Raises:
        TypeError: an argument is not a block.

    Examples:
        >>> net = nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10))
        >>> net(kuai.rand(2, 20)).shape
        kuai.Size([2, 10])
        >>> net[1]
        ReLU()
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            for name, block in args[0].items():
                self.add_module(name, block)
        else:
            for i, block in enumerate(args):
                self.add_module(str(i), block)

    def forward(self, input: Any) -> Any:
        """Run the blocks in their order."""
        for block in self._modules.values():
            input = block(input)
        return input

    def __getitem__(self, idx: int | slice) -> Any:
        if isinstance(idx, slice):
            return type(self)(OrderedDict(list(self._modules.items())[idx]))
        return self._modules[self._key(idx)]

    def __add__(self, other: Sequential) -> Sequential:
        self._check_sequential(other)
        return Sequential().extend(self).extend(other)

    def __iadd__(self: S, other: Sequential) -> S:
        self._check_sequential(other)
        return self.extend(list(other))

    def _check_sequential(self, other: Any) -> None:
        if not isinstance(other, Sequential):
            raise ValueError(
                "add operator supports only objects of Sequential class, "
                f"but {type(other)} is given."
            )

    def __mul__(self, other: int) -> Sequential:
        self._check_factor(other)
        return Sequential(*(list(self) * other))

    def __rmul__(self, other: int) -> Sequential:
        return self * other

    def __imul__(self: S, other: int) -> S:
        self._check_factor(other)
        return self.extend(list(self) * (other - 1))

    def _check_factor(self, factor: Any) -> None:
        if not isinstance(factor, int):
            raise TypeError(f"unsupported operand type(s) for *: {type(self)} and {type(factor)}")
        if factor <= 0:
            raise ValueError(f"Non-positive multiplication factor {factor} for {type(self)}")

    def insert(self: S, index: int, module: Module) -> S:
        """Put a block before the one at `index`.

        Returns:
            The container itself.

        Raises:
            AssertionError: `module` is not a block.
            IndexError: `index` is out of range.
        """
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}, got {_type_name(module)}")
        size = len(self)
        if not -size <= index <= size:
            raise IndexError(f"Index out of range: {index}")
        blocks = list(self)
        blocks.insert(index, module)
        self._renumber(blocks)
        return self

    def extend(self: S, sequential: Iterable[Module]) -> S:
        """Add the blocks of an iterable at the end.

        Returns:
            The container itself.
        """
        for block in sequential:
            self.append(block)
        return self


class ModuleList(_Numbered):
    """A list of blocks, all of them registered.

    Args:
        modules: the blocks.
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    # Not the position among all children: a subclass may have others beside the numbered ones.
    def _key(self, index: Any) -> str:
        return str(_position(index, len(self)))

    def __getitem__(self, idx: int | slice) -> Any:
        if isinstance(idx, slice):
            return type(self)(list(self._modules.values())[idx])
        return self._modules[self._key(idx)]

    def __iadd__(self: L, modules: Iterable[Module]) -> L:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList(chain(self, other))

    def insert(self, index: int, module: Module) -> None:
        """Put a block before the one at `index`."""
        for i in range(len(self._modules), index, -1):
            self._modules[str(i)] = self._modules[str(i - 1)]
        self._modules[str(index)] = module

    def extend(self: L, modules: Iterable[Module]) -> L:
        """Add the blocks of an iterable at the end.

        Returns:
            The list itself.

        Raises:
            TypeError: `modules` is not iterable.
        """
        if not isinstance(modules, Iterable):
            raise TypeError(
                "ModuleList.extend should be called with an iterable, but got "
                + type(modules).__name__
            )
        offset = len(self)
        for i, block in enumerate(modules):
            self.add_module(str(offset + i), block)
        return self

    def __repr__(self) -> str:
        """As any block's, with runs of equal blocks folded into `(0-3): 4 x ...`."""
        runs: list[tuple[int, int, str]] = []
        for i, block in enumerate(self):
            text = repr(block)
            if runs and runs[-1][2] == text:
                runs[-1] = (runs[-1][0], i, text)
            else:
                runs.append((i, i, text))
        if not runs:
            return f"{self._get_name()}()"
        lines = [
            f"({first}): {text}"
            if first == last
            else f"({first}-{last}): {last - first + 1} x {text}"
            for first, last, text in runs
        ]
        inner = "\n  ".join(map(_indented, lines))
        return f"{self._get_name()}(\n  {inner}\n)"


class ModuleDict(Module):
    """A dictionary of blocks, all of them registered.

    Args:
        modules: a mapping from names to blocks, or an iterable of pairs.
    """

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Remove all blocks."""
        self._modules.clear()

    def pop(self, key: str) -> Any:
        """Remove the block of this name and return it."""
        return self._modules.pop(key)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._modules.keys()

    def items(self) -> Any:
        """The pairs of name and block."""
        return self._modules.items()

    def values(self) -> Any:
        """The blocks."""
        return self._modules.values()

    def update(self, modules: Any) -> None:
        """Take over the blocks of a mapping, or of an iterable of pairs.

        Raises:
            TypeError: `modules` is neither, or what is in it is no pair.
            ValueError: what is in it has not the length of a pair.
        """
        for name, block in _pairs(modules, "ModuleDict"):
            self[name] = block


class ParameterList(Module):
    """A list of parameters, all of them registered; tensors become parameters.

    Args:
        values: the parameters; anything else in it is kept as it is.
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def __getitem__(self, idx: int | slice) -> Any:
        if isinstance(idx, slice):
            return type(self)(self[i] for i in range(*idx.indices(len(self))))
        return getattr(self, str(_position(idx, len(self))))

    def __setitem__(self, idx: int, param: Any) -> None:
        if isinstance(param, TensorBase) and not isinstance(param, Parameter):
            param = Parameter(param)  # type: ignore[arg-type]
        setattr(self, str(_position(idx, len(self))), param)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __iadd__(self: P, parameters: Iterable[Any]) -> P:
        return self.extend(parameters)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def append(self: P, value: Any) -> P:
        """Add one at the end.

        Returns:
            The list itself.
        """
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self: P, values: Iterable[Any]) -> P:
        """Add those of an iterable at the end.

        Returns:
            The list itself.

        Raises:
            TypeError: `values` is not iterable, or is a tensor.
        """
        if isinstance(values, TensorBase) or not isinstance(values, Iterable):
            raise TypeError(
                "ParameterList.extend should be called with an iterable, but got "
                + type(values).__name__
            )
        for value in values:
            self.append(value)
        return self

    def extra_repr(self) -> str:
        return "\n".join(f"  ({i}): {_described(x, lambda x: x.dtype)}" for i, x in enumerate(self))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("ParameterList should not be called.")


class ParameterDict(Module):
    """A dictionary of parameters, all of them registered; tensors become parameters.

    Args:
        parameters: a mapping from names to parameters, or an iterable of pairs; anything else in
            it is kept as it is.
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        self._check_key(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._check_key(key)
        self._keys[key] = None
        if isinstance(value, TensorBase) and not isinstance(value, Parameter):
            value = Parameter(value)  # type: ignore[arg-type]
        setattr(self, key, value)

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def _check_key(self, key: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(
                "Index given to ParameterDict cannot be used as a key as it is not a string "
                f"(type is '{type(key).__name__}')."
            )

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def copy(self) -> ParameterDict:
        """A dictionary of the same parameters."""
        return ParameterDict(OrderedDict(self.items()))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The parameter of this name; `default`, from now on, if there is none."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Remove all parameters."""
        for key in list(self._keys):
            del self[key]

    def pop(self, key: str) -> Any:
        """Remove the parameter of this name and return it."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the last pair of name and parameter."""
        if not self._keys:
            raise KeyError("popitem(): dictionary is empty")
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter of this name; `default` if there is none."""
        return getattr(self, key) if key in self._keys else default

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A dictionary with these names, each standing for `default`."""
        return ParameterDict((key, default) for key in keys)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._keys.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """The pairs of name and parameter."""
        return ((key, self[key]) for key in self._keys)

    def values(self) -> Iterable[Any]:
        """The parameters."""
        return (self[key] for key in self._keys)

    def update(self, parameters: Any) -> None:
        """Take over the parameters of a mapping (a plain one in sorted order) or of pairs.

        Raises:
            TypeError: `parameters` is neither, or what is in it is no pair.
            ValueError: what is in it has not the length of a pair.
        """
        ordered = isinstance(parameters, (OrderedDict, ParameterDict))
        if isinstance(parameters, Mapping) and not ordered:
            parameters = OrderedDict(sorted(parameters.items()))
        for key, value in _pairs(parameters, "ParameterDict"):
            self[key] = value

    def extra_repr(self) -> str:
        return "\n".join(f"  ({k}): {_described(x, lambda x: x.type())}" for k, x in self.items())

    def __call__(self, input: Any) -> Any:
        raise RuntimeError("ParameterDict should not be called.")

    def __or__(self, other: Any) -> ParameterDict:
        result = self.copy()
        result.update(other)
        return result

    def __ror__(self, other: Any) -> Any:
        result = other.copy()
        result.update(self)
        return result

    def __ior__(self, other: Any) -> ParameterDict:
        self.update(other)
        return self


def _pairs(source: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The pairs of a mapping, or of an iterable of pairs.

    Raises:
        TypeError: `source` is neither, or what is in it is no pair.
        ValueError: what is in it has not the length of a pair.
    """
    if not isinstance(source, Iterable):
        raise TypeError(
            f"{name}.update should be called with an iterable of key/value pairs, but got "
            + type(source).__name__
        )
    if isinstance(source, (Mapping, ModuleDict, ParameterDict)):
        yield from source.items()
        return
    for i, pair in enumerate(source):
        if not isinstance(pair, Iterable):
            raise TypeError(
                f"{name} update sequence element #{i} should be Iterable; is {_type_name(pair)}"
            )
        items = tuple(pair)
        if len(items) != 2:
            raise ValueError(
                f"{name} update sequence element #{i} has length {len(items)}; 2 is required"
            )
        yield items


def _described(x: Any, kind: Any) -> str:
    """One line about a member of a parameter list or dictionary."""
    if not isinstance(x, TensorBase):
        return f"Object of type: {type(x).__name__}"
    name = "Parameter" if isinstance(x, Parameter) else "Tensor"
    return f"{name} containing: [{kind(x)} of size {'x'.join(map(str, x.shape))}]"


__all__ = [
    "ModuleDict",
    "ModuleList",
    "ParameterDict",
    "ParameterList",
    "Sequential",
]
