"""ONNX Runtime, forward only: the networks as ONNX models, built here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.contestant import AbsentError, Contestant, Prepared
from benchmarks.workloads import Task, Workload

try:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    onnx = None

OPSET = 20


class Model:
    """An ONNX graph under construction. Values are known by their names."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, values: Any) -> str:
        """A tensor that the model holds."""
        name = f"constant{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def apply(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """The result of an operator, or a list of its results if it has several."""
        first = len(self.nodes)
        names = [f"{operator}{first}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """An affine map of rows."""
        return self.apply("Gemm", x, self.constant(weight), self.constant(bias), transB=1)

    def product(self, x: str, weight: np.ndarray) -> str:
        """`x Wᵀ` for any number of leading dimensions."""
        return self.apply("MatMul", x, self.constant(np.ascontiguousarray(weight.T)))

    def relu(self, x: str) -> str:
        """Negative numbers made zero."""
        return self.apply("Relu", x)

    def finished(self, workload: Workload, output: str) -> bytes:
        """The model from the input, which is called `X`, to the output, called `Y`."""
        self.nodes.append(helper.make_node("Identity", [output], ["Y"]))
        kind = TensorProto.INT64 if workload.vocabulary else TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            workload.network,
            [helper.make_tensor_value_info("X", kind, workload.input)],
            [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return model.SerializeToString()


Arrays = list[np.ndarray]


def mlp(model: Model, parameters: Arrays, constants: Arrays) -> str:
    """Two layers with ReLU between."""
    w1, b1, w2, b2 = parameters
    return model.linear(model.relu(model.linear("X", w1, b1)), w2, b2)


def chimera(model: Model, parameters: Arrays, constants: Arrays) -> str:
    """The chimera, with its loop as a Loop of the graph."""
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5 = parameters
    x = model.relu(model.linear("X", w1, b1))
    x = model.relu(model.linear(x, w2, b2))
    x = model.linear(model.linear(x, w3, b3), w4, b4)
    x = model.linear(x, w5, b5)
    plus_one = model.apply(
        "Add", model.apply("MatMul", x, model.constant(constants[0])), one(model)
    )
    x = model.linear(model.relu(plus_one), w5, b5)
    body = halved_while_large()
    begin = too_large(model, x)
    x = model.apply("Loop", "", begin, x, body=body)
    return model.apply("ReduceSum", x, keepdims=0)


def one(model: Model) -> str:
    """The number 1."""
    return model.constant(np.float32(1))


def too_large(model: Model, x: str) -> str:
    """Whether the sum of absolute values is above 1."""
    total = model.apply("ReduceSum", model.apply("Abs", x), keepdims=0)
    return model.apply("Greater", total, one(model))


def halved_while_large() -> Any:
    """The loop's body: halve, and say whether to go on."""
    body = Model()
    halved = body.apply("Div", "x", body.constant(np.float32(2)))
    again = too_large(body, halved)
    value = helper.make_tensor_value_info
    return helper.make_graph(
        body.nodes,
        "halve",
        [
            value("trip", TensorProto.INT64, []),
            value("go_on", TensorProto.BOOL, []),
            value("x", TensorProto.FLOAT, None),
        ],
        [value(again, TensorProto.BOOL, []), value(halved, TensorProto.FLOAT, None)],
        body.initializers,
    )


