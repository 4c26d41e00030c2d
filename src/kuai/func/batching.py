"""`vmap`: a function of one sample, applied to each sample of a batch.

kuai's `vmap` is a loop: the function runs once for each index of the mapped dimension and the
results are stacked. It computes what PyTorch's does, also for functions that branch on values or
call `.item()`; it does not make them faster.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

from kuai import ops
from kuai.core.base import TensorBase
from kuai.func.pytree import Structure, flatten, leaves_of, spread
from kuai.ops.random import default_generator
from kuai.tensor import Tensor

Randomness = Literal["error", "different", "same"]


def vmap(
    func: Callable[..., Any],
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: Randomness = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """The function that applies `func` along a dimension of its arguments, and stacks the results.

    Args:
        func: a function that returns a tensor, or a tree of tensors.
        in_dims: the dimension to go along, for all arguments or in a tree as theirs; `None` for
            what is the same for all. Keyword arguments are the same for all.
        out_dims: where the dimension goes in the results, for all or in a tree as theirs.
        randomness: whether random numbers are an error, "different" in each run, or the "same".
        chunk_size: accepted for PyTorch's sake: samples are taken one by one.

    Raises:
        ValueError: the dimensions do not fit the arguments or the results.
        RuntimeError: `func` draws random numbers and `randomness` is "error".
    """
    check_randomness(randomness)
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        name = getattr(func, "__name__", repr(func))
        leaves, dims, structure, size = _mapped(name, in_dims, args)
        state = default_generator.get_state()
        rows: list[list[Any]] = []
        results: Structure | None = None
        for i in range(size) if size else (None,):
            sample = [
                x if d is None else _sample(x, d, i) for x, d in zip(leaves, dims, strict=True)
            ]
            if i and randomness == "same":
                default_generator.set_state(state)
            row, results = flatten(func(*structure.unflatten(sample), **kwargs))
            rows.append(row)
            if randomness == "error" and not ops.equal(default_generator.get_state(), state):
                raise RuntimeError(
                    "vmap: called random operation while in randomness error mode. Please either "
                    "use the 'same' or 'different' randomness flags on vmap or perform the "
                    "randomness operation out of vmap"
                )
        assert results is not None
        places = _places(name, out_dims, results)
        columns = zip(*rows, strict=True)
        return results.unflatten(
            [_joined(name, column, d, size) for column, d in zip(columns, places, strict=True)]
        )

    return wrapper


def check_randomness(randomness: Any) -> None:
    """Check the word that says what random numbers do.

    Raises:
        RuntimeError: it is none of "error", "different" and "same".
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            "Only allowed values for randomness are 'error', 'different', or 'same'. "
            f"Got {randomness}"
        )


def _mapped(
    name: str, in_dims: Any, args: tuple[Any, ...]
) -> tuple[list[Any], list[int | None], Structure, int]:
    """The leaves of the arguments, the dimension of each, their structure, and the size."""
    where = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(
            f"{where}: expected `in_dims` to be int or a (potentially nested) tuple matching the "
            f"structure of inputs, got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are "
            "trying to vmap over a function with no inputs. The latter is unsupported."
        )
    leaves, structure = flatten(args)
    spread_dims = spread(in_dims, structure)
    if spread_dims is None:
        raise ValueError(
            f"{where}: in_dims is not compatible with the structure of `inputs`. in_dims has "
            f"structure {flatten(in_dims)[1]} but inputs has structure {structure}."
        )
    dims = [_checked_dim(where, x, d) for x, d in zip(leaves, spread_dims, strict=True)]
    sizes = [x.shape[d] for x, d in zip(leaves, dims, strict=True) if d is not None]
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if any(n != sizes[0] for n in sizes):
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return leaves, dims, structure, sizes[0]


def _checked_dim(where: str, x: Any, dim: Any) -> int | None:
    if dim is None:
        return None
    if not isinstance(dim, int):
        raise ValueError(
            f"{where}: Got in_dim={dim} for an input but in_dim must be either an integer "
            "dimension or None."
        )
    if not isinstance(x, TensorBase):
        raise ValueError(
            f"{where}: Got in_dim={dim} for an input but the input is of type {type(x)}. We cannot "
            "vmap over non-Tensor arguments, please use None as the respective in_dim"
        )
    rank = x._payload.ndim
    if not -rank <= dim < rank:
        raise ValueError(
            f"{where}: Got in_dim={dim} for some input, but that input is a Tensor of "
            f"dimensionality {rank} so expected in_dim to satisfy -{rank} <= in_dim < {rank}."
        )
    return dim % rank


def _sample(x: Tensor, dim: int, i: int | None) -> Tensor:
    """Sample `i`; of an empty batch, a sample of zeros that tells the shapes of the results."""
    if i is None:
        return x.new_zeros([n for d, n in enumerate(x.shape) if d != dim])
    return ops.select(x, dim, i)


def _places(name: str, out_dims: Any, results: Structure) -> list[int | None]:
    """Where the dimension goes in each result."""
    if not all(d is None or isinstance(d, int) for d in leaves_of(out_dims)):
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims}): `out_dims` must be an int, None or a python "
            "collection of ints representing where in the outputs the vmapped dimension should "
            "appear."
        )
    if results.kind is None and isinstance(out_dims, tuple) and len(out_dims) == 1:
        out_dims = out_dims[0]
    places = spread(out_dims, results)
    if places is None:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with "
            f"the structure of `outputs`. out_dims has structure {flatten(out_dims)[1]} but "
            f"outputs has structure {results}."
        )
    return places


def _joined(name: str, column: tuple[Any, ...], dim: int | None, size: int) -> Any:
    if dim is None:
        return column[0]
    for y in column:
        if not isinstance(y, TensorBase):
            raise ValueError(
                f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(y)}. Did "
                "you mean to set out_dims= to None for output?"
            )
    if size:
        return ops.stack(column, dim)
    shape = list(column[0].shape)
    shape.insert(dim if dim >= 0 else len(shape) + 1 + dim, 0)
    return column[0].new_zeros(shape)
