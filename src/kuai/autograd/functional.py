"""Jacobians, Hessians and their products with vectors, as in `torch.autograd.functional`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kuai import ops
from kuai.core.base import TensorBase
from kuai.core.tape import enable_grad


def _as_tuple(x: Any) -> tuple[bool, tuple[Any, ...]]:
    return (False, (x,)) if isinstance(x, TensorBase) else (True, tuple(x))


def _prepared(inputs: tuple[Any, ...], create_graph: bool) -> tuple[Any, ...]:
    if create_graph:
        return tuple(
            x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in (inputs)
        )
    return tuple(x.detach().requires_grad_() for x in inputs)


def _pack(several: bool, values: Any) -> Any:
    return tuple(values) if several else values[0]


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of `func` at `inputs`: for each output and input, of both shapes joined."""
    from kuai.autograd import grad

    with enable_grad():
        many_in, xs = _as_tuple(inputs)
        xs = _prepared(xs, create_graph)
        many_out, ys = _as_tuple(func(*xs))
        rows = []
        for y in ys:
            columns: list[list[Any]] = [[] for _ in xs]
            for element in ops.reshape(y, -1):
                if element.requires_grad:
                    grads = grad(
                        element,
                        xs,
                        retain_graph=True,
                        create_graph=create_graph,
                        allow_unused=True,
                    )
                else:
                    grads = (None,) * len(xs)
                for column, x, g in zip(columns, xs, grads, strict=True):
                    if g is None and strict:
                        raise RuntimeError("an output of the function is independent of an input")
                    column.append(ops.zeros_like(x) if g is None else g)
            rows.append(
                _pack(
                    many_in,
                    [
                        ops.reshape(ops.stack(c), tuple(y.shape) + tuple(x.shape))
                        if c
                        else x.new_zeros(tuple(y.shape) + tuple(x.shape))
                        for c, x in zip(columns, xs, strict=True)
                    ],
                )
            )
    return _pack(many_out, rows)


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a scalar function at `inputs`."""
    many_in, _ = _as_tuple(inputs)

    def first(*xs: Any) -> Any:
        y = func(*xs)
        if y.numel() != 1:
            raise RuntimeError(
                "The Tensor returned by the function given to hessian should "
                "contain a single element"
            )
        return jacobian(lambda *z: ops.reshape(func(*z), ()), xs, create_graph=True)

    result = jacobian(first, _as_tuple(inputs)[1], create_graph=create_graph, strict=strict)
    return result if many_in else result[0][0]


def vjp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The value of `func`, and the product of `v` with its Jacobian."""
    from kuai.autograd import grad

    with enable_grad():
        many_in, xs = _as_tuple(inputs)
        xs = _prepared(xs, create_graph)
        outputs = func(*xs)
        _, ys = _as_tuple(outputs)
        seeds = None if v is None else _as_tuple(v)[1]
        grads = grad(ys, xs, seeds, create_graph=create_graph, allow_unused=True)
        filled = [ops.zeros_like(x) if g is None else g for x, g in zip(xs, grads, strict=True)]
    if not create_graph:
        outputs = _pack(_as_tuple(outputs)[0], [y.detach() for y in ys])
    return outputs, _pack(many_in, filled)


def jvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The value of `func`, and the product of its Jacobian with `v`, by differentiating twice."""
    from kuai.autograd import grad

    with enable_grad():
        _, xs = _as_tuple(inputs)
        xs = _prepared(xs, create_graph)
        tangents = tuple(ops.ones_like(x) for x in xs) if v is None else _as_tuple(v)[1]
        outputs = func(*xs)
        many_out, ys = _as_tuple(outputs)
        weights = tuple(ops.zeros_like(y).requires_grad_() for y in ys)
        grads = grad(ys, xs, weights, create_graph=True, allow_unused=True)
        used = [(g, t) for g, t in zip(grads, tangents, strict=True) if g is not None]
        products = grad(
            [g for g, _ in used],
            weights,
            [t for _, t in used],
            create_graph=create_graph,
            allow_unused=True,
        )
        filled = [ops.zeros_like(y) if p is None else p for y, p in zip(ys, products, strict=True)]
    if not create_graph:
        outputs = _pack(many_out, [y.detach() for y in ys])
    return outputs, _pack(many_out, filled)


def vhp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The value of a scalar `func`, and the product of `v` with its Hessian."""
    from kuai.autograd import grad

    with enable_grad():
        many_in, xs = _as_tuple(inputs)
        xs = _prepared(xs, create_graph)
        y = func(*xs)
        first = grad(y, xs, create_graph=True, allow_unused=True)
        vectors = tuple(ops.ones_like(x) for x in xs) if v is None else _as_tuple(v)[1]
        used = [
            (g, u) for g, u in zip(first, vectors, strict=True) if g is not None and g.requires_grad
        ]
        products: Any = (None,) * len(xs)
        if used:
            products = grad(
                [g for g, _ in used],
                xs,
                [u for _, u in used],
                create_graph=create_graph,
                allow_unused=True,
            )
        filled = [ops.zeros_like(x) if p is None else p for x, p in zip(xs, products, strict=True)]
    return (y if create_graph else y.detach()), _pack(many_in, filled)


hvp = vhp  # the Hessian is symmetric
