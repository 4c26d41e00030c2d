"""Runs PyTorch's samples of an operator through PyTorch and through the library under test."""

from __future__ import annotations

import contextlib
import functools
import signal
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import OpInfo, SampleInput

from tests.parity.compare import Mismatch, Tolerance, assert_same, is_tensor, tolerances
from tests.parity.convert import Converter, Excluded, counterpart, look_up, rebound
from tests.parity.supported import CHOICES, EXCLUDED_SAMPLES, RANDOM, UNINITIALISED

DTYPES = (torch.float32, torch.float64, torch.int64, torch.bool)


class Count:
    """How many checks of a kind passed, and why the first that failed did."""

    def __init__(self) -> None:
        self.passed = 0
        self.total = 0
        self.reason = ""

    def add(self, reason: str | None) -> None:
        """Counts one check: passed when there is no reason why not."""
        self.total += 1
        self.passed += reason is None
        if reason and not self.reason:
            self.reason = reason


class Result:
    """What the samples of one operator showed, for one dtype.

    Attributes:
        forward: function, method, operator and in-place forms (`out=` is counted in `out`).
        gradient: first derivatives.
        second: derivatives of the derivatives, in float64.
        errors: wrong inputs that raise an exception of PyTorch's class.
        excluded: how many samples were left out, by reason.
    """

    KINDS = ("forward", "gradient", "second", "out", "errors")

    def __init__(self) -> None:
        self.forward = Count()
        self.gradient = Count()
        self.second = Count()
        self.out = Count()
        self.errors = Count()
        self.excluded: dict[str, int] = {}


def full_name(op: OpInfo) -> str:
    """`div|floor_rounding`: the operator's name and, where there are several, its variant's."""
    return f"{op.name}|{op.variant_test_name}" if op.variant_test_name else op.name


OPERATORS: dict[str, list[OpInfo]] = {}
for _op in op_db:
    OPERATORS.setdefault(_op.name, []).append(_op)


