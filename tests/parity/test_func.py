"""`func` as in PyTorch: results and their structure, and the errors."""

from __future__ import annotations

import re

import pytest

import kuai

torch = pytest.importorskip("torch")


def plain(value):
    """A result without its library: nested lists, with shapes, and whether it is recorded."""
    if isinstance(value, (kuai.Tensor, torch.Tensor)):
        flat = [round(v, 4) for v in value.detach().double().reshape(-1).tolist()]
        return tuple(value.shape), str(value.dtype).split(".")[1], value.requires_grad, flat
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value))
    return value


def matrix(t, requires_grad=False):
    return t.tensor([[0.3, -1.2, 0.8], [1.1, 0.4, -0.6]], requires_grad=requires_grad)


def vector(t, requires_grad=False):
    return t.tensor([0.5, -0.25, 2.0], requires_grad=requires_grad)


def network(w, x):
    return ((x @ w["a"].T).tanh() * w["b"]).sum()


def weights(t):
    return {"a": matrix(t), "b": t.tensor([1.0, -2.0])}


WORKS = {
    "grad": lambda t: t.func.grad(lambda x: (x**3).sum())(vector(t)),
    "grad of grad": lambda t: t.func.grad(
        lambda x: (t.func.grad(lambda y: (y**3 * x).sum())(x) ** 2).sum()
    )(vector(t)),
    "argnums": lambda t: t.func.grad(lambda x, y: (x * y.exp()).sum(), argnums=(1, 0))(
        vector(t), vector(t)
    ),
    "negative argnum": lambda t: t.func.grad(lambda x, y: (x * y.exp()).sum(), argnums=-1)(
        vector(t), vector(t)
    ),
    "tree": lambda t: t.func.grad_and_value(network)(weights(t), vector(t)),
    "aux": lambda t: t.func.grad_and_value(
        lambda x: ((x * x).sum(), {"twice": x * 2}), has_aux=True
    )(vector(t)),
    "unused": lambda t: t.func.grad(lambda x, y: y.sum())(vector(t), vector(t)),
    "constant": lambda t: t.func.grad(lambda x: t.tensor(1.0))(vector(t)),
    "recorded input": lambda t: t.func.grad(lambda x: (x**2).sum())(vector(t, True)),
    "keyword": lambda t: t.func.grad(lambda x, y: (x * y).sum())(vector(t), y=vector(t)),
    "float64": lambda t: t.func.grad(lambda x: x.sum())(vector(t).double()),
    "vjp": lambda t: t.func.vjp(lambda x: (x.sin(), [x * 2]), vector(t))[1](
        (vector(t), [vector(t)])
    ),
    "vjp of two": lambda t: t.func.vjp(lambda w, x: x @ w.T, matrix(t), vector(t))[1](t.ones(2)),
    "vjp of a dict": lambda t: t.func.vjp(lambda d: d["x"] * d["x"], {"x": vector(t)})[1](
        vector(t)
    ),
    "vjp with aux": lambda t: (lambda r: (r[0], r[1](vector(t)), r[2]))(
        t.func.vjp(lambda x: (x * 2, x.exp()), vector(t), has_aux=True)
    ),
    "vjp of an identity": lambda t: t.func.vjp(lambda x: x, vector(t))[1](vector(t)),
    "jvp": lambda t: t.func.jvp(lambda x: x.exp(), (vector(t),), (vector(t),)),
    "jvp of several": lambda t: t.func.jvp(
        lambda w, x: {"y": x @ w.T, "x": x}, (matrix(t), vector(t)), (matrix(t), vector(t))
    ),
    "jvp with aux": lambda t: t.func.jvp(
        lambda x: (x.exp(), x), (vector(t),), (vector(t),), has_aux=True
    ),
    "jvp of a constant": lambda t: t.func.jvp(lambda x: t.ones(2), (vector(t),), (vector(t),)),
    "jvp of integers": lambda t: t.func.jvp(lambda x: (x.argmax(), x), (vector(t),), (vector(t),)),
    "linearize": lambda t: t.func.linearize(lambda x: x.sin(), vector(t))[1](vector(t)),
    "jacrev": lambda t: t.func.jacrev(lambda x: x.outer(x).tanh())(vector(t)),
    "jacrev in a tree": lambda t: t.func.jacrev(lambda x: (x.sum(), {"y": x * x}))(vector(t)),
    "jacrev by argnums": lambda t: t.func.jacrev(lambda w, x: [x @ w.T, w], argnums=(0, 1))(
        matrix(t), vector(t)
    ),
    "jacrev with aux": lambda t: t.func.jacrev(lambda x: (x * 2, x), has_aux=True)(vector(t)),
    "jacrev of a dict": lambda t: t.func.jacrev(lambda d: d["a"] * d["b"])(
        {"a": vector(t), "b": vector(t)}
    ),
    "jacrev of nothing": lambda t: t.func.jacrev(lambda x: x)(t.ones(0)),
    "jacfwd": lambda t: t.func.jacfwd(lambda x: x.outer(x).tanh())(vector(t)),
    "jacfwd by argnums": lambda t: t.func.jacfwd(lambda w, x: [x @ w.T, w], argnums=(0, 1))(
        matrix(t), vector(t)
    ),
    "jacfwd with aux": lambda t: t.func.jacfwd(lambda x: (x * 2, x), has_aux=True)(vector(t)),
    "jacfwd of nothing": lambda t: t.func.jacfwd(lambda x: x)(t.ones(0)),
    "hessian": lambda t: t.func.hessian(lambda x: (x**3).sum() * x[0])(vector(t)),
    "hessian by argnums": lambda t: t.func.hessian(lambda x, y: (x * x * y).sum(), argnums=(0, 1))(
        vector(t), vector(t)
    ),
    "jacfwd of jacrev": lambda t: t.func.jacfwd(t.func.jacrev(lambda x: x.sin()))(vector(t)),
    "jacrev of jacfwd": lambda t: t.func.jacrev(t.func.jacfwd(lambda x: x.sin()))(vector(t)),
    "vmap": lambda t: t.func.vmap(t.dot)(matrix(t), matrix(t)),
    "torch.vmap": lambda t: t.vmap(t.dot, in_dims=(0, None))(matrix(t), vector(t)),
    "vmap out_dims": lambda t: t.func.vmap(lambda x: (x, x), out_dims=(0, 1))(matrix(t)),
    "vmap in_dims": lambda t: t.func.vmap(
        lambda d, s: {"y": d["a"] * s}, in_dims=({"a": 1}, None), out_dims={"y": -1}
    )({"a": matrix(t)}, 3.0),
    "vmap keyword": lambda t: t.func.vmap(lambda x, y: x * y)(matrix(t), y=vector(t)),
    "vmap of grad": lambda t: t.func.vmap(t.func.grad(network), in_dims=(None, 0))(
        weights(t), matrix(t)
    ),
    "vmap of nothing": lambda t: t.func.vmap(lambda x: x.outer(x))(t.ones(0, 2)),
    "vmap of a constant": lambda t: t.func.vmap(lambda x: t.ones(2), out_dims=None)(matrix(t)),
    "vmap of vjp": lambda t: t.func.vmap(t.func.vjp(lambda x: x.sin(), vector(t))[1])(t.eye(3)),
    "grad of vmap": lambda t: t.func.grad(lambda x: t.func.vmap(t.sin)(x).sum())(matrix(t)),
    "recorded output of vjp": lambda t: t.func.vjp(lambda x: x * x, vector(t, True))[0],
    "recorded output of jvp": lambda t: t.func.jvp(
        lambda x: x * x, (vector(t, True),), (vector(t),)
    ),
}


