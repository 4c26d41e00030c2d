"""What a block's box says, and the picture of a network that was not run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from kuai.nn.parameter import is_lazy
from kuai.show.diagram import IN, OUT, Chip, Edge, Graph, Node
from kuai.show.recorder import tensors_of
from kuai.show.text import shape_text

if TYPE_CHECKING:
    from kuai.nn import Module
    from kuai.tensor import Tensor


def of_structure(net: Module) -> Graph:
    """The picture of a network that was not run.

    It has arrows only where a Sequential says in which order its blocks run.
    """
    return Graph([_nested(Blocks(net), net, "", None)])


def _nested(blocks: Blocks, module: Module, name: str, scope: Module | None) -> Node:
    from kuai.nn import Sequential

    node = blocks.node(module, scope, name)
    children = [
        _nested(blocks, child, key, module)
        for key, child in module._modules.items()
        if child is not None
    ]
    if children:
        node.inside = Graph(children)
        if isinstance(module, Sequential):
            order = [IN, *range(len(children)), OUT]
            node.inside.edges = [Edge(a, b, "", "x") for a, b in pairwise(order)]
    return node


class Blocks:
    """What the boxes of a network have in common: names, chips, letters of what is shared."""

    def __init__(self, net: Module, uses: dict[int, int] | None = None) -> None:
        self.paths: dict[int, list[str]] = {}
        self.holders: dict[int, int] = {}
        for path, module in net.named_modules(remove_duplicate=False):
            self.paths.setdefault(id(module), []).append(path)
        for module in net.modules():
            for t in module._parameters.values():
                if t is not None:
                    self.holders[id(t)] = self.holders.get(id(t), 0) + 1
        self.uses = _places(net) if uses is None else uses
        self.letters: dict[int, str] = {}

    def letter(self, thing: object) -> str:
        """The letter of a shared block or parameter."""
        count = len(self.letters)
        letter = chr(ord("A") + count % 26) * (count // 26 + 1)
        return self.letters.setdefault(id(thing), letter)

    def node(self, module: Module, scope: Module | None, name: str = "") -> Node:
        """The box of a block, as it stands in the block `scope`, without its inside."""
        chips = list(self.chips(module))
        title = type(module).__name__
        node = Node("block", title, name or self.name(module, scope), chips=chips)
        node.detail = _detail(module, bool(chips))
        uses = self.uses.get(id(module), 1)
        if uses > 1 and next(module.parameters(), None) is not None:
            node.shared, node.uses = self.letter(module), uses
        path = self.paths.get(id(module), [""])[0]
        node.words = f"{path or 'the network'}: {title}, {parameter_count(module):,} parameters"
        return node

    def name(self, module: Module, scope: Module | None) -> str:
        """The block's path, as seen from the block `scope`."""
        paths = self.paths.get(id(module), [""])
        for prefix in self.paths.get(id(scope), [""]):
            for path in paths:
                if not prefix:
                    return path
                if path.startswith(prefix + "."):
                    return path[len(prefix) + 1 :]
        return paths[0]

    def chips(self, module: Module) -> Iterator[Chip]:
        """What the block itself holds."""
        parameters = {id(p) for p in module._parameters.values() if p is not None}
        for name, t in tensors_of(module):
            if id(t) in parameters:
                shared = self.letter(t) if self.holders.get(id(t), 1) > 1 else ""
                kind: Literal["parameter", "frozen"] = "parameter" if t.requires_grad else "frozen"
                yield Chip(name, _shape(t), kind, shared)
            else:
                yield Chip(name, _shape(t), "constant")


def parameter_count(module: Module) -> int:
    """Elements of a block's parameters, those nested included; lazy ones have none yet."""
    return sum(p.numel() for p in module.parameters() if not is_lazy(p))


def _shape(t: Tensor) -> str:
    return "lazy" if is_lazy(t) else shape_text(t.shape, t.dtype.name)


def _places(net: Module) -> dict[int, int]:
    """In how many places of the network each block stands, those of its parent not counted."""
    places: dict[int, int] = {}
    for parent in net.modules():
        for child in parent._modules.values():
            places[id(child)] = places.get(id(child), 0) + 1
    return places


_TOLD_BY_CHIPS = ("in_features", "out_features", "bias", "num_embeddings", "embedding_dim")
_FINE_PRINT = ("eps", "momentum", "affine", "elementwise_affine", "track_running_stats")


def _detail(module: Module, has_chips: bool) -> str:
    """The part of `extra_repr` that the picture does not tell otherwise."""
    parts = _split(" ".join(module.extra_repr().split()))
    parts = [p for p in parts if p.partition("=")[0] not in _FINE_PRINT]
    parts = [p for p in parts if p.partition("=")[2] not in ("False", "None", "'none'")]
    if has_chips:
        parts = [p for p in parts if "=" in p and p.partition("=")[0] not in _TOLD_BY_CHIPS]
    return ", ".join(parts)


def _split(text: str) -> list[str]:
    """Split at the commas that stand in no parenthesis."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [p.strip() for p in parts if p.strip()]
