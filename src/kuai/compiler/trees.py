"""Values made of tensors: lists, tuples, dicts and dataclasses of them, taken apart and rebuilt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    if is_dataclass(x):
        names = [f.name for f in vars(cls)["__dataclass_fields__"].values()]
        return (cls, tuple(names)), [(f".{n}", getattr(x, n)) for n in names]
    return None


def is_dataclass(x: object) -> bool:
    """Whether `x` is an instance of a dataclass."""
    return hasattr(type(x), "__dataclass_fields__") and "__dataclass_fields__" in vars(type(x))


def rebuild(like: Any, items: list[Any]) -> Any:
    """A container like another, of other parts."""
    cls = type(like)
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
    new.__dict__.update(getattr(like, "__dict__", {}))
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
