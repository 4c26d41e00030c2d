"""Values made of tensors: lists, tuples, dicts and dataclasses of them, taken apart and rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kuai.core.base import TensorBase
from kuai.ops.return_types import Named


def parts(x: Any) -> tuple[Any, list[tuple[str, Any]]] | None:
    """A container's kind and its parts with their names; `None` for anything else.

    Two containers of the same kind have the same structure: type, length, keys.
    """
    cls = type(x)
    if cls in (list, tuple):
        return (cls, len(x)), [(f"[{i}]", item) for i, item in enumerate(x)]
    if isinstance(x, tuple) and hasattr(cls, "_fields"):
        return (cls, len(x)), [(f".{n}", getattr(x, n)) for n in cls._fields]
    if isinstance(x, Named):
        return (cls, len(x)), [(f".{n}", item) for n, item in zip(cls.fields, x, strict=True)]
    if isinstance(x, dict) and cls.__module__ in ("builtins", "collections"):
        return (cls, tuple(x)), [(f"[{k!r}]", v) for k, v in x.items()]
    if cls is Fields:
        named = zip(x.names, x.values, strict=True)
        return (type(x.like), x.names), [(f".{n}", value) for n, value in named]
    if is_dataclass(x):
        names = [f.name for f in vars(cls)["__dataclass_fields__"].values()]
        return (cls, tuple(names)), [(f".{n}", getattr(x, n)) for n in names]
    return None


class Whole:
    """A container that is not to be taken apart."""

    def __init__(self, container: Any) -> None:
        self.container = container


def with_whole(x: Any, chosen: Callable[[Any], bool]) -> Any:
    """`x` with `Whole` in the place of the chosen containers."""
    found = parts(x)
    if found is None:
        return x
    if chosen(x):
        return Whole(x)
    items = [item for _, item in found[1]]
    new = [with_whole(item, chosen) for item in items]
    return x if all(a is b for a, b in zip(items, new, strict=True)) else rebuild(x, new)


class Fields:
    """An object of a class of the user's, taken apart by the names of its attributes.

    Args:
        like: the object.
    """

    def __init__(self, like: Any, chosen: Callable[[Any], bool]) -> None:
        self.like = like
        self.names = tuple(vars(like))
        self.values = [opened(value, chosen) for value in vars(like).values()]

    def made(self, values: list[Any]) -> Any:
        """An object of the same class with other values."""
        new = object.__new__(type(self.like))
        new.__dict__.update(zip(self.names, values, strict=True))
        return new


def as_fields(x: Any) -> Any:
    """An object of the user's that has tensors as attributes, taken apart; `x` itself if none."""
    closed = parts(x) is not None or isinstance(x, Fields) or not _has_tensors(x, set())
    return x if closed else Fields(x, lambda _: False)


def opened(x: Any, chosen: Callable[[Any], bool]) -> Any:
    """`x` with `Fields` in the place of the chosen objects that have tensors as attributes."""
    found = parts(x)
    if found is not None:
        items = [item for _, item in found[1]]
        new = [opened(item, chosen) for item in items]
        same = all(a is b for a, b in zip(items, new, strict=True))
        return x if same else rebuild(x, new)
    return Fields(x, chosen) if chosen(x) and _has_tensors(x, set()) else x


def _has_tensors(x: Any, seen: set[int]) -> bool:
    cls: Any = type(x)
    plain = cls.__new__ is object.__new__ and "__slots__" not in vars(cls)
    if not plain or cls.__module__.split(".")[0] in ("builtins", "kuai") or id(x) in seen:
        return False
    seen.add(id(x))
    inside = [leaf for value in getattr(x, "__dict__", {}).values() for leaf in leaves(value)]
    return any(isinstance(v, TensorBase) or _has_tensors(v, seen) for v in inside)


def is_dataclass(x: object) -> bool:
    """Whether `x` is an instance of a dataclass."""
    return hasattr(type(x), "__dataclass_fields__") and "__dataclass_fields__" in vars(type(x))


def rebuild(like: Any, items: list[Any]) -> Any:
    """A container like another, of other parts."""
    cls = type(like)
    if cls is Fields:
        made: Any = like.made(items)
        return made
    if cls in (list, tuple) or isinstance(like, Named):
        return cls(items)
    if isinstance(like, tuple):
        return cls(*items)
    if isinstance(like, dict):
        if cls is dict:
            return dict(zip(like, items, strict=True))
        copy = like.copy()
        for key, item in zip(like, items, strict=True):
            copy[key] = item
        return copy
    new = object.__new__(cls)
    if hasattr(like, "__dict__"):  # a class with slots has none
        vars(new).update(vars(like))
    for name, item in zip(vars(cls)["__dataclass_fields__"], items, strict=True):
        object.__setattr__(new, name, item)
    return new


def map_leaves(function: Callable[[Any], Any], x: Any) -> Any:
    """`x` with the function's results in the place of its leaves; `x` itself if nothing changes."""
    found = parts(x)
    if found is None:
        return function(x)
    items = [item for _, item in found[1]]
    new = [map_leaves(function, item) for item in items]
    if all(a is b for a, b in zip(items, new, strict=True)):
        return x
    return rebuild(x, new)


def leaves(x: Any) -> list[Any]:
    """All leaves, in order."""
    found = parts(x)
    if found is None:
        return [x]
    return [leaf for _, item in found[1] for leaf in leaves(item)]
