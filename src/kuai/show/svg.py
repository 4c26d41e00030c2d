"""Write a picture that has been laid out as SVG."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from kuai.show.diagram import Node
from kuai.show.layout import (
    BADGE_HEIGHT,
    CHIP_GAP,
    CHIP_HEIGHT,
    PAD,
    SMALL,
    STACK,
    TINY,
    TITLE,
    Placed,
    Plan,
    Route,
    badge_width,
    badges,
    chip_text,
    chip_width,
    title_width,
)
from kuai.show.text import FONT, text_width

INK, FAINT, LINE = "#1b2430", "#55606e", "#4a5462"
PAGE = "#ffffff"
CONTAINERS = (("#f4f7fb", "#8fa1b8"), ("#ffffff", "#8fa1b8"))  # fill and border, by depth
LAYER = ("#dfeaf7", "#3f6ea6")  # a block with parameters of its own
PLAIN = ("#f2f2ee", "#7f7f76")  # a block without
PARAMETER = "#b85400"
SHARED = (  # distinct also to readers who do not tell red from green; the letter says it, too
    ("#d6efe4", "#0f6b4c"), ("#f1def0", "#86358a"), ("#fbe9c3", "#7d5600"),
    ("#d5edf7", "#0a5f86"), ("#fadadb", "#a02020"), ("#e2e1fa", "#4a41a3"),
)  # fmt: skip
MARGIN = 20.0
LEGEND_ROW = 22.0


def svg(plan: Plan, title: str, description: str, legend: bool = True) -> str:
    """The whole document.

    Args:
        plan: the picture, laid out.
        title: what it is, for the browser and for screen readers.
        description: the same in a sentence or two.
        legend: whether to explain the marks below the picture.
    """
    marks = _marks(plan) if legend else []
    legend_width = max((_mark_width(m) for m in marks), default=0.0)
    left = MARGIN + plan.left
    width = max(MARGIN + plan.left + plan.right, MARGIN + legend_width) + MARGIN
    legend_height = LEGEND_ROW * len(marks) + (14 if marks else 0)
    height = plan.height + 2 * MARGIN + legend_height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label={quoteattr(title)} '
        f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}" '
        f'font-family="{FONT}" fill="{INK}">',
        f"<title>{_e(title)}</title>",
        f"<desc>{_e(description)}</desc>",
        f'<rect width="{_n(width)}" height="{_n(height)}" fill="{PAGE}"/>',
    ]
    _plan(parts, plan, left, MARGIN, 0)
    _legend(parts, marks, MARGIN, plan.height + 2 * MARGIN)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _plan(parts: list[str], plan: Plan, x: float, y: float, depth: int) -> None:
    for box in plan.boxes:
        _box(parts, box, x + box.x, y + box.y, depth)
    for route in plan.routes:
        _route(parts, route, x, y)
    for label in plan.labels:
        parts.append(_text(label.text, x + label.x, y + label.y + 4, SMALL, FAINT))


def _box(parts: list[str], box: Placed, x: float, y: float, depth: int) -> None:
    node = box.node
    if node.kind == "terminal":
        parts.append(_text(node.title, x + box.axis, y + 13, SMALL, FAINT, "middle"))
        return
    parts.append("<g>")
    parts.append(f"<title>{_e(node.words or node.title)}</title>")
    if node.kind == "join":
        parts.append(
            f'<circle cx="{_n(x + 12)}" cy="{_n(y + 12)}" r="12" fill="{PAGE}" '
            f'stroke="{LINE}" stroke-width="1.4"/>'
        )
        parts.append(_text(node.title, x + 12, y + 17.5, 16, INK, "middle"))
    elif node.kind == "operations":
        parts.append(_rect(x, y, box.width, box.height, PAGE, PLAIN[1], radius=box.height / 2))
        parts.append(_text(node.title, x + box.axis, y + 17, SMALL, INK, "middle"))
    else:
        _block(parts, box, x, y, depth)
    parts.append("</g>")


def _block(parts: list[str], box: Placed, x: float, y: float, depth: int) -> None:
    node = box.node
    fill, border = _colours(node, depth)
    dashed = node.kind == "group" or node.idle
    if node.times > 1:
        for n in (2, 1):
            parts.append(_rect(x + n * STACK, y + n * STACK, box.width, box.height, PAGE, border))
    parts.append(_rect(x, y, box.width, box.height, fill, border, dashed=dashed))
    if box.inside is None:
        _header(parts, box, x, y, centred=True)
    else:
        _header(parts, box, x, y, centred=False)
        inner = depth if node.kind == "group" else depth + 1
        _plan(parts, box.inside, x + box.inside_x, y + box.inside_y, inner)


def _colours(node: Node, depth: int) -> tuple[str, str]:
    if node.shared:
        return SHARED[_number(node.shared) % len(SHARED)]
    if node.idle:
        return PAGE, PLAIN[1]
    if node.kind == "group":
        return CONTAINERS[(depth + 1) % 2][0], LINE
    if node.inside is not None:
        return CONTAINERS[depth % 2]
    return LAYER if any(c.kind != "constant" for c in node.chips) else PLAIN


def _number(letters: str) -> int:
    return ord(letters[0]) - ord("A")


def _header(parts: list[str], box: Placed, x: float, y: float, centred: bool) -> None:
    node = box.node
    texts = badges(node)
    width = title_width(node) + sum(8 + badge_width(t) for t in texts)
    at = x + (box.width - width) / 2 if centred else x + PAD
    line = y + 21.5
    if node.title:
        # One text, so that the name follows the title in whatever font the reader has.
        name = f'<tspan dx="8" font-size="{_n(SMALL)}" fill="{FAINT}">{_e(node.name)}</tspan>'
        parts.append(
            f'<text x="{_n(at)}" y="{_n(line)}" font-size="{_n(TITLE)}">'
            f'<tspan font-weight="bold">{_e(node.title)}</tspan>{name if node.name else ""}</text>'
        )
    at += title_width(node) + 8
    if not centred:  # badges stand in the right corner of a box that has an inside
        at = x + box.width - PAD - sum(8 + badge_width(t) for t in texts) + 8
    for text in texts:
        colour = SHARED[_number(text) % len(SHARED)][1] if text[0] != "×" else INK
        parts.append(_rect(at, y + 8, badge_width(text), BADGE_HEIGHT, colour, colour, radius=8.5))
        parts.append(
            _text(text, at + badge_width(text) / 2, y + 20.5, TINY, PAGE, "middle", bold=True)
        )
        at += badge_width(text) + 8
    below = y + 33
    if box.detail:
        anchor, at = ("middle", x + box.width / 2) if centred else ("start", x + PAD)
        parts.append(_text(box.detail, at, below + 5, SMALL, FAINT, anchor))
        below += 15
    for row in box.chips:
        row_width = sum(map(chip_width, row)) + CHIP_GAP * (len(row) - 1)
        at = x + (box.width - row_width) / 2 if centred else x + PAD
        for chip in row:
            _chip(parts, chip.kind, chip_text(chip), at, below, chip_width(chip))
            at += chip_width(chip) + CHIP_GAP
        below += 24


def _chip(parts: list[str], kind: str, text: str, x: float, y: float, width: float) -> None:
    colour = LINE if kind == "constant" else PARAMETER
    parts.append(
        _rect(
            x, y, width, CHIP_HEIGHT, PAGE, colour, radius=4, dashed=kind != "parameter", thin=True
        )
    )
    mark = colour if kind == "parameter" else "none"
    parts.append(
        f'<rect x="{_n(x + 7.5)}" y="{_n(y + 5.5)}" width="7" height="7" fill="{mark}" '
        f'stroke="{colour}" stroke-width="1.2"/>'
    )
    parts.append(_text(text, x + 20, y + 12.8, TINY, INK))


def _route(parts: list[str], route: Route, x: float, y: float) -> None:
    points = [(x + a, y + b) for a, b in route.points]
    if route.head:
        (a, b), (c, d) = points[-2], points[-1]
        down = abs(d - b) > abs(c - a)
        tip = points[-1]
        points[-1] = (c, d - 5) if down else (c + 5, d)
        wings = (
            f"{_n(tip[0] - 4)},{_n(tip[1] - 8)} {_n(tip[0] + 4)},{_n(tip[1] - 8)}"
            if down
            else f"{_n(tip[0] + 8)},{_n(tip[1] - 4)} {_n(tip[0] + 8)},{_n(tip[1] + 4)}"
        )
        parts.append(f'<polygon points="{_n(tip[0])},{_n(tip[1])} {wings}" fill="{LINE}"/>')
    parts.append(f'<path d="{_rounded(points)}" fill="none" stroke="{LINE}" stroke-width="1.4"/>')
    if route.dot:
        a, b = x + route.points[0][0], y + route.points[0][1]
        parts.append(f'<circle cx="{_n(a)}" cy="{_n(b)}" r="2.6" fill="{LINE}"/>')


def _rounded(points: list[tuple[float, float]]) -> str:
    """A path through the points with its corners rounded."""
    out = [f"M{_n(points[0][0])} {_n(points[0][1])}"]
    for (a, b), (c, d), (e, f) in zip(points, points[1:], points[2:], strict=False):
        r = min(8.0, (abs(c - a) + abs(d - b)) / 2, (abs(e - c) + abs(f - d)) / 2)
        before = (c - _sign(c - a) * r, d - _sign(d - b) * r)
        after = (c + _sign(e - c) * r, d + _sign(f - d) * r)
        out.append(f"L{_n(before[0])} {_n(before[1])}")
        out.append(f"Q{_n(c)} {_n(d)} {_n(after[0])} {_n(after[1])}")
    out.append(f"L{_n(points[-1][0])} {_n(points[-1][1])}")
    return "".join(out)


_LEGEND = {
    "parameter": "parameter, learned",
    "frozen": "parameter, frozen",
    "constant": "constant",
    "shared": "used several times: same letter, same parameters",
    "repeated": "n times in a row, each time with parameters of its own, where not shared",
}


def _marks(plan: Plan) -> list[str]:
    """The marks that occur in the picture and that a reader may have to look up."""
    found: set[str] = set()

    def look(plan: Plan) -> None:
        for box in plan.boxes:
            found.update(c.kind for c in box.node.chips)
            if box.node.shared or any(c.shared for c in box.node.chips):
                found.add("shared")
            if box.node.times > 1:
                found.add("repeated")
            if box.inside is not None:
                look(box.inside)

    look(plan)
    return [mark for mark in _LEGEND if mark in found]


def _mark_width(mark: str) -> float:
    return 34 + text_width(_LEGEND[mark], TINY)


def _legend(parts: list[str], marks: list[str], x: float, y: float) -> None:
    for mark in marks:
        if mark == "shared":
            border = SHARED[0][1]
            parts.append(_rect(x, y, 22, 15, border, border, radius=7.5))
            parts.append(_text("A", x + 11, y + 11.3, TINY, PAGE, "middle", bold=True))
        elif mark == "repeated":
            parts.append(_rect(x, y, 22, 15, INK, INK, radius=7.5))
            parts.append(_text("× n", x + 11, y + 11.3, 9.5, PAGE, "middle", bold=True))
        else:
            _chip(parts, mark, "", x, y - 1, 22)
        parts.append(_text(_LEGEND[mark], x + 32, y + 11.5, TINY, FAINT))
        y += LEGEND_ROW


def _rect(
    x: float, y: float, width: float, height: float, fill: str, border: str,
    radius: float = 7, dashed: bool = False, thin: bool = False,
) -> str:  # fmt: skip
    dash = ' stroke-dasharray="5 3"' if dashed and not thin else ""
    dash = ' stroke-dasharray="3 2"' if dashed and thin else dash
    return (
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" '
        f'rx="{_n(radius)}" fill="{fill}" stroke="{border}" '
        f'stroke-width="{"1" if thin else "1.3"}"{dash}/>'
    )


def _text(
    text: str, x: float, y: float, size: float, colour: str, anchor: str = "start",
    bold: bool = False,
) -> str:  # fmt: skip
    weight = ' font-weight="bold"' if bold else ""
    middle = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return (
        f'<text x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}" fill="{colour}"{weight}{middle} '
        f'xml:space="preserve">{_e(text)}</text>'
    )


def _e(text: str) -> str:
    """Escaped, and without the control characters that XML does not allow."""
    return escape("".join(c for c in text if c >= " " or c in "\t\n"))


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
