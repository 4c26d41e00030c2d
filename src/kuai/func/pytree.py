"""Containers nested in containers: taken apart into their leaves, and put together again."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any


class Structure:
    """How a tree is nested, without its leaves.

    Attributes:
        kind: the container's class; `None` for a leaf.
        context: a dict's keys, a named tuple's class.
        children: the structures inside.
    """

    __slots__ = ("children", "context", "count", "kind")

    def __init__(
        self, kind: type | None, context: Any = None, children: Sequence[Structure] = ()
    ) -> None:
        self.kind = kind
        self.context = context
        self.children = children
        self.count: int = sum(c.count for c in children) if kind is not None else 1

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """The tree of this structure with these leaves."""
        if len(leaves) != self.count:
            raise ValueError(f"a tree of {self.count} leaves cannot be made of {len(leaves)}")
        return self._build(iter(leaves))

    def _build(self, leaves: Iterator[Any]) -> Any:
        if self.kind is None:
            return next(leaves)
        children = [c._build(leaves) for c in self.children]
        if self.kind in (list, tuple):
            return self.kind(children)
        if self.kind is defaultdict:
            factory, keys = self.context
            return defaultdict(factory, zip(keys, children, strict=True))
        if self.kind in (dict, OrderedDict):
            return self.kind(zip(self.context, children, strict=True))
        return self.kind(*children)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Structure)
            and self.kind is other.kind
            and self.context == other.context
            and list(self.children) == list(other.children)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.kind is None:
            return "*"
        inside = ", ".join(map(repr, self.children))
        return f"TreeSpec({self.kind.__name__}, {self.context}, [{inside}])"


LEAF = Structure(None)


def _open(tree: Any) -> tuple[type, Any, list[Any]] | None:
    """A container's kind, context and contents; `None` for a leaf."""
    kind = type(tree)
    if kind is tuple or kind is list:
        return kind, None, list(tree)
    if kind is dict or kind is OrderedDict:
        return kind, list(tree), list(tree.values())
    if kind is defaultdict:
        return kind, (tree.default_factory, list(tree)), list(tree.values())
    if isinstance(tree, tuple) and hasattr(kind, "_fields"):
        return kind, None, list(tree)
    return None


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves of a tree of lists, tuples, named tuples and dicts, and its structure.

    Everything else, `None` included, is a leaf.
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Structure:
    opened = _open(tree)
    if opened is None:
        leaves.append(tree)
        return LEAF
    kind, context, contents = opened
    return Structure(kind, context, [_flatten(c, leaves) for c in contents])


def leaves_of(tree: Any) -> list[Any]:
    """The leaves of a tree, in order."""
    return flatten(tree)[0]


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with `function` applied to every leaf."""
    leaves, structure = flatten(tree)
    return structure.unflatten([function(leaf) for leaf in leaves])


def spread(prefix: Any, structure: Structure) -> list[Any] | None:
    """One leaf of `prefix` for each leaf of `structure`; `None` where the two do not fit.

    A leaf of `prefix` stands for the whole subtree at its place.
    """
    opened = _open(prefix)
    if opened is None:
        return [prefix] * structure.count
    kind, context, contents = opened
    if (
        kind is not structure.kind
        or len(contents) != len(structure.children)
        or context != structure.context
    ):
        return None
    result: list[Any] = []
    for inside, child in zip(contents, structure.children, strict=True):
        leaves = spread(inside, child)
        if leaves is None:
            return None
        result += leaves
    return result
