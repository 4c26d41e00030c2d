"""Run a network once and record which block called which, and what flowed between them.

The record rests on two things only: hooks on the blocks, which say where the run is, and the
primitives applied meanwhile, which say what is computed from what. Everything else (the arrows
between two blocks, say) is derived from those. The network is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from inspect import signature
from time import perf_counter
from typing import TYPE_CHECKING, Any

from kuai.core.primitive import observe
from kuai.core.tape import no_grad
from kuai.nn.parameter import is_lazy
from kuai.ops import get_rng_state, set_rng_state
from kuai.show.calls import Op, Trace, Value
from kuai.show.recorder import Recorder, hooked, mapped, tensors_in

if TYPE_CHECKING:
    from kuai.nn import Module
    from kuai.tensor import Tensor


def trace(net: Module, X: Any) -> Trace:
    """Run `net` on `X` and record its calls and the flow of tensors.

    Args:
        net: any block.
        X: a tensor; a tuple or list of arguments; or a dict of keyword arguments.
    """
    net = _materialised(net, X)
    recorder = Recorder(net)
    args, kwargs = arguments(X)
    for name, argument in [*zip(_names(net, len(args)), args, strict=True), *kwargs.items()]:
        for t in tensors_in(argument):
            op = Op(name, None)
            recorder.trace.inputs.append(op)
            recorder.remember(t, Value(t, op))
    with (
        undisturbed(net),
        no_grad(),
        hooked(net, recorder.enter, recorder.leave),
        observe(recorder.applied),
    ):
        result = net(*args, **kwargs)
    recorder.trace.output.reads = [
        v for t in tensors_in(result) if (v := recorder.value_of(t)) is not None
    ]
    return recorder.trace


def _names(net: Module, count: int) -> list[str]:
    """What `forward` calls its first arguments."""
    names = []
    for p in list(signature(net.forward).parameters.values())[:count]:
        if p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            break
        names.append(p.name)
    return names + ["input"] * (count - len(names))


def timed(net: Module, X: Any) -> dict[int, float]:
    """Seconds spent in each block (by `id`), all its calls together, in one run on `X`."""
    began: list[float] = []
    spent: dict[int, float] = {}

    def before(*_: Any) -> None:
        began.append(perf_counter())

    def after(module: Module, *_: Any) -> None:
        seconds = perf_counter() - began.pop()
        spent[id(module)] = spent.get(id(module), 0.0) + seconds

    args, kwargs = arguments(X)
    with undisturbed(net), no_grad(), hooked(net, before, after):
        net(*args, **kwargs)
    return spent


def arguments(X: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`X` as positional and keyword arguments, its tensors copied so that none is changed."""
    if isinstance(X, dict):
        return (), {name: mapped(x, _copy) for name, x in X.items()}
    if isinstance(X, (tuple, list)):
        return tuple(mapped(x, _copy) for x in X), {}
    return (mapped(X, _copy),), {}


def _copy(t: Tensor) -> Tensor:
    copy: Tensor = t.detach().clone()
    return copy


@contextmanager
def undisturbed(net: Module) -> Iterator[None]:
    """Evaluate `net` for a while; then modes, buffers and random state are as they were."""
    modes = [(m, m.training) for m in net.modules()]
    buffers = [
        (m, name, b, b._counter[0], b.detach().clone())
        for m in net.modules()
        for name, b in m._buffers.items()
        if b is not None
    ]
    state = get_rng_state()
    for m, _ in modes:
        m.training = False
    try:
        yield
    finally:
        set_rng_state(state)
        for m, training in modes:
            m.training = training
        for m, name, buffer, version, values in buffers:
            if m._buffers.get(name) is not buffer:
                setattr(m, name, buffer)
            if buffer._counter[0] != version:
                with no_grad():
                    buffer.copy_(values)


def _materialised(net: Module, X: Any) -> Module:
    """`net`, or where it has lazy parameters a copy that has run once, so that it has shapes."""
    if not any(is_lazy(p) for p in net.parameters()):
        return net
    net = deepcopy(net)
    args, kwargs = arguments(X)
    with undisturbed(net), no_grad():
        net(*args, **kwargs)
    return net
