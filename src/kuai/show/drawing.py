"""`kuai.draw`: the picture of a network, blocks within blocks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kuai.show.blocks import of_structure, parameter_count
from kuai.show.flow import of_trace
from kuai.show.fold import folded
from kuai.show.layout import arranged
from kuai.show.svg import svg
from kuai.show.trace import trace

if TYPE_CHECKING:
    from kuai.nn import Module


class Drawing:
    """A picture of a network; a notebook shows it, `save` writes it.

    Attributes:
        svg: the picture as the text of an SVG document.
    """

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to `path`; the ending says how: `.svg`, or `.png`.

        Raises:
            ValueError: the ending is neither.
            ImportError: a PNG is wanted and the package `cairosvg` is not installed.
        """
        path = Path(path)
        if path.suffix.lower() == ".svg":
            path.write_text(self.svg, encoding="utf-8")
        elif path.suffix.lower() == ".png":
            path.write_bytes(self._png())
        else:
            raise ValueError(f"draw: cannot write {path.name!r}; use a name ending in .svg or .png")
        return path

    def _png(self) -> bytes:
        try:
            import cairosvg
        except (ImportError, OSError) as error:  # OSError: the cairo library itself is missing
            raise ImportError(
                "draw: writing PNG needs the package cairosvg (pip install cairosvg); "
                "SVG needs nothing"
            ) from error
        png: bytes = cairosvg.svg2png(bytestring=self.svg.encode(), scale=2)
        return png

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return self.svg.replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)

    def __repr__(self) -> str:
        return f"Drawing(<svg of {len(self.svg):,} characters>)"


def draw(
    net: Module,
    X: Any = None,
    path: str | os.PathLike[str] | None = None,
    *,
    fold: bool = True,
    legend: bool = True,
) -> Drawing:
    """Draw a network as blocks within blocks, with the data that flows through them.

    With an input, the network is run on it once (in evaluation mode, without gradients, and left
    as it was), and the picture shows what that run did: which block called which, the shapes on
    the way, operations between blocks. Without one it shows how the blocks are nested.

    Args:
        net: any block.
        X: an input: a tensor, a tuple of arguments, or a dict of keyword arguments.
        path: where to save the picture, `.svg` or `.png`; see `Drawing.save`.
        fold: whether equal blocks in a row become one that says `× 36`.
        legend: whether to explain the marks below the picture.

    Returns:
        The picture.
    """
    graph = of_structure(net) if X is None else of_trace(trace(net, X))
    if fold:
        graph = folded(graph)
    name = type(net).__name__
    blocks = sum(1 for _ in net.modules())
    described = (
        f"A {name} of {blocks} blocks with {parameter_count(net):,} parameters. Each box is a "
        "block, drawn inside the block that contains it; data flows from top to bottom."
    )
    drawing = Drawing(svg(arranged(graph), f"{name}: blocks within blocks", described, legend))
    if path is not None:
        drawing.save(path)
    return drawing
