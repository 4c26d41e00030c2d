"""What a drawing shows, before anything has a place: boxes in boxes, and arrows between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

IN = -1
"""The source of an arrow that enters a box from outside."""
OUT = -2
"""The target of an arrow that leaves a box."""

Kind = Literal["block", "operations", "join", "terminal", "group"]


@dataclass
class Chip:
    """A parameter or constant as a box shows it: `weight 64 × 20`."""

    name: str
    shape: str
    kind: Literal["parameter", "frozen", "constant"]
    shared: str = ""


@dataclass
class Node:
    """One box.

    Attributes:
        kind: a block, a chain of operations, an operation that joins two branches, an end of
            the whole picture, or a repeated group.
        title: the block's class, or the operations.
        name: the attribute that holds the block, as seen from the box around it.
        detail: the block's `extra_repr`, where its chips don't say it.
        chips: its own parameters and constants.
        shared: the letter of a block that is used more than once.
        uses: how often it is used.
        times: how often it is repeated, each time with parameters of its own.
        inside: what the box contains, or `None`.
        idle: whether it is a block that the run did not call.
        words: a sentence for whoever points at it.
    """

    kind: Kind
    title: str
    name: str = ""
    detail: str = ""
    chips: list[Chip] = field(default_factory=list)
    shared: str = ""
    uses: int = 1
    times: int = 1
    inside: Graph | None = None
    idle: bool = False
    words: str = ""

    def signature(self) -> tuple[object, ...]:
        """What it shares with another box exactly if the two look the same, names aside."""
        return (
            self.kind,
            self.title,
            self.detail,
            tuple((c.name, c.shape, c.kind, c.shared) for c in self.chips),
            self.shared,
            self.times,
            self.idle,
            None if self.inside is None else self.inside.signature(),
        )


@dataclass
class Edge:
    """An arrow from box `source` to box `target`; `value` tells one tensor from another."""

    source: int
    target: int
    label: str
    value: object


@dataclass
class Graph:
    """Boxes in the order in which they ran, and the arrows between them."""

    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)

    def signature(self) -> tuple[object, ...]:
        """What it shares with another graph exactly if the two look the same, names aside."""
        return (
            tuple(n.signature() for n in self.nodes),
            tuple((e.source, e.target, e.label) for e in self.edges),
        )
