"""Gradients of functions: `grad`, `grad_and_value`, `value_and_grad`, and `vjp`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from kuai import ops
from kuai.core.base import TensorBase
from kuai.core.tape import enable_grad, is_grad_enabled
from kuai.func.levels import Level, tensors_only
from kuai.func.pytree import Structure, flatten, tree_map

if TYPE_CHECKING:
    from kuai.tensor import Tensor

Argnums = int | tuple[int, ...]


def check_argnums(argnums: Any, count: int) -> Argnums:
    """The places of arguments, counted from the front.

    Raises:
        RuntimeError: not an int or a tuple of ints, empty, repeated, or past the last argument.
    """

    def place(n: Any) -> int:
        if not isinstance(n, int):
            raise RuntimeError(f"argnum must be int, got: {type(n)}")
        if not -count <= n < count:
            raise RuntimeError(f"Got argnum={n}, but only {count} positional inputs")
        return n % count

    if isinstance(argnums, int):
        return place(argnums)
    if not isinstance(argnums, tuple):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    if not argnums:
        raise RuntimeError("argnums must be non-empty")
    if len(set(argnums)) != len(argnums):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return tuple(place(n) for n in argnums)


def select(args: tuple[Any, ...], argnums: Argnums) -> Any:
    """The arguments at these places: one, or a tuple."""
    return args[argnums] if isinstance(argnums, int) else tuple(args[n] for n in argnums)


def replace(args: tuple[Any, ...], argnums: Argnums, values: Any) -> list[Any]:
    """The arguments with other values at these places."""
    result = list(args)
    if isinstance(argnums, int):
        result[argnums] = values
    else:
        for n, value in zip(argnums, values, strict=True):
            result[n] = value
    return result


def split_aux(result: Any, has_aux: bool, name: str) -> tuple[Any, Any]:
    """A function's output and its auxiliary output.

    Raises:
        RuntimeError: `has_aux` is set and the result is not a tuple of two.
    """
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(
            f"{name}: output of function f should be a tuple: (output, aux) if has_aux is True"
        )
    return result


def grad(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The function that computes the gradient of `func`, which returns a scalar.

    Args:
        func: a function of tensors, or of trees of tensors; it may itself differentiate.
        argnums: the argument, or the arguments, to differentiate with respect to.
        has_aux: whether `func` returns `(output, aux)`, of which only `output` is differentiated.

    Returns:
        A function of the same arguments. It returns the gradient in the argument's structure (a
        tuple of them for a tuple of `argnums`); with `has_aux`, `(gradient, aux)`.

    Raises:
        RuntimeError: `func` returns no scalar tensor, or `argnums` do not fit.
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        gradient, _, aux = _grad_value_aux(func, argnums, has_aux, args, kwargs)
        return (gradient, aux) if has_aux else gradient

    return wrapper


def grad_and_value(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """As `grad`; the function returns `(gradient, value)`, or `(gradient, (value, aux))`."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        gradient, value, aux = _grad_value_aux(func, argnums, has_aux, args, kwargs)
        return (gradient, (value, aux)) if has_aux else (gradient, value)

    return wrapper


def value_and_grad(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """As `grad`; the function returns `(value, gradient)`, or `((value, aux), gradient)`."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        gradient, value, aux = _grad_value_aux(func, argnums, has_aux, args, kwargs)
        return ((value, aux), gradient) if has_aux else (value, gradient)

    return wrapper


def _grad_value_aux(
    func: Callable[..., Any],
    argnums: Argnums,
    has_aux: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, Any, Any]:
    name = "grad_and_value(f)(*args)"
    places = check_argnums(argnums, len(args))
    leaves, structure = flatten(select(args, places))
    level = Level(leaves)
    with enable_grad():
        inside = replace(args, places, structure.unflatten(level.inputs))
        output, aux = split_aux(func(*inside, **kwargs), has_aux, name)
        if not isinstance(output, TensorBase):
            raise RuntimeError(f"{name}: Expected f(*args) to return a Tensor, got {type(output)}")
        if output._payload.ndim:
            raise RuntimeError(
                f"{name}: Expected f(*args) to return a scalar Tensor, got tensor with "
                f"{output._payload.ndim} dims. Maybe you wanted to use the vjp or jacrev APIs "
                "instead?"
            )
        value = cast("Tensor", output)
        outside = level.reaches_outside((value,))
        # The walk frees the graph, which `aux` may need when it is differentiated later.
        found = level.gradients(
            (value,), (ops.ones_like(value),), retain_graph=has_aux, create_graph=outside
        )
        gradient = structure.unflatten([level.release(g) for g in found])
        return gradient, level.release(value), tree_map(level.release, aux)


def vjp(
    func: Callable[..., Any], *primals: Any, has_aux: bool = False
) -> tuple[Any, Callable[..., Any]] | tuple[Any, Callable[..., Any], Any]:
    """The value of `func` at `primals`, and the function from cotangents to gradients.

    Args:
        func: a function of tensors, or of trees of tensors.
        primals: its arguments.
        has_aux: whether `func` returns `(output, aux)`, of which only `output` is differentiated.

    Returns:
        `(output, vjp_fn)`, with `has_aux` `(output, vjp_fn, aux)`. `vjp_fn(cotangents)` takes a
        tree as the output's, and returns a tuple of gradients as the primals'.

    Raises:
        RuntimeError: `func` returns something else than tensors.
    """
    output, pull, aux = pullback(func, primals, has_aux)

    def vjp_fn(
        cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None
    ) -> tuple[Any, ...]:
        result: tuple[Any, ...] = pull(cotangents, retain_graph, create_graph)
        return result

    return (output, vjp_fn, aux) if has_aux else (output, vjp_fn)


def pullback(
    func: Callable[..., Any], primals: tuple[Any, ...], has_aux: bool
) -> tuple[Any, Callable[..., Any], Any]:
    """The value of `func`, the function from cotangents to gradients, and the auxiliary value."""
    name = "vjp(f, *primals)"
    leaves, structure = flatten(primals)
    level = Level(leaves)
    with enable_grad():
        result, aux = split_aux(func(*structure.unflatten(level.inputs)), has_aux, name)
        outputs, output_structure = flatten(result)
        tensors_only(outputs, name)
        outside = level.reaches_outside(outputs)
        released = output_structure.unflatten([level.release(y) for y in outputs])
        aux = tree_map(level.release, aux)

    def pull(cotangents: Any, retain_graph: bool, create_graph: bool | None) -> Any:
        seeds = _checked_cotangents(cotangents, outputs, output_structure)
        if create_graph is None:
            create_graph = is_grad_enabled()
        recorded = create_graph and (outside or level.reaches_outside(seeds))
        with enable_grad():
            found = level.gradients(outputs, seeds, retain_graph, recorded)
            return structure.unflatten([level.release(g) for g in found])

    return released, pull, aux


def _checked_cotangents(cotangents: Any, outputs: list[Any], structure: Structure) -> list[Any]:
    seeds, given = flatten(cotangents)
    if given != structure:
        raise RuntimeError(
            "Expected pytree structure of cotangents to be the same as pytree structure of outputs "
            f"to the function. cotangents: {given}, primal output: {structure}"
        )
    for i, (seed, y) in enumerate(zip(seeds, outputs, strict=True)):
        if seed.shape != y.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {seed.shape} and output[{i}] "
                f"has a shape of {y.shape}."
            )
    return seeds
