"""Fold what repeats: 36 equal blocks in a row become one box that says × 36."""

from __future__ import annotations

from kuai.show.diagram import IN, OUT, Edge, Graph, Node

FEWEST = 3
"""How often something must repeat to be folded: two in a row are as quickly seen as `× 2`."""
LARGE = 12
"""From so many boxes on, two in a row are folded, too."""
HANDED_ON = "from the round before"
LONGEST = 64
"""The most boxes side by side that are looked for as a round."""


def folded(graph: Graph) -> Graph:
    """`graph`, and what is inside its boxes, with repetitions folded.

    A stretch of boxes repeats if each round looks like the first, takes what the round before
    hands on (and otherwise only what all rounds take alike), and hands on one box's result.
    """
    for node in graph.nodes:
        if node.inside is not None and node.kind != "group":
            node.inside = folded(node.inside)
    while True:
        found = _repetition(graph)
        if found is None:
            return graph
        graph = _fold(graph, *found)


def _repetition(graph: Graph) -> tuple[int, int, int] | None:
    """Start, period and count of the repetition that removes most boxes."""
    signatures = [hash(n.signature()) for n in graph.nodes]
    count = len(signatures)
    best: tuple[int, int, int] | None = None
    saved = 0
    for period in range(1, min(count // 2, LONGEST) + 1):
        start = 0
        while start + 2 * period <= count:
            # How far the signatures agree with those one period on: a run of equal rounds.
            end = start
            while end + period < count and signatures[end] == signatures[end + period]:
                end += 1
            times = (end - start) // period + 1
            while times >= 2 and (alike := _alike(graph, start, period, times)) < times:
                times = alike
            size = sum(boxes(n) for n in graph.nodes[start : start + period])
            worth_it = times >= FEWEST or (times == 2 and size >= LARGE)
            if worth_it and period * (times - 1) > saved:
                best, saved = (start, period, times), period * (times - 1)
            start += max(1, (times - 1) * period)
    return best


def boxes(node: Node) -> int:
    """How many boxes a box is, with those inside."""
    return 1 + (0 if node.inside is None else sum(map(boxes, node.inside.nodes)))


def _alike(graph: Graph, start: int, period: int, times: int) -> int:
    """How many of these rounds, from the first on, have the arrows that the first has.

    The answer holds for just that many rounds if it is `times`; else fewer are worth a try.
    """
    stop = start + period * times
    rounds: list[set[tuple[int, str, str]]] = [set() for _ in range(times)]
    exits: set[int] = set()
    entering: set[str] = set()
    good = times
    for edge in graph.edges:
        a, b = edge.source, edge.target
        i, j = (a - start) // period, (b - start) // period
        into = (b - start) % period
        from_inside, to_inside = start <= a < stop, start <= b < stop
        if from_inside and to_inside:
            if i == j:
                rounds[j].add((into, f"at {(a - start) % period}", edge.label))
            elif j == i + 1:
                exits.add((a - start) % period)
                rounds[j].add((into, HANDED_ON, edge.label))
            else:
                good = min(good, j)
        elif to_inside:
            source = f"{a} {id(edge.value)}"
            if j == 0:
                entering.add(source)
            rounds[j].add((into, source, edge.label))
        elif from_inside:
            exits.add((a - start) % period)
            good = min(good, i + 1)
    # What comes to the first round from elsewhere and to the others from the round before.
    for_all = {source for _, source, _ in rounds[1]}
    handed = {source for source in entering if source not in for_all}
    if len(exits) > 1 or len(handed) > 1:
        return min(good, times - 1)
    first = {
        (into, HANDED_ON if source in handed else source, label)
        for into, source, label in rounds[0]
    }
    for n in range(1, good):
        if rounds[n] != first:
            return n
    return good


def _fold(graph: Graph, start: int, period: int, times: int) -> Graph:
    stop = start + period * times
    body = graph.nodes[start : start + period]
    inner: dict[tuple[int, int, str], Edge] = {}
    outer: dict[tuple[int, int, int], Edge] = {}

    def moved(i: int) -> int:
        return i if i < start else start if i < stop else i - period * times + 1

    for edge in graph.edges:
        a, b = edge.source, edge.target
        from_inside, to_inside = start <= a < stop, start <= b < stop
        if from_inside and to_inside:
            if (b - start) // period == 0:
                inner[a - start, b - start, edge.label] = Edge(
                    a - start, b - start, edge.label, edge.value
                )
            continue
        if to_inside and (b - start) // period == 0:
            inner[IN, b - start, f"{a} {id(edge.value)}"] = Edge(
                IN, b - start, edge.label, edge.value
            )
        if from_inside:
            inner[(a - start) % period, OUT, edge.label] = Edge(
                (a - start) % period, OUT, edge.label, edge.value
            )
        source, target = moved(a), moved(b)
        outer[source, target, id(edge.value)] = Edge(source, target, edge.label, edge.value)
    last = graph.nodes[stop - period : stop]
    for node, other in zip(body, last, strict=True):
        if node.name != other.name:
            node.name = f"{node.name} … {other.name.removeprefix(_parent(node.name))}"
    if period == 1 and body[0].times == 1:
        group = body[0]
        group.times = times
    else:
        group = Node("group", "", times=times, inside=Graph(body, list(inner.values())))
        group.words = f"repeated {times} times"
    nodes = [*graph.nodes[:start], group, *graph.nodes[stop:]]
    return Graph(nodes, list(outer.values()))


def _parent(name: str) -> str:
    return name[: name.rfind(".") + 1]
