"""JAX, whole tasks under `jit`: the networks as functions of a list of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.contestant import AbsentError, Contestant, Prepared
from benchmarks.workloads import Task

try:
    import jax
    import jax.numpy as jnp
    from jax import lax
except ImportError:
    jax = None

Array = Any
Parameters = list[Array]


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """An affine map, the weight as PyTorch keeps it."""
    return x @ weight.T + bias


def mlp(parameters: Parameters, constants: Parameters, X: Array) -> Array:
    """Two layers with ReLU between."""
    w1, b1, w2, b2 = parameters
    return linear(jax.nn.relu(linear(X, w1, b1)), w2, b2)


def chimera(parameters: Parameters, constants: Parameters, X: Array) -> Array:
    """The chimera, its loop written for JAX."""
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5 = parameters
    X = jax.nn.relu(linear(X, w1, b1))
    X = jax.nn.relu(linear(X, w2, b2))
    X = linear(linear(X, w3, b3), w4, b4)
    X = linear(X, w5, b5)
    X = jax.nn.relu(X @ constants[0] + 1)
    X = linear(X, w5, b5)
    X = lax.while_loop(lambda X: jnp.abs(X).sum() > 1, lambda X: X / 2, X)
    return X.sum()


def lenet(parameters: Parameters, constants: Parameters, X: Array) -> Array:
    """LeNet-5, images and kernels in PyTorch's layout."""
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5 = parameters

    def convolved(X: Array, weight: Array, bias: Array, padding: int) -> Array:
        sides = [(padding, padding)] * 2
        X = lax.conv_general_dilated(X, weight, (1, 1), sides) + bias[:, None, None]
        window = (1, 1, 2, 2)
        return lax.reduce_window(jax.nn.relu(X), -jnp.inf, lax.max, window, window, "VALID")

    X = convolved(convolved(X, w1, b1, 2), w2, b2, 0)
    X = jax.nn.relu(linear(X.reshape(len(X), -1), w3, b3))
    return linear(jax.nn.relu(linear(X, w4, b4)), w5, b5)


def lstm(parameters: Parameters, constants: Parameters, X: Array) -> Array:
    """An LSTM, and a linear layer on its last step."""
    w_input, w_hidden, b_input, b_hidden, w_out, b_out = parameters
    # The products with the inputs depend on no other step: one product for all of them.
    from_input = linear(X, w_input, b_input + b_hidden)

    def step(state: tuple[Array, Array], given: Array) -> tuple[tuple[Array, Array], None]:
        h, c = state
        i, f, g, o = jnp.split(given + h @ w_hidden.T, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zeros = jnp.zeros((X.shape[1], w_hidden.shape[1]), X.dtype)
    (h, _), _ = lax.scan(step, (zeros, zeros), from_input)
    return linear(h, w_out, b_out)


def gpt(parameters: Parameters, constants: Parameters, tokens: Array) -> Array:
    """The language model."""
    token, position, *layers, norm, head = parameters

    def normalized(x: Array, weight: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        return centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight

    def attended(x: Array, w_in: Array, w_out: Array) -> Array:
        batch, steps, width = x.shape
        q, k, v = [part.reshape(batch, steps, 4, -1) for part in jnp.split(x @ w_in.T, 3, axis=2)]
        y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        return y.reshape(batch, steps, width) @ w_out.T

    x = token[tokens] + position
    for i in range(0, len(layers), 6):
        norm1, w_in, w_out, norm2, w_up, w_down = layers[i : i + 6]
        x = x + attended(normalized(x, norm1), w_in, w_out)
        x = x + jax.nn.gelu(normalized(x, norm2) @ w_up.T, approximate=False) @ w_down.T
    return normalized(x, norm) @ head.T


NETWORKS: dict[str, Callable[[Parameters, Parameters, Array], Array]] = {
    "identity": lambda parameters, constants, X: X,
    "x + 1": lambda parameters, constants, X: X + 1,
    "Sequential (S1)": mlp,
    "chimera (S6)": chimera,
    "MLP 784-256-10": mlp,
    "LeNet": lenet,
    "LSTM": lstm,
    "GPT": gpt,
}


def sgd(gradients: Parameters, parameters: Parameters, state: Any, rate: float) -> Any:
    """Stochastic gradient descent."""
    return [p - rate * g for p, g in zip(parameters, gradients, strict=True)], state


def adam(gradients: Parameters, parameters: Parameters, state: Any, rate: float) -> Any:
    """Adam with the customary constants."""
    steps, means, squares = state
    steps = steps + 1
    means = [0.9 * m + 0.1 * g for m, g in zip(means, gradients, strict=True)]
    squares = [0.999 * s + 0.001 * g * g for s, g in zip(squares, gradients, strict=True)]
    size = rate / (1 - 0.9**steps)
    correction = jnp.sqrt(1 - 0.999**steps)
    parameters = [
        p - size * m / (jnp.sqrt(s) / correction + 1e-8)
        for p, m, s in zip(parameters, means, squares, strict=True)
    ]
    return parameters, (steps, means, squares)


def prepare(task: Task) -> Prepared:
    """JAX, ready for a task."""
    if jax is None:
        raise AbsentError("jax is not installed")
    network = NETWORKS[task.workload.network]
    given = task.workload.numbers
    constants = [jnp.asarray(x) for x in given.constants]
    parameters = [jnp.asarray(x) for x in given.parameters]
    X = jnp.asarray(given.X)
    if not task.trains:
        forward = jax.jit(lambda parameters, X: network(parameters, constants, X))
        return Prepared(
            run=lambda: forward(parameters, X).block_until_ready(),
            numbers=lambda y: [np.asarray(y)],
        )
    if network is chimera:
        raise AbsentError("JAX has no reverse gradient of a while_loop")
    return training(task, network, constants, parameters, X)


def training(
    task: Task, network: Any, constants: Parameters, parameters: Parameters, X: Array
) -> Prepared:
    """A training step, which gives up its old parameters to the new ones."""
    labels = task.workload.numbers.labels
    labels = None if labels is None else jnp.asarray(labels)
    update = sgd if task.workload.optimizer == "SGD" else adam

    def loss_of(parameters: Parameters, X: Array, labels: Array | None) -> Array:
        y = network(parameters, constants, X)
        if labels is None:
            return y.sum()
        log_shares = jax.nn.log_softmax(y)
        return -jnp.take_along_axis(log_shares, labels[..., None], axis=-1).mean()

    def step(parameters: Parameters, state: Any, X: Array, labels: Array | None) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(parameters, X, labels)
        parameters, state = update(gradients, parameters, state, task.learning_rate)
        return loss, parameters, state

    compiled = jax.jit(step, donate_argnums=(0, 1))
    now = parameters
    state: Any = ()
    if update is adam:
        state = (jnp.float32(0), *([jnp.zeros_like(p) for p in parameters] for _ in range(2)))

    def run() -> Array:
        nonlocal now, state
        loss, now, state = compiled(now, state, X, labels)
        jax.block_until_ready((loss, now))
        return loss

    return Prepared(run=run, numbers=lambda loss: [np.asarray(x) for x in (loss, *now)])


JAX = Contestant("JAX", prepare)
