"""The picture of a run: the blocks that were called, operations between them, and the data flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kuai.show.blocks import Blocks
from kuai.show.calls import Call, Op, Trace, Value
from kuai.show.diagram import IN, OUT, Edge, Graph, Node
from kuai.show.text import shape_text

if TYPE_CHECKING:
    from kuai.nn import Module


def of_trace(trace: Trace) -> Graph:
    """The picture of a run."""
    return _Flow(trace).graph()


class _Flow:
    """Turns a trace into a graph: a tensor read is an arrow in each box that it crosses."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.blocks = Blocks(trace.net, _uses(trace.calls))
        self.called = {id(call.module) for call in trace.calls}
        self.edges: dict[Call | None, dict[tuple[object, object, int], Value]] = {}
        live = self.live()
        for op in live:
            for value in op.reads:
                self.connect(op, value)
        self.live_ops = set(map(id, live))

    def live(self) -> list[Op]:
        """The operations on which the output depends; what only steers Python is not drawn."""
        found: dict[int, Op] = {}
        pending = [self.trace.output]
        while pending:
            op = pending.pop()
            if id(op) not in found:
                found[id(op)] = op
                pending.extend(v.producer for v in op.reads if v.producer is not None)
        return list(found.values())

    def connect(self, reader: Op, value: Value) -> None:
        assert value.producer is not None
        source, target = _within(value.producer), _within(reader)
        common = 0
        while source[common][0] is target[common][0] and source[common][1] is target[common][1]:
            common += 1
        scope = source[common][0]
        self.edge(scope, source[common][1], target[common][1], value)
        for scope, item in source[common + 1 :]:
            self.edge(scope, item, OUT, value)
        for scope, item in target[common + 1 :]:
            self.edge(scope, IN, item, value)

    def edge(self, scope: Call | None, source: object, target: object, value: Value) -> None:
        key = (_key(source), _key(target), id(value))
        self.edges.setdefault(scope, {})[key] = value

    def graph(self) -> Graph:
        trace = self.trace
        items: list[Call | Op] = [*trace.inputs, trace.root, trace.output]
        nodes = [Node("terminal", op.name) for op in trace.inputs]
        nodes.append(self.node(trace.root))
        nodes.append(Node("terminal", "output"))
        return self.connected(None, items, nodes)

    def inside(self, call: Call) -> Graph:
        items = [i for i in call.items if isinstance(i, Call) or id(i) in self.live_ops]
        nodes = [self.node(i) if isinstance(i, Call) else _operation(i) for i in items]
        graph = merged(self.connected(call, items, nodes))
        if not call.module.__module__.startswith("kuai.nn."):
            for module in call.module._modules.values():
                if module is not None:
                    self.add_idle(graph, module, call.module)
        return graph

    def add_idle(self, graph: Graph, module: Module, scope: Module) -> None:
        """Add the blocks that the run did not call, so that they are not silently missing."""
        if any(id(m) in self.called for m in module.modules()):
            return
        node = self.blocks.node(module, scope)
        node.idle = True
        node.detail = "not called"
        graph.nodes.append(node)

    def node(self, call: Call) -> Node:
        module = call.module
        node = self.blocks.node(module, None if call.scope is None else call.scope.module)
        nested = any(isinstance(i, Call) for i in call.items)
        own = not module.__module__.startswith("kuai.nn.")
        if nested or (own and any(id(i) in self.live_ops for i in call.items)):
            node.inside = self.inside(call)
        return node

    def connected(self, scope: Call | None, items: list[Call | Op], nodes: list[Node]) -> Graph:
        place = {id(item): i for i, item in enumerate(items)}
        place[IN], place[OUT] = IN, OUT
        edges = [
            Edge(place[a], place[b], shape_text(v.shape, v.dtype), v)  # type: ignore[index]
            for (a, b, _), v in self.edges.get(scope, {}).items()
        ]
        order = {IN: -1, OUT: len(nodes)}
        edges.sort(key=lambda e: (order.get(e.target, e.target), order.get(e.source, e.source)))
        return Graph(nodes, edges)


