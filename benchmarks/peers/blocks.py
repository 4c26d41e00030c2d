"""kuai and PyTorch, eager and compiled: one program for the four of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.larger_networks import larger_networks
from benchmarks.networks import networks
from benchmarks.peers.contestant import AbsentError, Contestant, Prepared
from benchmarks.workloads import INFERENCE, Task

Function = Callable[..., Any]

FUNCTIONS: dict[str, Function] = {"identity": lambda x: x, "x + 1": lambda x: x + 1}


def import_library(name: str) -> Any:
    """The library, told to compute on as many threads as the environment says.

    Raises:
        AbsentError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise AbsentError(f"{name} is not installed") from error


def prepare(library: Any, task: Task, compiled: Function) -> Prepared:
    """One of the libraries, ready for a task.

    Args:
        library: `kuai`, or `torch`.
        task: the task.
        compiled: what compiles a function or block; the identity for eager.
    """
    given = task.workload.numbers
    X = library.from_numpy(given.X.copy())
    labels = None if given.labels is None else library.from_numpy(given.labels.copy())
    if task.workload.network in FUNCTIONS:
        if compiled is eager:
            raise AbsentError("there is nothing but the call to measure")
        function = compiled(FUNCTIONS[task.workload.network])
        return Prepared(
            run=lambda: function(X), numbers=lambda y: [y.numpy()], context=library.no_grad
        )
    net = network(library, task)
    if task.trains:
        step = compiled(training_step(library, net, task))
        arguments = (X,) if labels is None else (X, labels)
        return Prepared(
            run=lambda: step(*arguments),
            numbers=lambda loss: [array(loss), *(array(p) for p in net.parameters())],
        )
    function = compiled(net)
    run = Prepared(run=lambda: function(X), numbers=lambda y: [array(y)])
    if task.kind == INFERENCE:
        run.context = library.no_grad
    return run


def eager(function: Function) -> Function:
    """The function as it is."""
    return function


def array(tensor: Any) -> np.ndarray:
    """A tensor of either library as an array."""
    return np.asarray(tensor.detach().numpy())


def network(library: Any, task: Task) -> Any:
    """The task's network, holding the workload's numbers.

    Raises:
        AbsentError: the library lacks a layer that it is made of.
    """
    try:
        net = (networks(library) | larger_networks(library))[task.workload.network]()
    except AttributeError as error:
        raise AbsentError(str(error)) from error
    given = task.workload.numbers
    for parameter, values in zip(net.parameters(), given.parameters, strict=True):
        parameter.detach().numpy()[...] = values
    for block in net.modules():
        if hasattr(block, "rand_weight"):
            block.rand_weight.numpy()[...] = given.constants[0]
    return net


def training_step(library: Any, net: Any, task: Task) -> Function:
    """Gradients cleared, forward, loss, backward and the optimizer's step, as one function."""
    optimizer = getattr(library.optim, task.workload.optimizer)(
        net.parameters(), lr=task.learning_rate
    )
    F = library.nn.functional

    def sum_step(X: Any) -> Any:
        optimizer.zero_grad()
        loss = net(X).sum()
        loss.backward()
        optimizer.step()
        return loss

    def classification_step(X: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(X).flatten(0, -2), labels.flatten())
        loss.backward()
        optimizer.step()
        return loss

    return classification_step if task.workload.classes else sum_step


def kuai_eager(task: Task) -> Prepared:
    """kuai, each operation run at once."""
    kuai = import_library("kuai")
    kuai.set_num_threads(task.workload.threads)
    return prepare(kuai, task, eager)


def kuai_compiled(task: Task) -> Prepared:
    """kuai, compiled as one program."""
    kuai = import_library("kuai")
    if not hasattr(kuai, "compile"):
        raise AbsentError("kuai.compile does not exist yet")
    kuai.set_num_threads(task.workload.threads)
    return prepare(kuai, task, kuai.compile)


def torch_eager(task: Task) -> Prepared:
    """PyTorch, each operation run at once."""
    torch = import_library("torch")
    torch.set_num_threads(task.workload.threads)
    return prepare(torch, task, eager)


def torch_compiled(task: Task) -> Prepared:
    """PyTorch's compiler, graph breaks allowed, as its users have it."""
    torch = import_library("torch")
    torch.set_num_threads(task.workload.threads)
    # Every task compiles the same few functions anew: none may meet the limit of recompilations.
    torch.compiler.reset()
    return prepare(torch, task, torch.compile)


KUAI_COMPILED = Contestant("kuai compiled", kuai_compiled)
KUAI_EAGER = Contestant("kuai eager", kuai_eager)
TORCH_EAGER = Contestant("PyTorch", torch_eager)
TORCH_COMPILED = Contestant("PyTorch compiled", torch_compiled, optional=True)
