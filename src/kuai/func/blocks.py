"""Blocks as functions of their parameters: `functional_call`, `stack_module_state`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kuai import ops
from kuai.nn.module import Module
from kuai.nn.utils import stateless
from kuai.tensor import Tensor


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: dict[str, Tensor] | Sequence[dict[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a block with other tensors in the place of its parameters and buffers.

    Args:
        module: the block.
        parameter_and_buffer_dicts: the tensors by name, in one dict or in several.
        args: the arguments, as a tuple, or one argument.
        kwargs: the keyword arguments.
        tie_weights: whether a tensor given for one name of a shared parameter stands for all.
        strict: whether every parameter and buffer has to be given, and nothing else.

    Raises:
        ValueError: not dicts, or a name stands in two of them.
        RuntimeError: names are missing or unknown, and `strict` is set.
    """
    given = parameter_and_buffer_dicts
    if isinstance(given, (list, tuple)):
        if not all(isinstance(d, dict) for d in given):
            raise ValueError(
                "Expected all elements of parameter_and_buffer_dicts to be dictionaries"
            )
        names = [name for d in given for name in d]
        repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if repeated:
            raise ValueError(
                f"{repeated} appeared in multiple dictionaries; behavior of functional call is "
                "ambiguous"
            )
        given = {name: x for d in given for name, x in d.items()}
    elif not isinstance(given, dict):
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(given)}"
        )
    return stateless.functional_call(
        module, given, args, kwargs, tie_weights=tie_weights, strict=strict
    )


def stack_module_state(
    models: Sequence[Module],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and the buffers of several blocks of one kind, each stacked along dimension 0.

    Raises:
        RuntimeError: no blocks, blocks of different classes, or in different modes.
    """
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(m.training != models[0].training for m in models):
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = _stacked([dict(m.named_parameters()) for m in models])
    buffers = _stacked([dict(m.named_buffers()) for m in models])
    return parameters, buffers


def _stacked(states: list[dict[str, Any]]) -> dict[str, Tensor]:
    result = {}
    for name, first in states[0].items():
        rows = [state[name] for state in states]
        if not all(r.requires_grad == first.requires_grad for r in rows):
            raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
        stacked = ops.stack(rows)
        result[name] = stacked.detach().requires_grad_(first.requires_grad)
    return result


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """Make every batch normalisation inside `root` use the batch's own statistics, in place.

    Under `vmap` a block must not change its buffers.
    """
    for block in root.modules():
        if getattr(block, "track_running_stats", False):
            block.running_mean = block.running_var = block.num_batches_tracked = None
            block.track_running_stats = False
    return root