def _uses(calls: list[Call]) -> dict[int, int]:
    """How often each block is used by itself, not just because the block around it is."""
    totals: dict[int, int] = {}
    within: dict[tuple[int, int], int] = {}
    users: dict[int, set[int]] = {}
    for call in calls:
        key = id(call.module)
        totals[key] = totals.get(key, 0) + 1
        if call.scope is not None:
            within[id(call.scope), key] = within.get((id(call.scope), key), 0) + 1
            users.setdefault(key, set()).add(id(call.scope.module))
    uses = {key: totals[key] for key, who in users.items() if len(who) > 1}
    for (_, key), count in within.items():
        if count > 1:
            uses[key] = max(uses.get(key, 0), count)
    return uses


def _within(op: Op) -> list[tuple[Call | None, Call | Op]]:
    """The boxes around an operation, outermost first, each with the item in it that leads there."""
    chain: list[tuple[Call | None, Call | Op]] = [(op.scope, op)]
    scope = op.scope
    while scope is not None:
        chain.append((scope.scope, scope))
        scope = scope.scope
    return chain[::-1]


def _key(item: object) -> object:
    return item if isinstance(item, int) else id(item)


def merged(graph: Graph) -> Graph:
    """`graph` with operations that follow upon each other in one box."""
    nodes = graph.nodes
    heads = list(range(len(nodes)))
    for i, node in enumerate(nodes):
        leaving = {e.target for e in graph.edges if e.source == i}
        if node.kind != "operations" or len(leaving) != 1:
            continue
        target = leaving.pop()
        if target == OUT or nodes[target].kind != "operations":
            continue
        if {e.source for e in graph.edges if e.target == target} == {i}:
            heads[target] = heads[i]
    kept = [i for i, head in enumerate(heads) if i == head]
    place = {head: new for new, head in enumerate(kept)} | {IN: IN, OUT: OUT}
    for i, head in enumerate(heads):
        if i != head:
            nodes[head].title += "\n" + nodes[i].title
    for head in kept:
        if nodes[head].kind == "operations":
            nodes[head].title = _counted(nodes[head].title.split("\n"))
    moved = [
        Edge(place[_root(heads, e.source)], place[_root(heads, e.target)], e.label, e.value)
        for e in graph.edges
    ]
    return Graph([nodes[i] for i in kept], [e for e in moved if e.source != e.target])


def _root(heads: list[int], i: int) -> int:
    return i if i < 0 else heads[i]


def _counted(names: list[str]) -> str:
    """`halve halve halve sum` as `halve (3 times) · sum`; a long list as its length."""
    parts: list[list[object]] = []
    for name in names:
        if parts and parts[-1][0] == name:
            parts[-1][1] = int(str(parts[-1][1])) + 1
        else:
            parts.append([name, 1])
    if len(parts) > 6:
        return f"{len(names)} operations"
    return " → ".join(f"{n} ({c} times)" if c != 1 else str(n) for n, c in parts)


_SIGNS = {
    "add": "+", "radd": "+", "iadd": "+", "sub": "−", "isub": "−", "rsub": "−", "mul": "×",
    "rmul": "×", "imul": "×", "div": "÷", "truediv": "÷", "itruediv": "÷", "rtruediv": "÷",
    "true_divide": "÷", "matmul": "@", "pow": "^", "plus": "+", "minus": "−", "quotient": "÷",
}  # fmt: skip


def _operation(op: Op) -> Node:
    sign = _SIGNS.get(op.name)
    # A function's own arithmetic has numbers that the program did not write.
    numbers = op.numbers if sign else []
    if sign and sign not in "@^" and len(op.reads) == 2 and not op.operands:
        return Node("join", sign, words=op.name)
    alone = len(op.reads) < 2 and not op.operands and not numbers
    words = [op.name if alone else sign or op.name, *op.operands, *numbers]
    if op.leading and sign:
        words = [*numbers, sign, *op.operands]
    return Node("operations", " ".join(words), words=" ".join([op.name, *op.operands, *numbers]))
