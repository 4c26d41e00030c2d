"""Draws the pictures of the documents, with kuai itself.

    python -m tools.draw_images

They are kept in the repository, so that they show where nothing has been run; run this again when
`kuai.draw` has changed.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.networks import networks

import kuai

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def draw_images(folder: Path) -> None:
    """Write every picture into `folder`."""
    kuai.manual_seed(0)
    chimera = networks(kuai)["chimera (S6)"]()
    kuai.draw(chimera, kuai.rand(2, 20), folder / "chimera.svg")


if __name__ == "__main__":
    draw_images(IMAGES)
