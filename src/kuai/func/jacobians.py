"""Jacobians and their products with tangents: `jvp`, `linearize`, `jacrev`, `jacfwd`, `hessian`.

The tape goes backwards only. The product of the Jacobian with a tangent is had by going backwards
twice: the gradient is linear in the cotangent, and the derivative of that linear function, applied
to the tangent, is the product (J. Townsend, "A new trick for calculating Jacobian vector products",
2017).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from kuai import ops
from kuai.core.base import TensorBase
from kuai.core.tape import enable_grad
from kuai.func.batching import Randomness, check_randomness
from kuai.func.gradients import Argnums, check_argnums, pullback, replace, select, split_aux
from kuai.func.levels import Level, gradients, tensors_only
from kuai.func.pytree import Structure, flatten, tree_map


def jvp(
    func: Callable[..., Any],
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> tuple[Any, Any] | tuple[Any, Any, Any]:
    """The value of `func` at `primals`, and its derivative in the direction of `tangents`.

    Args:
        func: a function of tensors, or of trees of tensors.
        primals: its arguments, as a tuple.
        tangents: as `primals`, in structure and shapes.
        strict: whether an output that does not depend on the inputs is an error.
        has_aux: whether `func` returns `(output, aux)`, of which only `output` is differentiated.

    Returns:
        `(output, derivative)`; with `has_aux`, `(output, derivative, aux)`.

    Raises:
        RuntimeError: primals and tangents do not fit, or `func` returns something else than
            tensors.
    """
    name = "jvp(f, primals, tangents)"
    if not isinstance(primals, tuple):
        raise RuntimeError(
            f"{name}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals)."
        )
    leaves, structure = flatten(primals)
    directions, given = flatten(tangents)
    if given != structure:
        raise RuntimeError(
            f"{name}: Expected primals and tangents to have the same python structure. For "
            "example, if primals is a tuple of 3 tensors, tangents also must be. Got primals with "
            f"structure {structure} and tangents with structure {given}"
        )
    if not leaves:
        raise RuntimeError(f"{name}: Expected primals to contain at least one Tensor.")
    for role, members in (("primals", leaves), ("tangents", directions)):
        for x in members:
            if not isinstance(x, TensorBase):
                raise RuntimeError(
                    f"{name}: Expected {role} to only contain Tensors, got {type(x)}"
                )
    for x, t in zip(leaves, directions, strict=True):
        if x.shape != t.shape:
            raise RuntimeError(
                "Trying to set a forward gradient that has a different size than that of the "
                f"original Tensor, this is not supported. Tensor is of size {list(x.shape)} while "
                f"the given forward gradient is of size {list(t.shape)}."
            )
    output, push, aux = _pushforward(func, leaves, structure, has_aux, name, strict)
    derivative = push(directions, False)
    return (output, derivative, aux) if has_aux else (output, derivative)


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """The value of `func` at `primals`, and its derivative there, as a function of tangents.

    `func` runs once; `jvp_fn(*tangents)` may be called any number of times.

    Raises:
        RuntimeError: `func` returns something else than tensors; or, from `jvp_fn`, the tangents
            are not as the primals.
    """
    leaves, structure = flatten(primals)
    output, push, _ = _pushforward(func, leaves, structure, False, "linearize(f, *primals)", False)

    def jvp_fn(*tangents: Any) -> Any:
        directions, given = flatten(tangents)
        if given != structure:
            raise RuntimeError(
                f"Expected the tangents {given} to have the same argspec as the primals {structure}"
            )
        for i, (x, t) in enumerate(zip(leaves, directions, strict=True)):
            if x.shape != t.shape:
                raise RuntimeError(
                    f"tangent:{i} with shape {t.shape} in flattened pytree doesn't match the shape "
                    f"{x.shape} of the corresponding primal."
                )
        return push(directions, True)

    return output, jvp_fn


def _pushforward(
    func: Callable[..., Any],
    leaves: list[Any],
    structure: Structure,
    has_aux: bool,
    name: str,
    strict: bool,
) -> tuple[Any, Callable[[list[Any], bool], Any], Any]:
    """The value of `func`, the function from tangents to derivatives, and the auxiliary value."""
    level = Level(leaves)
    with enable_grad():
        result, aux = split_aux(func(*structure.unflatten(level.inputs)), has_aux, name)
        outputs, output_structure = flatten(result)
        tensors_only(outputs, name)
        differentiable = [y for y in outputs if y.is_floating_point()]
        cotangents = [level.variable(ops.zeros_like(y)) for y in differentiable]
        found = level.gradients(differentiable, cotangents, create_graph=True)
        outside = level.reaches_outside([*outputs, *found])
        released = output_structure.unflatten([level.release(y) for y in outputs])
        aux = tree_map(level.release, aux)
    if strict and any(not y.requires_grad for y in outputs):
        raise RuntimeError(
            "jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. "
            "This is not allowed with strict=True."
        )

    def push(tangents: list[Any], retain_graph: bool) -> Any:
        with enable_grad():
            seeds = [t.to(g.dtype) for t, g in zip(tangents, found, strict=True)]
            recorded = outside or level.reaches_outside(seeds)
            products = iter(gradients(found, cotangents, seeds, retain_graph, recorded))
            derivatives = [
                level.release(next(products)) if y.is_floating_point() else ops.zeros_like(y)
                for y in outputs
            ]
        return output_structure.unflatten(derivatives)

    return released, push, aux


def jacrev(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:
    """The function that computes the Jacobian of `func`, a row for each element of the output.

    Args:
        func: a function of tensors, or of trees of tensors.
        argnums: the argument, or the arguments, to differentiate with respect to.
        has_aux: whether `func` returns `(output, aux)`, of which only `output` is differentiated.
        chunk_size: accepted for PyTorch's sake: the rows are computed one by one.

    Returns:
        A function of the same arguments. For each output and each input it returns a tensor of
        shape `(*output.shape, *input.shape)`, in the output's structure, the inputs' inside it;
        with `has_aux`, `(jacobian, aux)`.

    Raises:
        RuntimeError: `func` returns something else than tensors, or `argnums` do not fit.
    """
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        places = check_argnums(argnums, len(args))

        def of_primals(*primals: Any) -> Any:
            values = primals[0] if isinstance(places, int) else primals
            return func(*replace(args, places, values), **kwargs)

        selected = select(args, places)
        primals = (selected,) if isinstance(places, int) else selected
        output, pull, aux = pullback(of_primals, primals, has_aux)
        inputs, structure = flatten(selected)
        outputs, output_structure = flatten(output)
        zeros = [ops.zeros_like(y) for y in outputs]
        blocks = []
        for k, y in enumerate(outputs):
            rows = []
            for unit in _basis(y):
                seeds = output_structure.unflatten([*zeros[:k], unit, *zeros[k + 1 :]])
                rows.append(flatten(pull(seeds, True, None))[0])
            columns = zip(*rows, strict=True) if rows else ((),) * len(inputs)
            blocks.append(
                structure.unflatten(
                    [
                        _stacked(column, x, tuple(y.shape) + tuple(x.shape))
                        for column, x in zip(columns, inputs, strict=True)
                    ]
                )
            )
        jacobian = output_structure.unflatten(blocks)
        return (jacobian, aux) if has_aux else jacobian

    return wrapper


def jacfwd(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    randomness: Randomness = "error",
) -> Callable[..., Any]:
    """The function that computes the Jacobian of `func`, a column for each element of the input.

    Args:
        func: a function of tensors, or of trees of tensors.
        argnums: the argument, or the arguments, to differentiate with respect to.
        has_aux: whether `func` returns `(output, aux)`, of which only `output` is differentiated.
        randomness: accepted for PyTorch's sake: `func` runs once, whatever it draws.

    Returns:
        As `jacrev`.

    Raises:
        RuntimeError: `func` returns something else than tensors, or `argnums` do not fit.
    """
    check_randomness(randomness)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        places = check_argnums(argnums, len(args))
        leaves, structure = flatten(select(args, places))

        def of_leaves(*xs: Any) -> Any:
            return func(*replace(args, places, structure.unflatten(xs)), **kwargs)

        output, push, aux = _pushforward(
            of_leaves,
            leaves,
            flatten(tuple(leaves))[1],
            has_aux,
            "jvp(f, primals, tangents)",
            False,
        )
        outputs, output_structure = flatten(output)
        zeros = [ops.zeros_like(x) for x in leaves]
        blocks: list[list[Any]] = [[] for _ in outputs]
        for k, x in enumerate(leaves):
            columns = [
                flatten(push([*zeros[:k], unit, *zeros[k + 1 :]], True))[0] for unit in _basis(x)
            ]
            for i, y in enumerate(outputs):
                shape = tuple(y.shape) + tuple(x.shape)
                block = [c[i] for c in columns]
                if block:
                    blocks[i].append(ops.reshape(ops.stack(block, -1), shape))
                else:
                    blocks[i].append(y.new_zeros(shape))
        jacobian = output_structure.unflatten([structure.unflatten(row) for row in blocks])
        return (jacobian, aux) if has_aux else jacobian

    return wrapper


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """The function that computes the second derivatives of `func`.

    Args:
        func: a function of tensors, or of trees of tensors.
        argnums: the argument, or the arguments, to differentiate with respect to.

    Returns:
        A function of the same arguments. For an output and two inputs it returns a tensor of the
        three shapes joined.
    """
    return jacrev(jacrev(func, argnums), argnums)


def _basis(x: Any) -> Iterator[Any]:
    """The tensors as `x` that have a one at one place and zeros elsewhere."""
    for i in range(x.numel()):
        unit = ops.zeros(x.numel(), dtype=x.dtype)
        unit._payload[i] = 1
        yield ops.reshape(unit, x.shape)


def _stacked(rows: Any, x: Any, shape: tuple[int, ...]) -> Any:
    return ops.reshape(ops.stack(list(rows)), shape) if rows else x.new_zeros(shape)
