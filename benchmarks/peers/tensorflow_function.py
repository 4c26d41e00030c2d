"""TensorFlow, whole tasks under `tf.function`. It takes part in the workloads of dense layers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers.contestant import AbsentError, Contestant, Prepared
from benchmarks.workloads import Task


@functools.cache
def tensorflow(threads: int) -> Any:
    """TensorFlow, computing on that many threads.

    Raises:
        AbsentError: it is not installed.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise AbsentError("tensorflow is not installed") from error
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


def networks(tf: Any) -> dict[str, Callable[[list[Any], list[Any], Any], Any]]:
    """The networks as functions of parameters, constants and input."""

    def linear(x: Any, weight: Any, bias: Any) -> Any:
        return tf.matmul(x, weight, transpose_b=True) + bias

    def mlp(parameters: list[Any], constants: list[Any], X: Any) -> Any:
        w1, b1, w2, b2 = parameters
        return linear(tf.nn.relu(linear(X, w1, b1)), w2, b2)

    def chimera(parameters: list[Any], constants: list[Any], X: Any) -> Any:
        w1, b1, w2, b2, w3, b3, w4, b4, w5, b5 = parameters
        X = tf.nn.relu(linear(X, w1, b1))
        X = tf.nn.relu(linear(X, w2, b2))
        X = linear(linear(X, w3, b3), w4, b4)
        X = linear(X, w5, b5)
        X = tf.nn.relu(tf.matmul(X, constants[0]) + 1)
        X = linear(X, w5, b5)
        (X,) = tf.while_loop(lambda X: tf.reduce_sum(tf.abs(X)) > 1, lambda X: (X / 2,), (X,))
        return tf.reduce_sum(X)

    return {
        "identity": lambda parameters, constants, X: X,
        "x + 1": lambda parameters, constants, X: X + 1,
        "Sequential (S1)": mlp,
        "chimera (S6)": chimera,
        "MLP 784-256-10": mlp,
    }


def prepare(task: Task) -> Prepared:
    """TensorFlow, ready for a task."""
    tf = tensorflow(task.workload.threads)
    network = networks(tf).get(task.workload.network)
    if network is None:
        raise AbsentError("the benchmark has no TensorFlow program for this workload")
    given = task.workload.numbers
    constants = [tf.constant(x) for x in given.constants]
    parameters = [tf.Variable(x) for x in given.parameters]
    X = tf.constant(given.X)
    if not task.trains:
        forward = tf.function(lambda X: network(parameters, constants, X))
        return Prepared(run=lambda: forward(X), numbers=lambda y: [y.numpy()])
    labels = None if given.labels is None else tf.constant(given.labels)
    update = sgd if task.workload.optimizer == "SGD" else adam
    apply = update(tf, parameters, task.learning_rate)

    @tf.function
    def step(X: Any) -> Any:
        with tf.GradientTape() as tape:
            y = network(parameters, constants, X)
            if labels is None:
                loss = tf.reduce_sum(y)
            else:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, y)
                loss = tf.reduce_mean(losses)
        apply(tape.gradient(loss, parameters))
        return loss

    return Prepared(
        run=lambda: step(X),
        numbers=lambda loss: [np.asarray(x.numpy()) for x in (loss, *parameters)],
    )


def sgd(tf: Any, parameters: list[Any], rate: float) -> Callable[[list[Any]], None]:
    """Stochastic gradient descent."""

    def apply(gradients: list[Any]) -> None:
        for p, g in zip(parameters, gradients, strict=True):
            p.assign_sub(rate * g)

    return apply


def adam(tf: Any, parameters: list[Any], rate: float) -> Callable[[list[Any]], None]:
    """Adam, each parameter changed by TensorFlow's one operation for it."""
    steps = tf.Variable(0.0)
    means, squares = [[tf.Variable(tf.zeros_like(p)) for p in parameters] for _ in range(2)]

    def apply(gradients: list[Any]) -> None:
        steps.assign_add(1.0)
        powers = [tf.pow(tf.constant(b), steps) for b in (0.9, 0.999)]
        # The operation adds epsilon before the correction of the squares, PyTorch after it.
        epsilon = 1e-8 * tf.sqrt(1 - powers[1])
        for p, m, s, g in zip(parameters, means, squares, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=p.handle,
                m=m.handle,
                v=s.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=0.9,
                beta2=0.999,
                epsilon=epsilon,
                grad=g,
            )

    return apply


TENSORFLOW = Contestant("TensorFlow", prepare)
