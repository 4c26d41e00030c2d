"""Runs PyTorch's samples of a block through PyTorch and through the library under test."""

from __future__ import annotations

import copy
import functools
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.testing._internal.common_modules import ModuleInfo, ModuleInput, module_db

from tests.parity.compare import Mismatch, assert_same, tolerances
from tests.parity.convert import Converter, Excluded, look_up
from tests.parity.operators import (
    Result,
    brief,
    check_kind,
    describe,
    direction,
    filled,
    tensors_in,
    time_limit,
)

BLOCKS: dict[str, ModuleInfo] = {info.name: info for info in module_db}


def run_block(
    info: ModuleInfo,
    target: types.ModuleType,
    dtype: torch.dtype,
    limit: int | None = None,
    made: Callable[[Any], Any] = lambda block: block,
) -> Result:
    """Runs a block's samples, in training mode and in evaluation mode.

    Args:
        info: PyTorch's description of the block.
        target: the library under test.
        dtype: of the parameters and the input.
        limit: the most samples for each mode; all by default.
        made: what is called in a block's place.
    """
    result = Result()
    table = tolerances(info.decorators)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for training in (True, False) if info.train_and_eval_differ else (True,):
            torch.manual_seed(0)
            inputs = info.module_inputs_func(
                info, device="cpu", dtype=dtype, requires_grad=True, training=training
            )
            for sample in list(inputs)[:limit]:
                run_sample(info, sample, target, dtype, training, table, result, made)
    return result


def run_sample(
    info: ModuleInfo,
    sample: ModuleInput,
    target: types.ModuleType,
    dtype: torch.dtype,
    training: bool,
    table: dict[str, Any],
    result: Result,
    called: Callable[[Any], Any],
) -> None:
    """Compares one block and one input: its representation, state, output and gradients."""
    if sample.forward_input is None:
        return
    made = sample.constructor_input
    theirs = info.module_cls(*made.args, **made.kwargs).to(dtype).train(training)
    initialise(theirs, sample, torch)
    state = {name: value.detach().clone() for name, value in theirs.state_dict().items()}
    try:
        exact = functools.cache(
            lambda: outputs_and_gradients(before.double(), sample, torch, widen=True)
        )
        before = copy.deepcopy(theirs)
        expected = outputs_and_gradients(theirs, sample, torch)
        check_kind(expected[0])
    except Excluded as reason:
        result.excluded[str(reason)] = result.excluded.get(str(reason), 0) + 1
        return
    described = f"; {type(theirs).__name__}({', '.join(map(brief, made.args))}, **{made.kwargs})"
    try:
        with time_limit(30):
            convert = Converter(target)
            ours = look_up(info.name, target)(*convert(made.args), **convert(made.kwargs))
            ours.to(convert(dtype)).train(training)
            initialise(ours, sample, target)
            if repr(ours) != repr(theirs):
                raise Mismatch(f"printed as {ours!r}, not {theirs!r}")
            ours.load_state_dict(convert(state))
            actual = outputs_and_gradients(called(ours), sample, target)
            assert_same(actual[0], expected[0], table, exact=lambda: exact()[0])
            assert_same(dict(ours.state_dict()), dict(theirs.state_dict()), table, where="state")
    except Exception as error:
        result.forward.add(describe(error) + described)
        if expected[1]:
            result.gradient.add("no forward")
        return
    result.forward.add(None)
    if expected[1]:
        try:
            assert_same(actual[1], expected[1], table, where="gradient", exact=lambda: exact()[1])
            result.gradient.add(None)
        except Mismatch as error:
            result.gradient.add(describe(error) + described)


def initialise(block: Any, sample: ModuleInput, library: types.ModuleType) -> None:
    """Runs a lazy block once, so that it has the parameters that the sample needs."""
    if isinstance(block, library.nn.modules.lazy.LazyModuleMixin):
        args, kwargs = Converter(library)((sample.forward_input.args, sample.forward_input.kwargs))
        block(*args, **kwargs)


def outputs_and_gradients(
    block: Any, sample: ModuleInput, library: types.ModuleType, widen: bool = False
) -> tuple[Any, dict[str, Any]]:
    """A block's output, and the gradients of its inputs and parameters along fixed directions."""
    convert = Converter(library, widen)
    args, kwargs = convert((sample.forward_input.args, sample.forward_input.kwargs))
    output = block(*args, **kwargs)
    results = [x for x in tensors_in(output) if x.requires_grad]
    inputs = [x for x in tensors_in((args, kwargs)) if x.requires_grad]
    named = dict(block.named_parameters())
    sources = [*inputs, *(p for p in named.values() if p.requires_grad)]
    if not results or not sources:
        return output, {}
    grads = library.autograd.grad(
        results,
        sources,
        [direction(x, i, convert) for i, x in enumerate(results)],
        allow_unused=True,
    )
    names = [f"input {i}" for i in range(len(inputs))]
    names += [name for name, p in named.items() if p.requires_grad]
    return output, dict(zip(names, filled(grads, sources, library), strict=True))
