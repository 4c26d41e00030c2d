"""Give every box a size and a place, and every arrow its way.

The boxes of a graph hang in columns, in the order in which they ran. Data flows down; the main
path (the longest) goes straight down the first column. Where a tensor is used more than once,
each further use gets a column of its own to the right, freed again where it joins another box
from the side: a shortcut around some blocks is an empty column beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kuai.show.diagram import IN, OUT, Chip, Edge, Graph, Node
from kuai.show.text import shortened, text_width

TITLE, SMALL, TINY = 13.0, 11.0, 10.5
PAD = 14.0  # between a box's border and what is inside
GAP, LABELLED_GAP = 20.0, 34.0  # between two boxes, and where the arrow has a label
FORK = 11.0  # how far below a box an arrow forks
COLUMN_GAP = 26.0
STACK = 4.0  # how far the cards behind a repeated box stand out
CHIP_HEIGHT, CHIP_GAP, CHIPS_WIDTH = 18.0, 6.0, 330.0
BADGE_HEIGHT = 17.0
DETAIL_WIDTH = 330.0


@dataclass
class Route:
    """An arrow: the points through which it goes, with a dot where it forks off another."""

    points: list[tuple[float, float]]
    head: bool = True
    dot: bool = False


@dataclass
class Label:
    """Text beside an arrow."""

    x: float
    y: float
    text: str


@dataclass
class Placed:
    """A box with its size and place; `axis` is where, from its left, arrows enter and leave."""

    node: Node
    width: float = 0.0
    height: float = 0.0
    axis: float = 0.0
    x: float = 0.0
    y: float = 0.0
    chips: list[list[Chip]] = field(default_factory=list)
    detail: str = ""
    inside: Plan | None = None
    inside_x: float = 0.0
    inside_y: float = 0.0


@dataclass
class Plan:
    """A graph laid out; x is measured from its axis, y from its top."""

    left: float
    right: float
    height: float
    boxes: list[Placed]
    routes: list[Route]
    labels: list[Label]


def sized(node: Node) -> Placed:
    """The box of a node, with what is inside it laid out."""
    if node.kind == "join":
        return Placed(node, 24, 24, 12)
    if node.kind in ("operations", "terminal"):
        pad = 24 if node.kind == "operations" else 8
        width = text_width(node.title, SMALL) + pad
        return Placed(node, width, 26 if node.kind == "operations" else 18, width / 2)
    box = Placed(node, chips=_rows(node.chips), detail=shortened(node.detail, SMALL, DETAIL_WIDTH))
    header = _header_width(box)
    height = header_height(box)
    if node.inside is None:
        box.width = max(header + 2 * PAD, 96.0)
        box.height = height if not box.chips else height + 8
        box.axis = box.width / 2
    else:
        box.inside = plan = arranged(node.inside)
        content = plan.left + plan.right
        box.width = max(header, content) + 2 * PAD
        spare = max(0.0, header - content)
        box.inside_x = box.axis = PAD + spare / 2 + plan.left
        box.inside_y = height
        box.height = height + plan.height + (0 if _leaves(node.inside) else PAD)
    return box


def header_height(box: Placed) -> float:
    """The height of a box's title, detail and chips."""
    if box.node.kind == "group":
        return 30.0
    return 34.0 + 15.0 * bool(box.detail) + 24.0 * len(box.chips)


def badges(node: Node) -> list[str]:
    """What a box's corner says: that it is shared, and how often it is repeated."""
    texts = []
    if node.shared:
        texts.append(f"{node.shared}  shared, {node.uses} uses")
    if node.times > 1:
        texts.append(f"× {node.times}")
    return texts


def badge_width(text: str) -> float:
    """The width of a badge."""
    return text_width(text, TINY, bold=True) + 14


def chip_text(chip: Chip) -> str:
    """What a chip says."""
    note = {"parameter": "", "frozen": " frozen", "constant": " constant"}[chip.kind]
    return f"{chip.name}  {chip.shape}{note}" + (f"  shared {chip.shared}" if chip.shared else "")


def chip_width(chip: Chip) -> float:
    """The width of a chip with its mark."""
    return text_width(chip_text(chip), TINY) + 26


def title_width(node: Node) -> float:
    """The width of a box's title and, behind it, the name of its attribute."""
    width = text_width(node.title, TITLE, bold=True)
    return width + (8 + text_width(node.name, SMALL) if node.name else 0)


def _header_width(box: Placed) -> float:
    node = box.node
    top = title_width(node) + sum(8 + badge_width(t) for t in badges(node))
    rows = [sum(map(chip_width, row)) + CHIP_GAP * (len(row) - 1) for row in box.chips]
    return max(top, text_width(box.detail, SMALL), *rows, 0.0)


def _rows(chips: list[Chip]) -> list[list[Chip]]:
    rows: list[list[Chip]] = []
    width = 0.0
    for chip in chips:
        step = chip_width(chip) + CHIP_GAP
        if not rows or width + step > CHIPS_WIDTH:
            rows.append([])
            width = 0.0
        rows[-1].append(chip)
        width += step
    return rows


