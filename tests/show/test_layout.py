"""The layout, on random networks: boxes stay apart, and arrows go around them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kuai.show.diagram import IN, OUT, Edge, Graph, Node
from kuai.show.layout import Plan, arranged


@st.composite
def graphs(draw, depth=1):
    """Graphs whose boxes each take one to three of the results before them."""
    count = draw(st.integers(1, 9))
    nodes, edges = [], []
    used = set()
    for i in range(count):
        kind = draw(st.sampled_from(["block", "operations", "join"]))
        node = Node(kind, draw(st.sampled_from(["+", "relu", "Linear", "LongNameOfABlock"])))
        if kind == "block" and depth and draw(st.booleans()):
            node.inside = draw(graphs(depth=depth - 1))
        node.times = draw(st.sampled_from([1, 1, 36]))
        nodes.append(node)
        sources = draw(st.sets(st.integers(-1, i - 1), min_size=1, max_size=3))
        for source in sources:
            second = source == IN and draw(st.booleans())
            edges.append(Edge(source, i, "2 × 20", (source, second)))
        used |= sources
    for i in range(count):
        if i not in used:
            edges.append(Edge(i, OUT, "2 × 20", (i, False)))
    return Graph(nodes, edges)


def plans(plan: Plan):
    """A plan and all those inside it."""
    yield plan
    for box in plan.boxes:
        if box.inside is not None:
            yield from plans(box.inside)


ROUNDING = 1e-6


def apart(a, b):
    """Whether two rectangles (left, top, right, bottom) share no more than their borders."""
    return (
        a[2] <= b[0] + ROUNDING
        or b[2] <= a[0] + ROUNDING
        or a[3] <= b[1] + ROUNDING
        or b[3] <= a[1] + ROUNDING
    )


def rectangle(box):
    return box.x, box.y, box.x + box.width, box.y + box.height


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_boxes_stay_apart(graph):
    for plan in plans(arranged(graph)):
        for i, a in enumerate(plan.boxes):
            for b in plan.boxes[i + 1 :]:
                assert apart(rectangle(a), rectangle(b))


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_no_arrow_goes_through_a_box(graph):
    for plan in plans(arranged(graph)):
        for route in plan.routes:
            for (x, y), (z, w) in zip(route.points, route.points[1:], strict=False):
                assert x == z or y == w, "lines are level or upright"
                line = min(x, z), min(y, w), max(x, z), max(y, w)
                assert all(apart(line, rectangle(box)) for box in plan.boxes)


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_every_arrow_leads_down_and_stays_within_the_plan(graph):
    for plan in plans(arranged(graph)):
        for route in plan.routes:
            heights = [y for _, y in route.points]
            assert heights == sorted(heights)
            for x, _ in route.points:
                assert -plan.left - ROUNDING <= x <= plan.right + ROUNDING
        for box in plan.boxes:
            assert -plan.left - ROUNDING <= box.x
            assert box.x + box.width <= plan.right + ROUNDING
            assert box.y + box.height <= plan.height + ROUNDING