def dtypes_of(op: OpInfo, wanted: tuple[torch.dtype, ...] = DTYPES) -> list[torch.dtype]:
    """Those of `wanted` that the operator takes."""
    return [dtype for dtype in wanted if dtype in op.supported_dtypes("cpu")]


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block after so many seconds."""

    def stop(signum: int, frame: types.FrameType | None) -> None:
        raise TimeoutError(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def samples_of(
    op: OpInfo, dtype: torch.dtype, requires_grad: bool, limit: int | None = None
) -> list[SampleInput]:
    """The operator's samples, the same ones every time; at most `limit`, spread over them all."""
    torch.manual_seed(0)
    samples = list(op.sample_inputs("cpu", dtype, requires_grad=requires_grad))
    if limit is None or len(samples) <= limit:
        return samples
    return [samples[i * len(samples) // limit] for i in range(limit)]


class Case:
    """One operator against one library.

    Args:
        op: the operator.
        target: the library under test.
    """

    def __init__(self, op: OpInfo, target: types.ModuleType) -> None:
        self.op = op
        self.target = target
        self.table: dict[str, Tolerance] = tolerances(op.decorators)

    def function(self) -> Callable[..., Any]:
        """The operator in the library under test.

        Raises:
            AttributeError: there is none.
        """
        if self.target is torch:
            return self.op.op
        if isinstance(self.op.op, types.FunctionType) and self.op.op.__name__ == "<lambda>":
            return counterpart(self.op.op, self.target)
        if self.op.name.startswith("__"):
            return look_up(f"Tensor.{self.op.name}", self.target)
        return look_up(self.op.name, self.target)

    def variants(self) -> Iterator[tuple[str, Callable[..., Any], bool]]:
        """The other forms of the operator: name, PyTorch's callable, whether it is in place."""
        forms = (
            ("method", self.op.method_variant, False),
            ("in-place", self.op.inplace_variant, True),
            ("operator", self.op.operator_variant, False),
            ("in-place operator", self.op.inplace_operator_variant, True),
        )
        for name, form, inplace in forms:
            if form is not None:
                yield name, form, inplace

    def run(self, dtype: torch.dtype, limit: int | None = None, second: bool = True) -> Result:
        """Runs the samples of a dtype.

        Args:
            dtype: of the inputs.
            limit: the most samples to run; all by default.
            second: whether second derivatives are checked too.
        """
        result = Result()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for sample in samples_of(self.op, dtype, False, limit):
                self.check_forward(sample, result)
            if self.differentiable(dtype):
                for sample in samples_of(self.op, dtype, True, limit):
                    self.check_gradient(sample, dtype, result, second)
        return result

    def differentiable(self, dtype: torch.dtype) -> bool:
        """Whether gradients are compared for this dtype."""
        return (
            dtype in (torch.float32, torch.float64)
            and self.op.supports_autograd
            and dtype in self.op.supported_backward_dtypes("cpu")
            and self.op.name not in UNINITIALISED
        )

    def checks_second(self) -> bool:
        """Whether PyTorch has second derivatives, and tests them itself."""
        return self.op.supports_gradgrad and not any(
            getattr(decorator, "test_name", None) == "test_fn_gradgrad"
            and decorator.device_type in (None, "cpu")
            and (decorator.dtypes is None or torch.float64 in decorator.dtypes)
            and decorator.active_if
            for decorator in self.op.decorators
        )

    def call(self, function: Callable[..., Any], sample: SampleInput) -> Any:
        """PyTorch's result of a sample, on copies of its tensors.

        Raises:
            Excluded: the sample or the result is of a kind that kuai leaves out.
        """
        copies = Converter(torch)
        first, args, kwargs = copies((sample.input, sample.args, sample.kwargs))
        torch.manual_seed(1)
        result = function(first, *args, **kwargs)
        check_kind(result)
        return result

    def exactly(self, sample: SampleInput) -> Callable[[], Any]:
        """What computes PyTorch's result of a sample in float64, once."""

        def result() -> Any:
            first, args, kwargs = Converter(torch, widen=True)(
                (sample.input, sample.args, sample.kwargs)
            )
            return self.op.op(first, *args, **kwargs)

        return functools.cache(result)

    def compares_values(
        self, function: Callable[..., Any], sample: SampleInput, first: Any
    ) -> bool:
        """Whether further runs of PyTorch give the values of the first."""
        if self.op.name in UNINITIALISED:
            return False
        if self.op.name not in RANDOM:
            return True
        if isinstance(function, types.FunctionType):
            function = rebound(function, torch)  # without the seed that PyTorch's tests set
        for seed in range(2, 32):
            value, args, kwargs = Converter(torch)((sample.input, sample.args, sample.kwargs))
            torch.manual_seed(seed)
            try:
                assert_same(function(value, *args, **kwargs), first, self.table)
            except (Mismatch, RuntimeError):
                return False
        return True

    def assert_agrees(self, actual: Any, expected: Any, values: bool, sample: SampleInput) -> None:
        """Compares two results, without what is each library's own choice.

        Raises:
            Mismatch: they differ.
        """
        chosen = CHOICES.get(self.op.name, lambda result, sample: result)
        exactly = self.exactly(sample)
        assert_same(
            chosen(actual, sample),
            chosen(expected, sample),
            self.table,
            values,
            exact=lambda: chosen(exactly(), sample),
        )

    def check_forward(self, sample: SampleInput, result: Result) -> None:
        """Compares all forms of the operator on one sample; the first that differs counts."""
        try:
            excluded_by_name(self.op, sample)
            expected = self.call(self.op.op, sample)
        except Excluded as reason:
            result.excluded[str(reason)] = result.excluded.get(str(reason), 0) + 1
            return
        values = self.compares_values(self.op.op, sample, expected)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result.forward.add(self.forward_failure(sample, expected, values))
            if self.op.supports_out and is_tensor(expected):
                result.out.add(self.out_failure(sample, expected, values))

    def forward_failure(self, sample: SampleInput, expected: Any, values: bool) -> str | None:
        """Why a form of the operator differs from PyTorch's, or None."""
        form = "function"
        try:
            with time_limit(20):
                first, args, kwargs = Converter(self.target)(
                    (sample.input, sample.args, sample.kwargs)
                )
                actual = self.function()(first, *args, **kwargs)
                self.assert_agrees(actual, expected, values, sample)
                for form, theirs, inplace in self.variants():  # noqa: B007 - named below
                    self.check_variant(theirs, inplace, sample, values)
        except Exception as error:
            prefix = "" if form == "function" else f"{form}: "
            return prefix + describe(error) + f"; {summary(sample)}"
        return None

    def check_variant(
        self, theirs: Callable[..., Any], inplace: bool, sample: SampleInput, values: bool
    ) -> None:
        """Compares one further form of the operator.

        Raises:
            Mismatch: it differs, or only one of both raises an exception.
        """
        expected, refused = None, None
        try:
            expected = self.call(theirs, sample)
        except Excluded:
            return
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            refused = error
        if refused is not None and not inplace:
            return  # the form cannot take these arguments: nothing to say about the library
        first, args, kwargs = Converter(self.target)((sample.input, sample.args, sample.kwargs))
        ours = counterpart(theirs, self.target)
        try:
            actual = ours(first, *args, **kwargs)
        except Exception as error:
            if refused is None:
                raise
            if not isinstance(error, type(refused)):
                raise Mismatch(f"raises {type(error).__name__}, not {describe(refused)}") from error
            return
        if refused is not None:
            raise Mismatch(f"does not raise {describe(refused)}")
        if values and self.op.name in RANDOM:
            values = self.compares_values(theirs, sample, expected)
        self.assert_agrees(actual, expected, values, sample)
        if inplace and is_tensor(first) and actual is not first:
            raise Mismatch("does not return the tensor that it changes")

    def out_failure(self, sample: SampleInput, expected: torch.Tensor, values: bool) -> str | None:
        """Why the form with `out=` differs, or None."""
        try:
            with time_limit(20):
                convert = Converter(self.target)
                first, args, kwargs = convert((sample.input, sample.args, sample.kwargs))
                out = convert(torch.empty_like(expected, requires_grad=False))
                actual = self.function()(first, *args, **kwargs, out=out)
                if actual is not out:
                    raise Mismatch("does not return its `out`")
                self.assert_agrees(out, expected, values, sample)
        except Exception as error:
            return "out: " + describe(error) + f"; {summary(sample)}"
        return None

    def check_gradient(
        self, sample: SampleInput, dtype: torch.dtype, result: Result, second: bool
    ) -> None:
        """Compares first (and, in float64, second) derivatives on one sample."""
        deep = second and dtype == torch.float64 and self.checks_second()
        try:
            excluded_by_name(self.op, sample)
            expected = gradients(torch, self.op.op, sample, self.op, deep)
        except (Excluded, NotDifferentiable):
            return
        if self.op.name in RANDOM and not self.compares_values(
            self.op.op, sample, self.call(self.op.op, sample)
        ):
            return
        failure, failure_second = None, None
        try:
            with time_limit(20):
                actual = gradients(
                    self.target, self.function(), sample, self.op, False, expected.shapes
                )
                exact = functools.cache(
                    lambda: gradients(torch, self.op.op, sample, self.op, False, widen=True).first
                )
                assert_same(actual.first, expected.first, self.table, where="gradient", exact=exact)
        except Exception as error:
            failure = describe(error) + f"; {summary(sample)}"
        result.gradient.add(failure)
        if expected.second is None:
            return
        try:
            with time_limit(20):
                actual = gradients(
                    self.target, self.function(), sample, self.op, True, expected.shapes
                )
                if actual.second is None:
                    raise Mismatch("the first derivatives do not depend on the inputs")
                assert_same(actual.second, expected.second, self.table, where="second gradient")
        except Exception as error:
            failure_second = describe(error) + f"; {summary(sample)}"
        result.second.add(failure_second)

    def run_errors(self, result: Result) -> None:
        """Counts the operator's wrong inputs that raise an exception of PyTorch's class."""
        if self.op.error_inputs_func is None:
            return
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for case in self.op.error_inputs("cpu"):
                sample = case.sample_input
                try:
                    self.call(self.op.op, sample)
                except Excluded:
                    continue
                except Exception:
                    pass
                else:
                    continue  # an error of another form, or of another device
                try:
                    first, args, kwargs = Converter(self.target)(
                        (sample.input, sample.args, sample.kwargs)
                    )
                except Exception as error:
                    result.errors.add(describe(error))
                    continue
                try:
                    with time_limit(20):
                        self.function()(first, *args, **kwargs)
                except case.error_type:
                    result.errors.add(None)
                except Exception as error:
                    result.errors.add(
                        f"{describe(error)}, not {case.error_type.__name__}; {summary(sample)}"
                    )
                else:
                    result.errors.add(
                        f"no {case.error_type.__name__} ({case.error_regex}); {summary(sample)}"
                    )


class NotDifferentiable(Exception):
    """PyTorch's result has no differentiable part."""


class Gradients:
    """First and second derivatives of a sample, and which results they were taken of."""

    def __init__(self, first: list[Any], second: list[Any] | None, shapes: list[bool]) -> None:
        self.first = first
        self.second = second
        self.shapes = shapes


def gradients(
    library: types.ModuleType,
    function: Callable[..., Any],
    sample: SampleInput,
    op: OpInfo,
    deep: bool,
    differentiable: list[bool] | None = None,
    widen: bool = False,
) -> Gradients:
    """Derivatives of a sample's results along fixed random directions.

    Args:
        library: the one that computes.
        function: the operator in it.
        sample: its tensors that require gradients are differentiated for.
        op: PyTorch's description of the operator.
        deep: whether second derivatives are computed too.
        differentiable: which of the results must require gradients (those that do in PyTorch).
        widen: whether float32 is computed in float64.

    Raises:
        NotDifferentiable: no result (or no input) has a gradient in PyTorch.
        Mismatch: a result requires gradients where PyTorch's does not, or the other way round.
    """
    convert = Converter(library, widen)
    first, args, kwargs = convert((sample.input, sample.args, sample.kwargs))
    inputs = [x for x in tensors_in((first, args, kwargs)) if x.requires_grad]
    torch.manual_seed(1)
    outputs = counterpart(op.gradcheck_wrapper, library)(function, first, *args, **kwargs)
    process = sample.output_process_fn_grad
    outputs = tensors_in((process if library is torch else counterpart(process, library))(outputs))
    if library is torch:
        check_kind(outputs)
    flags = [x.requires_grad for x in outputs]
    if differentiable is not None and flags != differentiable:
        raise Mismatch(f"requires_grad of the results is {flags}, not {differentiable}")
    outputs = [x for x in outputs if x.requires_grad]
    if not outputs or not inputs:
        raise NotDifferentiable
    directions = [direction(x, i, convert) for i, x in enumerate(outputs)]
    if deep:
        inputs_of_second = [*inputs, *(x.requires_grad_() for x in directions)]
    grads = library.autograd.grad(outputs, inputs, directions, create_graph=deep, allow_unused=True)
    first_order = filled(grads, inputs, library)
    if not deep:
        return Gradients(first_order, None, flags)
    again = [x for x in grads if x is not None and x.requires_grad]
    if not again:
        return Gradients(first_order, None, flags)
    seconds = library.autograd.grad(
        again,
        inputs_of_second,
        [direction(x, i + 50, convert) for i, x in enumerate(again)],
        allow_unused=True,
    )
    return Gradients(first_order, filled(seconds, inputs_of_second, library), flags)


def filled(grads: Any, inputs: list[Any], library: types.ModuleType) -> list[Any]:
    """The gradients, zeros for those that are None."""
    return [
        library.zeros_like(x) if grad is None else grad
        for grad, x in zip(grads, inputs, strict=True)
    ]


def direction(result: Any, seed: int, convert: Converter) -> Any:
    """A random tensor of the result's shape and dtype, the same one in both libraries."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(tuple(result.shape), generator=generator, dtype=torch.float64)
    if convert.widen:
        return convert(values.float())  # the numbers that the narrower run was given
    return convert(values.to(getattr(torch, str(result.dtype).rpartition(".")[2])))


def tensors_in(value: Any) -> list[Any]:
    """The tensors in nested containers, each once, in order."""
    found: list[Any] = []

    def visit(item: Any) -> None:
        if is_tensor(item):
            if all(item is not known for known in found):
                found.append(item)
        elif isinstance(item, dict):
            for part in item.values():
                visit(part)
        elif isinstance(item, (list, tuple)):
            for part in item:
                visit(part)

    visit(value)
    return found


def check_kind(result: Any) -> None:
    """Refuses results of a kind that kuai leaves out.

    Raises:
        Excluded: a result is complex, sparse or quantised.
    """
    for tensor in tensors_in(result):
        if tensor.is_complex():
            raise Excluded("complex result")
        if tensor.layout != torch.strided:
            raise Excluded("sparse result")
        if tensor.is_quantized:
            raise Excluded("quantised result")
    if isinstance(result, complex) or (isinstance(result, torch.dtype) and result.is_complex):
        raise Excluded("complex result")


def excluded_by_name(op: OpInfo, sample: SampleInput) -> None:
    """Refuses the samples that `supported.py` excludes, with its reason.

    Raises:
        Excluded: it is one of them.
    """
    for name, applies, reason in EXCLUDED_SAMPLES:
        if name == op.name and applies(sample):
            raise Excluded(reason)


def describe(error: BaseException) -> str:
    """One line about an exception."""
    text = str(error).strip().splitlines()
    first = text[0] if text else ""
    if isinstance(error, Mismatch):
        return first
    return f"{type(error).__name__}: {first}"


def summary(sample: SampleInput) -> str:
    """The sample in short: shapes for tensors, values for the rest."""
    parts = [brief(sample.input), *map(brief, sample.args)]
    parts += [f"{key}={brief(value)}" for key, value in sample.kwargs.items()]
    return f"({', '.join(parts)})"[:300]


def brief(value: Any) -> str:
    """`float32[2, 3]` for a tensor; containers item by item."""
    if isinstance(value, torch.Tensor):
        gaps = "" if value.is_contiguous() else " strided"
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}{gaps}"
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        inside = ", ".join(map(brief, value))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    return repr(value)
