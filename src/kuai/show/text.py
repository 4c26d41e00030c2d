"""How wide a text is, without a font library."""

from __future__ import annotations

from unicodedata import east_asian_width

FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"

# Advance widths of Helvetica in thousandths of the size, from its published metrics; Arial and
# Liberation Sans have the same.
_WIDTHS: dict[str, int] = {}
for _characters, _width in (
    ("ijl'", 222), ("|", 260), (" !,./:;I[]\\ft·", 278), ("()-r`{}", 333), ('"', 355),
    ("*", 389), ("^", 469), ("ckJsvxyz", 500), ("#$0123456789?L_abdeghnopqu", 556),
    ("+<=>~×÷−", 584), ("FTZ", 611), ("&ABEKPSVXY", 667), ("CDHNRUw", 722), ("GOQ", 778),
    ("Mm", 833), ("%", 889), ("W", 944), ("…→", 1000), ("@", 1015),
):  # fmt: skip
    for _character in _characters:
        _WIDTHS[_character] = _width

_BOLD = 1.07
_ALLOWANCE = 1.03  # for a reader's font that is a little wider


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width of `text` in pixels at a font size in pixels."""
    units = 0
    for character in text:
        width = _WIDTHS.get(character)
        if width is None:
            width = 1000 if east_asian_width(character) in "WF" else 610
        units += width
    return units / 1000 * size * (_BOLD if bold else 1.0) * _ALLOWANCE


def shortened(text: str, size: float, limit: float) -> str:
    """`text`, cut with an ellipsis where it is wider than `limit` pixels."""
    if text_width(text, size) <= limit:
        return text
    while text and text_width(text + "…", size) > limit:
        text = text[:-1]
    return text.rstrip(" ,") + "…"


def shape_text(shape: tuple[int, ...], dtype: str = "float32") -> str:
    """A shape as the drawing writes it: `2 × 20`, with the data type where it is unusual."""
    sizes = " × ".join(map(str, shape)) if shape else "scalar"
    return sizes if dtype == "float32" else f"{sizes} {dtype}"