def lenet(model: Model, parameters: Arrays, constants: Arrays) -> str:
    """LeNet-5."""
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5 = parameters

    def convolved(x: str, weight: np.ndarray, bias: np.ndarray, padding: int) -> str:
        kernel = (model.constant(weight), model.constant(bias))
        x = model.relu(model.apply("Conv", x, *kernel, pads=[padding] * 4))
        return model.apply("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    x = model.apply("Flatten", convolved(convolved("X", w1, b1, 2), w2, b2, 0))
    x = model.relu(model.linear(x, w3, b3))
    return model.linear(model.relu(model.linear(x, w4, b4)), w5, b5)


def lstm(model: Model, parameters: Arrays, constants: Arrays) -> str:
    """An LSTM, and a linear layer on its last step."""
    w_input, w_hidden, b_input, b_hidden, w_out, b_out = parameters

    def in_order(x: np.ndarray) -> np.ndarray:
        i, f, g, o = np.split(x, 4)
        return np.concatenate([i, o, f, g])  # the order of the gates in ONNX

    bias = np.concatenate([in_order(b_input), in_order(b_hidden)])
    numbers = [in_order(w_input)[None], in_order(w_hidden)[None], bias[None]]
    held = [model.constant(x) for x in numbers]
    size = w_hidden.shape[1]
    _, last = model.apply("LSTM", "X", *held, outputs=2, hidden_size=size)
    return model.linear(model.apply("Squeeze", last, model.constant([0])), w_out, b_out)


def gpt(model: Model, parameters: Arrays, constants: Arrays) -> str:
    """The language model."""
    token, position, *layers, norm, head = parameters
    steps = len(position)
    mask = np.triu(np.full((steps, steps), -np.inf, np.float32), 1)
    hidden = model.constant(mask)
    width = position.shape[1]
    into_heads = model.constant([0, steps, 4, width // 4])
    joined = model.constant([0, steps, width])
    scale = model.constant(np.float32((width // 4) ** -0.5))

    def normalized(x: str, weight: np.ndarray) -> str:
        return model.apply("LayerNormalization", x, model.constant(weight), epsilon=1e-5)

    def attended(x: str, w_in: np.ndarray, w_out: np.ndarray) -> str:
        parts = model.apply("Split", model.product(x, w_in), outputs=3, axis=2, num_outputs=3)
        q, k, v = [
            model.apply("Transpose", model.apply("Reshape", part, into_heads), perm=order)
            for part, order in zip(parts, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
        ]
        scores = model.apply("Mul", model.apply("MatMul", q, k), scale)
        shares = model.apply("Softmax", model.apply("Add", scores, hidden), axis=-1)
        y = model.apply("Transpose", model.apply("MatMul", shares, v), perm=[0, 2, 1, 3])
        return model.product(model.apply("Reshape", y, joined), w_out)

    x = model.apply("Gather", model.constant(token), "X")
    x = model.apply("Add", x, model.constant(position))
    for i in range(0, len(layers), 6):
        norm1, w_in, w_out, norm2, w_up, w_down = layers[i : i + 6]
        x = model.apply("Add", x, attended(normalized(x, norm1), w_in, w_out))
        up = model.apply("Gelu", model.product(normalized(x, norm2), w_up))
        x = model.apply("Add", x, model.product(up, w_down))
    return model.product(normalized(x, norm), head)


NETWORKS: dict[str, Callable[[Model, Arrays, Arrays], str]] = {
    "identity": lambda model, parameters, constants: "X",
    "x + 1": lambda model, parameters, constants: model.apply("Add", "X", one(model)),
    "Sequential (S1)": mlp,
    "chimera (S6)": chimera,
    "MLP 784-256-10": mlp,
    "LeNet": lenet,
    "LSTM": lstm,
    "GPT": gpt,
}


def prepare(task: Task) -> Prepared:
    """ONNX Runtime, ready for a task."""
    if onnx is None:
        raise AbsentError("onnx or onnxruntime is not installed")
    if task.trains:
        raise AbsentError("ONNX Runtime runs forward only")
    given = task.workload.numbers
    model = Model()
    output = NETWORKS[task.workload.network](model, given.parameters, given.constants)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.workload.threads
    options.inter_op_num_threads = 1
    content = model.finished(task.workload, output)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feeds = {"X": given.X}
    return Prepared(run=lambda: session.run(None, feeds), numbers=lambda outputs: outputs)


ONNX_RUNTIME = Contestant("ONNX Runtime", prepare)