@pytest.mark.parametrize("name", WORKS)
def test_results_are_pytorchs(name):
    assert plain(WORKS[name](kuai)) == plain(WORKS[name](torch))


def identity(x):
    return x


FAILS = {
    "grad of a vector": lambda t: t.func.grad(identity)(vector(t)),
    "grad of a number": lambda t: t.func.grad(lambda x: 1.0)(vector(t)),
    "grad of a tuple": lambda t: t.func.grad(lambda x: (x.sum(),))(vector(t)),
    "grad without aux": lambda t: t.func.grad(lambda x: x.sum(), has_aux=True)(vector(t)),
    "argnum out of range": lambda t: t.func.grad(identity, argnums=1)(vector(t)),
    "argnums repeated": lambda t: t.func.grad(identity, argnums=(0, 0))(vector(t)),
    "argnums empty": lambda t: t.func.grad(identity, argnums=())(vector(t)),
    "argnums a string": lambda t: t.func.grad(identity, argnums="a")(vector(t)),
    "grad at a number": lambda t: t.func.grad(identity)(3.0),
    "grad at integers": lambda t: t.func.grad(lambda x: x.sum())(t.ones(2).long()),
    "vjp of a number": lambda t: t.func.vjp(lambda x: 3, vector(t)),
    "vjp seed of a shape": lambda t: t.func.vjp(identity, vector(t))[1](t.ones(2)),
    "vjp seed of a structure": lambda t: t.func.vjp(lambda x: {"a": x}, vector(t))[1](vector(t)),
    "jvp at no tuple": lambda t: t.func.jvp(identity, vector(t), vector(t)),
    "jvp structures": lambda t: t.func.jvp(identity, (vector(t),), [vector(t)]),
    "jvp shapes": lambda t: t.func.jvp(identity, (vector(t),), (t.ones(2),)),
    "jvp at nothing": lambda t: t.func.jvp(lambda: t.ones(1), (), ()),
    "jvp along a number": lambda t: t.func.jvp(identity, (vector(t),), (3,)),
    "jvp of a number": lambda t: t.func.jvp(lambda x: 3, (vector(t),), (vector(t),)),
    "jacrev of a number": lambda t: t.func.jacrev(lambda x: 3)(vector(t)),
    "jacfwd of a number": lambda t: t.func.jacfwd(lambda x: 3)(vector(t)),
    "jacrev chunks": lambda t: t.func.jacrev(identity, chunk_size=0),
    "linearize tangents": lambda t: t.func.linearize(identity, vector(t))[1](),
    "vmap of a number": lambda t: t.func.vmap(lambda x: 1.0)(matrix(t)),
    "vmap of nothing": lambda t: t.func.vmap(identity)(),
    "vmap at a number": lambda t: t.func.vmap(identity)(3),
    "vmap in_dims None": lambda t: t.func.vmap(identity, in_dims=None)(matrix(t)),
    "vmap in_dims of two": lambda t: t.func.vmap(identity, in_dims=(0, 0))(matrix(t)),
    "vmap in_dims past the end": lambda t: t.func.vmap(identity, in_dims=2)(matrix(t)),
    "vmap over nothing": lambda t: t.func.vmap(identity, in_dims=(None,))(matrix(t)),
    "vmap over two sizes": lambda t: t.func.vmap(lambda x, y: x)(matrix(t), t.ones(3)),
    "vmap out_dims": lambda t: t.func.vmap(lambda x: (x, x), out_dims=(0,))(matrix(t)),
    "vmap out_dims a string": lambda t: t.func.vmap(identity, out_dims="a")(matrix(t)),
    "vmap random": lambda t: t.func.vmap(lambda x: x + t.rand(3))(matrix(t)),
    "vmap randomness": lambda t: t.func.vmap(identity, randomness="some"),
    "vmap chunks": lambda t: t.func.vmap(identity, chunk_size=0)(matrix(t)),
    "no models": lambda t: t.func.stack_module_state([]),
    "models of two modes": lambda t: t.func.stack_module_state(
        [t.nn.Linear(1, 1), t.nn.Linear(1, 1).eval()]
    ),
    "models of two kinds": lambda t: t.func.stack_module_state([t.nn.Linear(1, 1), t.nn.ReLU()]),
    "no dicts": lambda t: t.func.functional_call(t.nn.Linear(1, 1), 3, t.ones(1)),
}


def told(error):
    """The message on one line, up to where PyTorch spells out a structure."""
    return re.split(r"structure TreeSpec|cotangents:", " ".join(str(error).split()))[0]


@pytest.mark.parametrize("name", FAILS)
def test_errors_are_pytorchs(name):
    with pytest.raises(Exception) as theirs:
        FAILS[name](torch)
    with pytest.raises(theirs.type) as mine:
        FAILS[name](kuai)
    assert told(mine.value).replace("kuai", "torch") == told(theirs.value)
