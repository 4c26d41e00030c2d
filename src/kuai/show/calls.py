"""The record of one run of a network: which block called which, and what came from what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kuai.core.base import TensorBase

if TYPE_CHECKING:
    from kuai.nn import Module


class Value:
    """A tensor as it was at one time.

    Attributes:
        shape: its sizes.
        dtype: the name of its data type.
        producer: the operation that computed it; `None` for a parameter or constant.
        name: of a parameter or constant, the attribute that holds it.
    """

    __slots__ = ("alive", "dtype", "name", "producer", "shape", "version")

    def __init__(self, tensor: TensorBase, producer: Op | None, name: str = "") -> None:
        self.shape = tuple(tensor.shape)
        self.dtype = tensor.dtype.name
        self.producer = producer
        self.name = name
        self.version = tensor._counter[0]
        self.alive: Any = None


class Op:
    """One operation that a block's `forward` asked for: a function called, an operator used.

    Attributes:
        name: as the program calls it.
        scope: the call of the block in whose `forward` it stands.
        reads: the computed tensors that it used.
        operands: names of the parameters and constants that it used.
        numbers: the numbers that it was given.
        leading: whether the number stands before the tensor, as in `1 - x`.
    """

    __slots__ = ("leading", "name", "numbers", "operands", "reads", "scope")

    def __init__(self, name: str, scope: Call | None) -> None:
        self.name = name
        self.scope = scope
        self.reads: list[Value] = []
        self.operands: list[str] = []
        self.numbers: list[str] = []
        self.leading = False


class Call:
    """One call of a block.

    Attributes:
        module: the block.
        scope: the call from which it was called; `None` for the network itself.
        items: what its `forward` did, in order: calls of blocks, and operations.
        output: shapes of the tensors that it returned.
        multiply_adds: products multiplied and added, those of nested blocks included.
        seconds: wall time, nested blocks included.
    """

    __slots__ = ("items", "module", "multiply_adds", "output", "scope", "seconds")

    def __init__(self, module: Module, scope: Call | None) -> None:
        self.module = module
        self.scope = scope
        self.items: list[Call | Op] = []
        self.output: list[tuple[int, ...]] = []
        self.multiply_adds = 0
        self.seconds = 0.0


class Trace:
    """What one run of a network did.

    Attributes:
        net: the network (a copy, where the run would have initialised lazy parameters).
        root: the call of the network.
        inputs: one pseudo-operation for each tensor given.
        output: a pseudo-operation that reads what the network returned.
        calls: every call, in the order in which they began.
    """

    def __init__(self, net: Module) -> None:
        self.net = net
        self.root = Call(net, None)
        self.inputs: list[Op] = []
        self.output = Op("output", None)
        self.calls: list[Call] = []