def _leaves(graph: Graph) -> bool:
    return any(e.target == OUT for e in graph.edges)


def arranged(graph: Graph) -> Plan:
    """A graph laid out.

    It is arranged twice: the first time shows which columns each shortcut has beside it, and the
    second leads the shortcut around all of them.
    """
    boxes = [sized(n) for n in graph.nodes]
    first = _Arrangement(graph, boxes, {})
    plan = first.plan()
    around = first.shortcuts()
    return _Arrangement(graph, boxes, around).plan() if around else plan


@dataclass
class _Strand:
    """An arrow under way: it hangs in a column until its target is placed."""

    edge: Edge
    column: int
    path: list[tuple[int, float]]
    dot: bool
    told: bool

    @property
    def labelled(self) -> bool:
        """Whether it shows its shape: the first arrow of each tensor does."""
        return self.told and bool(self.edge.label)


class _Arrangement:
    def __init__(
        self, graph: Graph, boxes: list[Placed], around: dict[tuple[int, int], int]
    ) -> None:
        self.graph = graph
        self.around = around
        self.edges = _joined(_labelled_once(graph.edges))
        self.boxes = boxes
        self.lengths = self.path_lengths()
        self.bottoms: list[float] = []  # per column, where it is free from
        self.left: list[float] = []
        self.right: list[float] = []
        self.strands: list[_Strand] = []
        self.columns = [0] * len(self.boxes)
        self.hung: dict[tuple[int, int], int] = {}  # the column of each arrow
        self.beside: list[_Strand] = []  # arrows that forked off and joined from the side
        self.routes: list[tuple[list[tuple[int, float]], float, bool, bool]] = []
        self.labels: list[tuple[int, float, str]] = []
        self.need(0)

    def path_lengths(self) -> dict[int, float]:
        """From each box, the height of the boxes on the longest path onwards."""
        lengths = {OUT: 0.0}
        for i in reversed(range(len(self.boxes))):
            onward = [lengths.get(e.target, 0.0) for e in self.edges if e.source == i]
            lengths[i] = self.boxes[i].height + GAP + max(onward, default=0.0)
        return lengths

    def need(self, column: int) -> None:
        while len(self.bottoms) <= column:
            self.bottoms.append(0.0)
            self.left.append(4.0)
            self.right.append(4.0)

    def plan(self) -> Plan:
        self.send(IN, 0, 0.0)
        for i, box in enumerate(self.boxes):
            self.place(i, box)
        height = max(self.bottoms)
        if _leaves(self.graph):
            height = self.finish()
        return self.drawn(height)

    def send(self, source: int, column: int, bottom: float) -> None:
        """Start the arrows that leave a box: the main one straight down, the others beside.

        What enters from outside are separate tensors, and each comes down in its own column.
        """
        edges = [e for e in self.edges if e.source == source]
        edges.sort(key=lambda e: (e.target == OUT, -self.lengths.get(e.target, 0.0)))
        stems: dict[object, tuple[int, float]] = {}  # per tensor: its column, where it forks
        for n, edge in enumerate(edges):
            is_new = edge.value not in stems
            if n == 0:
                stems[edge.value] = (column, bottom + FORK)
                self.strands.append(_Strand(edge, column, [(column, bottom)], False, True))
                continue
            if is_new and source == IN:
                own = self.free_column(column + 1, bottom)
                stems[edge.value] = (own, bottom + FORK * (len(stems) + 1) + 8)  # below its label
                self.strands.append(_Strand(edge, own, [(own, bottom)], False, True))
                continue
            if is_new:
                stems[edge.value] = (column, bottom + FORK * (len(stems) + 1))
            stem, level = stems[edge.value]
            least = self.around.get((source, edge.target), 0)
            beside = self.free_column(max(stem + 1, least), level)
            crossed = self.bottoms[stem + 1 : beside]
            level = max([level, *(y + 8.0 for y in crossed if y > level)])
            path = [(stem, bottom if is_new else level)]
            path += [(stem, level)] * is_new + [(beside, level)]
            for c in range(stem, beside + 1):
                self.bottoms[c] = max(self.bottoms[c], level)
            self.strands.append(_Strand(edge, beside, path, not is_new, is_new))
        for strand in self.strands:
            self.hung[strand.edge.source, strand.edge.target] = strand.column

    def shortcuts(self) -> dict[tuple[int, int], int]:
        """For each shortcut with other columns to its right: the first column beyond them."""
        around = {}
        for strand in self.beside:
            source, target = strand.edge.source, strand.edge.target
            last = len(self.boxes) if target == OUT else target
            between = [self.columns[i] for i in range(max(source + 1, 0), last)]
            between += [c for (a, _), c in self.hung.items() if source < a < last]
            if max(between, default=0) > strand.column:
                around[source, target] = max(between) + 1
        return around

    def free_column(self, first: int, level: float) -> int:
        """The nearest column from `first` on in which nothing hangs or stands at `level`."""
        taken = {s.column for s in self.strands}
        column = first
        while True:
            self.need(column)
            if column not in taken and self.bottoms[column] <= level:
                return column
            column += 1

    def place(self, i: int, box: Placed) -> None:
        arriving = sorted((s for s in self.strands if s.edge.target == i), key=lambda s: s.column)
        self.strands = [s for s in self.strands if s.edge.target != i]
        if arriving:
            home = arriving[0].column
        else:
            home = self.free_column(0, 1e9)
        straight = [s for s in arriving if s.column == home]
        above = self.bottoms[home]
        room = LABELLED_GAP if any(s.labelled for s in straight) else GAP
        if not arriving and not above:
            room = 0.0 if box.node.kind == "terminal" else 4.0
        enter = min(box.height / 2, 22.0)
        y = above + room
        for strand in arriving:
            if strand.column != home:
                side = self.bottoms[strand.column] + (26.0 if strand.labelled else 12.0)
                y = max(y, side - enter)
        crossed = range(home + 1, max((s.column for s in arriving), default=home))
        for c in crossed:
            y = max(y, self.bottoms[c] + 8.0 - enter)
        box.y = y
        self.columns[i] = home
        self.left[home] = max(self.left[home], box.axis)
        shadow = 2 * STACK if box.node.times > 1 else 0.0
        self.right[home] = max(self.right[home], box.width - box.axis + shadow)
        for strand in arriving:
            if strand.column == home:
                self.end(strand, [(home, y)], 0.0)
                if strand.labelled:
                    self.label(home, y - LABELLED_GAP / 2 + 1, strand.edge.label)
            else:
                level = y + enter
                if len(strand.path) > 1:
                    self.beside.append(strand)
                self.label_beside(strand)
                inset = box.width - box.axis
                self.end(strand, [(strand.column, level), (home, level)], inset)
                for c in range(home + 1, strand.column + 1):
                    self.bottoms[c] = max(self.bottoms[c], level + 8.0)
        bottom = y + box.height + shadow
        self.bottoms[home] = bottom
        self.send(i, home, bottom)

    def finish(self) -> float:
        """Lead what leaves the box to its lower border, on its axis."""
        arriving = [s for s in self.strands if s.edge.target == OUT]
        level = max(self.bottoms) + GAP
        beside = [s for s in arriving if s.column != 0]
        if beside:
            level += 8.0
        for strand in arriving:
            if strand.column == 0:
                self.end(strand, [(0, level)], 0.0, head=False)
            else:
                turn = level - 10.0
                self.label_beside(strand)
                self.end(strand, [(strand.column, turn), (0, turn), (0, level)], 0.0, head=False)
        return level

    def label_beside(self, strand: _Strand) -> None:
        if strand.labelled:
            self.label(strand.column, strand.path[-1][1] + 14.0, strand.edge.label)

    def label(self, column: int, y: float, text: str) -> None:
        self.labels.append((column, y, text))
        self.right[column] = max(self.right[column], 10 + text_width(text, SMALL))

    def end(
        self, strand: _Strand, path: list[tuple[int, float]], inset: float, head: bool = True
    ) -> None:
        self.routes.append((strand.path + path, inset, head, strand.dot))

    def drawn(self, height: float) -> Plan:
        """The columns side by side, and everything in coordinates."""
        used = {0, *self.columns, *self.hung.values()}
        axes, right = [0.0], self.right[0]
        for c in range(1, len(self.bottoms)):
            if c not in used:
                axes.append(right)
                continue
            axes.append(right + COLUMN_GAP + self.left[c])
            right = axes[-1] + self.right[c]
        for box, column in zip(self.boxes, self.columns, strict=True):
            box.x = axes[column] - box.axis
        routes = []
        for path, inset, head, dot in self.routes:
            points = [(axes[c], y) for c, y in path]
            points[-1] = (points[-1][0] + inset, points[-1][1])
            routes.append(Route(points, head, dot))
        labels = [Label(axes[c] + 7, y, text) for c, y, text in self.labels]
        return Plan(self.left[0], right, height, self.boxes, routes, labels)


def _labelled_once(edges: list[Edge]) -> list[Edge]:
    """Without the label of the one tensor that enters: the arrow outside the box has it."""
    if len({id(e.value) for e in edges if e.source == IN}) != 1:
        return edges
    return [Edge(e.source, e.target, "", e.value) if e.source == IN else e for e in edges]


def _joined(edges: list[Edge]) -> list[Edge]:
    """One arrow for all that one box gives another."""
    joined: dict[tuple[int, int, int], list[Edge]] = {}
    for e in edges:
        key = (e.source, e.target, id(e.value) if e.source == IN else 0)
        joined.setdefault(key, []).append(e)
    return [
        Edge(
            source,
            target,
            ",  ".join(e.label for e in group if e.label),
            tuple(id(e.value) for e in group),
        )
        for (source, target, _), group in joined.items()
    ]
