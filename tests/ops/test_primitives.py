"""Every primitive, by one table: its kernel, its gradient, and what inputs of all kinds give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import kuai
from kuai import dtypes
from kuai.core.base import TensorBase, wrap
from kuai.core.primitive import PRIMITIVES, Meta, Primitive, meta_of, observe
from kuai.errors import DataDependentError
from kuai.ops.pointwise import Elementwise
from tests.ops.primitive_samples import NAN_IS_LOST, SAMPLES, SYMMETRIC, UNARY, Sample

pytestmark = pytest.mark.filterwarnings("error")

CASES = [(name, sample) for name, samples in SAMPLES.items() for sample in samples]
IDS = [f"{name}-{i}" for name, samples in SAMPLES.items() for i, _ in enumerate(samples)]
each_sample = pytest.mark.parametrize(("name", "sample"), CASES, ids=IDS)
ELEMENTWISE = [name for name, p in PRIMITIVES.items() if isinstance(p, Elementwise)]
TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool_")
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5])


def tensors(inputs: Sequence[Any]) -> list[Any]:
    """The arrays among `inputs` as tensors of their own."""
    return [wrap(x.copy(order="K")) if isinstance(x, np.ndarray) else x for x in inputs]


def results_of(result: Any) -> tuple[Any, ...]:
    """The results as a tuple, also where there is one."""
    return result if isinstance(result, tuple) else (result,)


def apply(name: str, inputs: Sequence[Any], parameters: dict[str, Any]) -> tuple[Any, ...]:
    """The results of the primitive, past the promotion that its callers see to."""
    if name in SYMMETRIC:
        inputs = [(inputs[0] + inputs[0].mT) / 2]
    return results_of(Primitive.__call__(PRIMITIVES[name], *inputs, **parameters))


def assert_inferred(name: str, inputs: Sequence[Any], parameters: dict[str, Any]) -> None:
    """`infer` says what the kernel does."""
    xs = tensors(inputs)
    results = apply(name, xs, parameters)
    metas = [meta_of(x) for x in xs if isinstance(x, TensorBase)]
    try:
        inferred = PRIMITIVES[name].infer(*metas, **parameters)
    except DataDependentError:
        return
    expected = inferred if isinstance(inferred, tuple) else (inferred,)
    assert [meta_of(r) for r in results] == list(expected)
    assert all(type(r._payload) is np.ndarray for r in results)


def weighted_sum(results: Sequence[Any]) -> Any:
    """A number that depends on every element of the floating results."""
    total: Any = 0.0
    for i, r in enumerate(results):
        if r.dtype.is_floating_point and r.requires_grad:
            weights = np.random.default_rng(i).uniform(0.5, 1.5, tuple(r.shape))
            total = total + (r * kuai.tensor(weights)).sum()
    return total


def assert_gradient(function: Callable[..., Any], arrays: Sequence[Any], places: list[int]) -> None:
    """The gradient of a scalar function of tensors equals central differences of it."""
    xs = tensors(arrays)
    for i in places:
        xs[i].requires_grad_()
    y = function(*xs)
    if not isinstance(y, TensorBase) or not y.requires_grad:
        return
    grads = kuai.autograd.grad(y, [xs[i] for i in places], allow_unused=True)
    for i, g in zip(places, grads, strict=True):
        numerical = np.zeros(arrays[i].shape)
        for at in np.ndindex(arrays[i].shape):
            around = []
            for step in (1e-6, -1e-6):
                moved = tensors(arrays)
                moved[i]._payload[at] += step
                for k in places:
                    moved[k].requires_grad_()
                around.append(float(function(*moved).detach()))
            numerical[at] = (around[0] - around[1]) / 2e-6
        analytic = np.zeros(arrays[i].shape) if g is None else g.detach().numpy()
        assert analytic.shape == arrays[i].shape
        np.testing.assert_allclose(analytic, numerical, rtol=1e-5, atol=1e-6)


def floating_places(name: str, sample: Sample) -> list[int]:
    """The inputs that a gradient may flow to."""
    if not PRIMITIVES[name].differentiable:
        return []
    return [
        i
        for i, x in enumerate(sample.inputs)
        if isinstance(x, np.ndarray) and x.dtype == np.float64
    ]


def test_every_primitive_has_samples() -> None:
    captures = ("kuai.compiler", "kuai.autograd", "kuai.debug")  # tested with the compiler
    own = {n for n, p in PRIMITIVES.items() if type(p).__module__.startswith(captures)}
    assert set(PRIMITIVES) - own - set(SAMPLES) == set()
    assert set(SAMPLES) - set(PRIMITIVES) == set()


@each_sample
def test_infer_says_the_shape_and_type_of_the_kernels_result(name: str, sample: Sample) -> None:
    assert_inferred(name, sample.inputs, sample.parameters)


@each_sample
def test_the_kernel_leaves_its_inputs_as_they_were(name: str, sample: Sample) -> None:
    xs = tensors(sample.inputs)
    apply(name, xs, sample.parameters)
    for x, given in zip(xs, sample.inputs, strict=True):
        if isinstance(given, np.ndarray):
            np.testing.assert_array_equal(x._payload, given)


@each_sample
def test_only_a_view_shares_memory_with_its_input(name: str, sample: Sample) -> None:
    xs = tensors(sample.inputs)
    first = xs[0]._payload
    for result in apply(name, xs, sample.parameters):
        if result._view is not None:
            shared = np.shares_memory(result._payload, first) or not result._payload.size
            assert shared or name == "as_strided"
            assert result._counter is xs[0]._counter
        elif name != "backward_hook":
            assert not np.shares_memory(result._payload, first)


@each_sample
def test_the_gradient_is_that_of_finite_differences(name: str, sample: Sample) -> None:
    places = floating_places(name, sample)
    if not places or not sample.smooth:
        # Attention's gradient is given results of attention, which depend on the other inputs.
        assert not places or name in ("embedding_rows", "gamma_numbers", "attention_gradient")
        return

    def function(*xs: Any) -> Any:
        return weighted_sum(apply(name, xs, sample.parameters))

    assert_gradient(function, sample.inputs, places)


@each_sample
def test_the_second_derivatives_are_those_of_finite_differences(name: str, sample: Sample) -> None:
    places = floating_places(name, sample)
    if not places or not sample.smooth or not sample.second:
        return

    def slope(*xs: Any) -> Any:
        # Squared, so that operations that are linear have second derivatives too.
        y = weighted_sum([r * r for r in apply(name, xs, sample.parameters)])
        if not isinstance(y, TensorBase) or not y.requires_grad:
            return 0.0
        wanted = [xs[i] for i in places]
        grads = kuai.autograd.grad(y, wanted, create_graph=True, allow_unused=True)
        return weighted_sum([g for g in grads if g is not None])

    assert_gradient(slope, sample.inputs, places)


@each_sample
def test_strides_do_not_matter(name: str, sample: Sample) -> None:
    if name in ("as_strided", "view_as_dtype", "view_as_shape"):
        return  # what these show depends on the strides, by their definition
    spread = []
    for x in sample.inputs:
        if isinstance(x, np.ndarray) and x.ndim:
            wide = np.zeros((*x.shape[::-1], 2), x.dtype).transpose(*range(x.ndim)[::-1], x.ndim)
            wide[..., 0] = x
            x = wide[..., 0]
        spread.append(wrap(x) if isinstance(x, np.ndarray) else x)
    straight = apply(name, tensors(sample.inputs), sample.parameters)
    for a, b in zip(straight, apply(name, spread, sample.parameters), strict=True):
        np.testing.assert_allclose(b._payload, a._payload, rtol=1e-13)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_results_have_the_type_that_infer_says(name: str, dtype: str) -> None:
    sample = SAMPLES[name][0]
    target = getattr(dtypes, dtype)
    given = [
        wrap(x if x.dtype == np.bool_ and dtype != "bool_" else stored(x, target))
        for x in sample.inputs
    ]
    applied = []

    def check(primitive: Primitive, inputs: Any, parameters: Any, result: Any) -> None:
        if primitive is PRIMITIVES[name]:
            applied.append(result)
            metas = [meta_of(x) for x in inputs]
            assert primitive.infer(*metas, **parameters) == meta_of(result)

    with observe(check):
        try:
            result = PRIMITIVES[name](*given, **sample.parameters)
        except (NotImplementedError, RuntimeError, TypeError):
            assert not applied
            return
    assert applied
    if target.is_floating_point and not PRIMITIVES[name].comparison and name != "cast":
        assert result.dtype is target


def stored(x: np.ndarray, dtype: dtypes.dtype) -> np.ndarray:
    """The values in a type; as positive integers where it has no fractions."""
    return (x if dtype.is_floating_point else np.abs(x * 3 + 1)).astype(dtype.numpy)


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), ()])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_takes_empty_and_zero_dimensional(name: str, shape: tuple[int, ...]) -> None:
    sample = SAMPLES[name][0]
    given = [np.resize(x, shape) for x in sample.inputs]
    assert_inferred(name, given, sample.parameters)
    xs = tensors(given)
    places = floating_places(name, sample)
    for i in places:
        xs[i].requires_grad_()
    (result,) = apply(name, xs, sample.parameters)
    assert result.shape == shape
    if result.requires_grad:
        grads = kuai.autograd.grad(result.sum(), [xs[i] for i in places], allow_unused=True)
        assert all(g is None or g.shape == shape for g in grads)


@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if len(SAMPLES[n][0].inputs) > 1])
def test_elementwise_operands_broadcast_and_their_gradients_are_summed(name: str) -> None:
    sample = SAMPLES[name][0]
    shapes = [(2, 1, 2), (3, 1), (2, 1, 1)]
    given = [np.resize(x, s) for x, s in zip(sample.inputs, shapes, strict=False)]
    full = np.broadcast_shapes(*[x.shape for x in given])
    stretched = [np.broadcast_to(x, full).copy() for x in given]
    assert_inferred(name, given, sample.parameters)
    found = []
    places = floating_places(name, sample)
    for arrays in (given, stretched):
        xs = tensors(arrays)
        for i in places:
            xs[i].requires_grad_()
        (result,) = apply(name, xs, sample.parameters)
        grads: Sequence[Any] = ()
        if result.requires_grad:
            grads = kuai.autograd.grad(result.sum(), [xs[i] for i in places], allow_unused=True)
        found.append((result.detach().numpy(), grads))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    for i, short, long in zip(places, found[0][1], found[1][1], strict=False):
        if short is not None:
            np.testing.assert_allclose(short.numpy(), long.sum_to_size(given[i].shape).numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nan_and_infinity_pass_without_a_warning(name: str, dtype: str) -> None:
    sample = SAMPLES[name][0]
    if any(x.dtype.kind == "i" for x in sample.inputs) or name == "bernoulli_nll":
        return
    special = SPECIAL.astype(getattr(dtypes, dtype).numpy)
    grid = np.meshgrid(*[special] * len(sample.inputs))
    given = [
        g.astype(x.dtype) if x.dtype.kind == "b" else g
        for g, x in zip(grid, sample.inputs, strict=True)
    ]
    try:
        PRIMITIVES[name].kernel(*[g[:0] for g in given], **sample.parameters)
    except TypeError:
        assert dtype == "bfloat16"
        return
    xs = tensors(given)
    places = floating_places(name, sample)
    for i in places:
        xs[i].requires_grad_()
    (result,) = apply(name, xs, sample.parameters)
    if name in UNARY and name not in NAN_IS_LOST:
        assert bool(result[0].isnan())
    if result.requires_grad:
        kuai.autograd.grad(result.sum(), [xs[i] for i in places], allow_unused=True)


def test_a_meta_is_equal_by_shape_and_type() -> None:
    assert Meta((2,), dtypes.int64) == Meta([2], dtypes.int64)
    assert Meta((2,), dtypes.int64) != Meta((2,), dtypes.int32)
    assert repr(Meta((2, 3), dtypes.float32)) == "float32[2, 3]"
