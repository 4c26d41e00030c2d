"""What a primitive operation is, and how it is applied: run now, or handed to a capture.

A primitive is one class with one instance. It says everything that the system knows of an
operation; `docs/architecture.md` explains the parts. Nothing else in the system lists operations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kuai import dtypes
from kuai.core import base
from kuai.core.base import TensorBase, View, inferring, new_counter, wrap
from kuai.core.tape import (
    FREED,
    Node,
    OutputEdge,
    _sequence,
    edge_of,
    edge_shape,
    enable_grad,
    mode,
    refresh,
)
from kuai.errors import DataDependentError, GradientError, ShapeError

if TYPE_CHECKING:
    from kuai.tensor import Tensor

_new = object.__new__
ndarray = np.ndarray
asarray = np.asarray

try:  # overflow, 1/0 and log(0) are results here, not warnings; errstate costs ten times as much
    from numpy._core.umath import _extobj_contextvar, _make_extobj

    SILENT: Any = _make_extobj(all="ignore")
    silence = _extobj_contextvar.set
    unsilence = _extobj_contextvar.reset
except ImportError:  # pragma: no cover - another NumPy

    def silence(_: Any) -> Any:
        """Turn NumPy's floating-point warnings off in this context."""
        return np.seterr(all="ignore")

    def unsilence(before: Any) -> None:
        """Undo `silence`."""
        np.seterr(**before)

    SILENT = None


class Meta:
    """Shape and dtype of an array that is not there: what `infer` takes and gives."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Sequence[int], dtype: dtypes.dtype) -> None:
        self.shape = tuple(shape)
        self.dtype = dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Meta) and self.shape == other.shape and self.dtype is other.dtype

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def __repr__(self) -> str:
        return f"{self.dtype.name}{list(self.shape)}"


PRIMITIVES: dict[str, Primitive] = {}

Interceptor = Callable[["Primitive", tuple[Any, ...], dict[str, Any]], Any]
intercept: Interceptor | None = None


def checked_when_run(
    condition: Callable[[], Any], error: type[Exception], message: str, value: Any = None
) -> None:
    """Have the program that is being captured raise unless a condition holds when it runs.

    Code that looks at values to refuse them says so with this, for tensors that have none yet.

    Args:
        condition: gives a bool tensor; with a `value` one of its shape, true where all is well.
        error: the class of what is raised.
        message: its text; `{}` is the first element of `value` that is refused.
        value: a tensor of integers.
    """
    check = getattr(intercept, "check", None)
    if check is not None:
        check(condition(), error, message, value)


@contextmanager
def intercepted(interceptor: Interceptor) -> Iterator[None]:
    """Hand every application of a primitive to `interceptor` instead of running it."""
    global intercept
    before, intercept = intercept, interceptor
    try:
        yield
    finally:
        intercept = before


@contextmanager
def plainly() -> Iterator[None]:
    """Run primitives, whoever may be listening."""
    global intercept
    before, intercept = intercept, None
    try:
        yield
    finally:
        intercept = before


@contextmanager
def observe(callback: Callable[[Primitive, tuple[Any, ...], dict[str, Any], Any], None]) -> Any:
    """Call `callback(primitive, inputs, parameters, result)` after each application."""
    before = intercept

    def run_and_tell(
        primitive: Primitive, inputs: tuple[Any, ...], parameters: dict[str, Any]
    ) -> Any:
        if before is not None:
            result = before(primitive, inputs, parameters)
        else:
            result = primitive.run(inputs, parameters)
        callback(primitive, inputs, parameters, result)
        return result

    with intercepted(run_and_tell):
        yield


def primitive(cls: type[Primitive]) -> Any:
    """Class decorator: make the one instance, and put it into the table under its name."""
    instance = cls()
    instance.name = cls.__name__.rstrip("_")
    if not instance.gradient_name:
        words = instance.name.split("_")
        instance.gradient_name = "".join(w[:1].upper() + w[1:] for w in words) + "Backward0"
    instance.__doc__ = cls.__doc__
    instance.prepare()
    PRIMITIVES[instance.name] = instance
    return instance


NO_PARAMETERS: dict[str, Any] = {}
GRAD, RESULT, INPUT, SHAPE, DTYPE, PARAMETER, INPUTS, SHAPES, REST = range(9)


class Primitive:
    """Base of all primitives. See `docs/architecture.md`."""

    name: str = ""
    gradient_name: str = ""
    inputs: ClassVar[tuple[str, ...]] = ("x",)  # "*name", at the end, is any number of them
    variadic: ClassVar[bool] = False  # one tuple of inputs, named by `inputs[0]`
    differentiable: ClassVar[bool] = True
    is_view: ClassVar[bool] = False
    broadcasts: ClassVar[bool] = False  # gradients are summed to the shapes of the inputs
    used_by: ClassVar[tuple[tuple[int, ...], ...]] = ()  # whose gradients need each saved input
    # The same result from other primitives, `decompose(*inputs, **parameters)`, on tensors. A
    # capture records those instead, so that a compiler need not know this one; eager runs `kernel`.
    decompose: ClassVar[Any] = None
    # How a compiled program computes one element: `lower(emit, *elements, **parameters)`, with
    # `kuai.compiler.emit.scalars.Emit`. Where there is none, programs call `kernel`.
    lower: ClassVar[Any] = None
    # Of a reduction: the number, for a dtype, that changes nothing, `identity(dtype)`, and how
    # two elements become one, `combine(emit, x, y)`.
    identity: ClassVar[Any] = None
    combine: ClassVar[Any] = None
    # The first gradients, as `gradient` gives them, but of arrays and in arrays: for a walk that
    # nothing records.
    backward: ClassVar[Any] = None
    # Where the result's elements lie among those of the first input: `alias(x, **parameters)` gives
    # a view of the array `x`, or a tuple of them, and raises ValueError where memory does not allow
    # it. Values of a graph never change, so that a compiled copy may be a view.
    alias: ClassVar[Any] = None
    is_identity: ClassVar[bool] = False  # whether the results are just the first inputs
    aliased: ClassVar[int] = 0  # the number of that input, where it is not the first
    may_fail: ClassVar[bool] = False  # whether the values can be refused when a program runs
    has_effects: ClassVar[bool] = False  # whether it matters beyond its results, as printing does
    integers_may_fail: ClassVar[bool] = False  # the same, where the result is of integers
    # Where that is because of indices out of range: `bounds(*metas, **parameters)` gives, for each
    # input that is checked, its number, and below what its elements must be. What was checked once
    # in a program need not be feared again.
    bounds: ClassVar[Any] = None
    pieces: ClassVar[Any] = None  # the result is made of the inputs: what lies where
    zeros_between: ClassVar[bool] = False  # whether zeros lie where `pieces` puts nothing
    pull: ClassVar[Any] = None  # one element of the result, read at computed positions
    # Whether that is one slice of the first input along its first dimension, at the number that the
    # second one is (negative: from the end): `item(*metas, **parameters)`. A loop that reads it in
    # each round then needs no copy.
    item: ClassVar[Any] = None
    here: ClassVar[tuple[str, ...]] = ()  # the inputs that `pull` takes from its own position
    # How a product's elements are computed, one after the other, `product(kinds, *metas,
    # **parameters)`, with `kuai.compiler.products.Kinds`; `None` where programs call the kernel.
    product: ClassVar[Any] = None
    push: ClassVar[Any] = None  # where an element goes, for each position of `push_domain`
    push_domain: ClassVar[Any] = None
    meet: ClassVar[Any] = None  # what stands where `push` puts a value onto an older one
    onto: ClassVar[str] = ""  # the input that `push` starts from; from zeros without one
    fold: ClassVar[Any] = None  # the state after one more element along the dimension `dim`
    fold_start: ClassVar[Any] = None  # the state before the first
    merge: ClassVar[Any] = None  # one state of two, where elements may be walked side by side
    folded: ClassVar[Any] = None  # the result's element, of a state
    before: ClassVar[Any] = None  # whether one element must come before another, in a sorted row
    running: ClassVar[bool] = True  # whether there is one after each element, or after the last
    silent: ClassVar[bool] = False  # whether NumPy never warns in the kernel, on its own floats

    kernel: Callable[..., Any]
    gradient: Callable[..., Any]

    def _infer(self, *metas: Meta, **parameters: Any) -> Meta | tuple[Meta, ...]:
        """Shape and dtype of the result; by default those of the kernel's result on zeros.

        Raises:
            ShapeError: the shapes do not fit.
        """
        arrays = [np.zeros(m.shape, m.dtype.numpy) for m in metas]
        token = silence(SILENT)
        try:
            result = self.kernel(*arrays, **parameters)
        except (ValueError, IndexError) as error:
            raise ShapeError(f"{self.name}: {error}; got {_list(metas)}") from None
        finally:
            unsilence(token)
        if isinstance(result, tuple):
            return tuple(_meta(r) for r in result)
        return _meta(result)

    infer: Callable[..., Any] = _infer

    # -- applying ---------------------------------------------------------------------------

    def __call__(self, *inputs: Any, **parameters: Any) -> Any:
        if intercept is not None:
            return intercept(self, inputs, parameters)
        return self.run(inputs, parameters)

    def run(self, inputs: Sequence[Any], parameters: dict[str, Any], payload: Any = None) -> Any:
        """Compute the result now, and record it where a gradient is wanted.

        Args:
            inputs: tensors, and Python numbers where the primitive takes them.
            parameters: what the kernel gets by name.
            payload: the result, where it is known already (a captured value).
        """
        if payload is None:
            token = None if self.is_view else silence(SILENT)
            try:
                if len(inputs) == 1:
                    array = inputs[0]._payload
                    payload = self.kernel(array, **parameters) if parameters else self.kernel(array)
                else:
                    arrays = [x._payload if isinstance(x, TensorBase) else x for x in inputs]
                    payload = self.kernel(*arrays, **parameters)
            except Exception as error:
                self.explain(error, inputs, parameters)
                raise
            finally:
                if token is not None:
                    unsilence(token)
        if not self.variadic:
            if len(inputs) == 1:
                return self.finish_one(payload, inputs[0], parameters)
            if len(inputs) == 2 and not parameters and isinstance(inputs[0], TensorBase):
                return self.finish_two(payload, *inputs)
        return self.finish(payload, inputs, parameters)

    def run_two(self, x: Any, y: Any) -> Any:
        """`run` for two tensors and no parameters."""
        token = silence(SILENT)
        try:
            payload = self.kernel(x._payload, y._payload)
        except Exception as error:
            self.explain(error, (x, y), NO_PARAMETERS)
            raise
        finally:
            unsilence(token)
        return self.finish_two(payload, x, y)

    def finish(self, payload: Any, inputs: Sequence[Any], parameters: dict[str, Any]) -> Any:
        """The tensor (or tensors) with the result of a kernel, recorded where a gradient is wanted.

        Args:
            payload: what the kernel gave, or the values that a capture holds in its place.
            inputs: what it was computed from.
            parameters: what the kernel got by name.
        """
        if type(payload) is not ndarray:
            if type(payload) is tuple:
                return self._finish_all(payload, inputs, parameters)
            if isinstance(payload, np.generic) or not hasattr(payload, "graph"):
                payload = asarray(payload)
        result = _new(base.tensor_class)
        result._payload = payload
        result._requires_grad = False
        result._grad = result._node = result._view = result._hooks = None
        if self.is_view:
            source = inputs[0]
            counter = result._counter = source._counter
            result._view = View(source, self, parameters, counter[1])
        else:
            result._counter = new_counter() if inferring else [0, 0]
        if self.differentiable:
            for x in inputs:
                if isinstance(x, TensorBase):
                    if x._view is not None:
                        refresh(x)
                    if x._requires_grad:
                        if mode.grad:
                            self.record(result, inputs, parameters)
                        break
        return result

    def finish_one(self, payload: Any, x: Any, parameters: dict[str, Any]) -> Any:
        """`finish` for a single input, written out at length to be quick."""
        if type(payload) is not ndarray:
            if isinstance(payload, np.generic):
                payload = asarray(payload)
            else:
                return self.finish(payload, (x,), parameters)
        result = _new(base.tensor_class)
        result._payload = payload
        result._requires_grad = False
        result._grad = result._node = result._view = result._hooks = None
        if self.is_view:
            counter = result._counter = x._counter
            result._view = View(x, self, parameters, counter[1])
        else:
            result._counter = counter = new_counter() if inferring else [0, 0]
        if self.differentiable:
            if x._view is not None:
                refresh(x)
            if x._requires_grad and mode.grad and payload.dtype.kind in "fV":
                result._requires_grad = True
                node = result._node = Node()
                node.primitive = self
                node.parameters = parameters
                node.shape = payload.shape
                node.numpy_dtype = payload.dtype
                node.sequence = _sequence()
                edge = x._node
                node.edges = (x if edge is None else edge,)
                if self._keeps_inputs:
                    node.saved = (x,)
                    node.versions = (x._counter[0],)
                elif self._keeps_result:
                    node.saved = ()
                if self._keeps_result:
                    node.result = (payload, counter, counter[0])
                if self._keeps_shapes:
                    array = x._payload
                    node.shapes = ((array.shape, array.dtype),)
        return result

    def _finish_all(
        self, payloads: tuple[Any, ...], inputs: Sequence[Any], parameters: dict[str, Any]
    ) -> tuple[Tensor, ...]:
        results = tuple([wrap(p if hasattr(p, "graph") else np.asarray(p)) for p in payloads])
        if self.differentiable and mode.grad and any(edge_of(x) is not None for x in inputs):
            node = self._node(inputs, parameters, results[0]._payload)
            node.outputs = len(results)
            if self._keeps_result:
                node.result = [(r._payload, r._counter, 0) for r in results]
            for i, r in enumerate(results):
                if is_floating(r._payload):
                    r._requires_grad = True
                    r._node = OutputEdge(node, i, r._payload.shape, r._payload.dtype)
        return results

    def finish_two(self, payload: Any, x: Any, y: Any) -> Any:
        """`finish` for two inputs, `x` being a tensor, and no parameters; at length to be quick."""
        if type(payload) is not ndarray:
            if isinstance(payload, np.generic):
                payload = asarray(payload)
            else:
                return self.finish(payload, (x, y), NO_PARAMETERS)
        result = _new(base.tensor_class)
        result._payload = payload
        result._requires_grad = False
        result._grad = result._node = result._view = result._hooks = None
        result._counter = new_counter() if inferring else [0, 0]
        if not self.differentiable:
            return result
        if x._view is not None:
            refresh(x)
        of_x, of_y = x._requires_grad, False
        if isinstance(y, TensorBase):
            if y._view is not None:
                refresh(y)
            of_y = y._requires_grad
        if (of_x or of_y) and mode.grad:
            kept = self._two[of_x, of_y] if payload.dtype.kind in "fV" else None
            if kept is None:
                self.record(result, (x, y), NO_PARAMETERS)
                return result
            result._requires_grad = True
            node = result._node = Node()
            node.primitive = self
            node.parameters = NO_PARAMETERS
            node.shape = payload.shape
            node.numpy_dtype = payload.dtype
            node.sequence = _sequence()
            node.edges = (
                (x if x._node is None else x._node) if of_x else None,
                (y if y._node is None else y._node) if of_y else None,
            )
            if self._keeps_inputs:
                first, second = kept
                node.saved = (x if first else None, y if second else None)
                node.versions = (
                    x._counter[0] if first else 0,
                    y._counter[0] if second and isinstance(y, TensorBase) else 0,
                )
        return result

    def record(self, result: TensorBase, inputs: Sequence[Any], parameters: dict[str, Any]) -> None:
        """Put a node on the tape for `result`."""
        payload = result._payload
        if payload.dtype.kind not in "fV":
            return
        node = result._node = self._node(inputs, parameters, payload)
        if self._keeps_result:
            counter = result._counter
            node.result = (payload, counter, counter[0])
        result._requires_grad = True

    def _node(self, inputs: Sequence[Any], parameters: dict[str, Any], payload: Any) -> Node:
        node = Node()
        node.primitive = self
        node.parameters = parameters
        node.shape = payload.shape
        node.numpy_dtype = payload.dtype
        node.sequence = _sequence()
        if len(inputs) == 2:
            x, y = inputs
            node.edges = (
                (x if x._node is None else x._node)
                if isinstance(x, TensorBase) and x._requires_grad
                else None,
                (y if y._node is None else y._node)
                if isinstance(y, TensorBase) and y._requires_grad
                else None,
            )
        else:
            node.edges = [
                (x if x._node is None else x._node)
                if isinstance(x, TensorBase) and x._requires_grad
                else None
                for x in inputs
            ]
        if self._keeps_inputs:
            saved: Sequence[Any] = inputs
            if self._kept is not None:
                saved = [inputs[i] for i in self._kept]
                if self._rest:
                    saved += inputs[self._rest :]
            elif self._needed is not None:
                saved = self._wanted(inputs, node.edges)
            node.saved = saved
            node.versions = [x._counter[0] if isinstance(x, TensorBase) else 0 for x in saved]
        elif self._keeps_result:
            node.saved = ()
        return self._with_shapes(node, inputs) if self._keeps_shapes else node

    def _with_shapes(self, node: Node, inputs: Sequence[Any]) -> Node:
        node.shapes = [
            (x._payload.shape, x._payload.dtype) if isinstance(x, TensorBase) else ((), None)
            for x in inputs
        ]
        return node

    def explain(self, error: Exception, inputs: Sequence[Any], parameters: dict[str, Any]) -> None:
        """After a kernel failed: raise what `infer` has to say about it, if anything."""
        if isinstance(error, AttributeError):
            for x in inputs:
                if not isinstance(x, (TensorBase, int, float)):
                    kind = type(x).__name__
                    raise TypeError(f"{self.name}(): expected a Tensor, not {kind}") from None
        if isinstance(error, (ValueError, IndexError, TypeError)) and type(self).infer is not (
            Primitive.infer
        ):
            metas = [meta_of(x) for x in inputs if isinstance(x, TensorBase)]
            if len(metas) == len(inputs):
                try:
                    self.infer(*metas, **parameters)
                except (ShapeError, IndexError, RuntimeError) as better:
                    raise better from None
        if isinstance(error, ValueError):
            metas = [meta_of(x) for x in inputs if isinstance(x, TensorBase)]
            raise ShapeError(f"{self.name}: {error}; got {_list(metas)}") from None

    # -- differentiating --------------------------------------------------------------------

    def prepare(self) -> None:
        """Read from the signature of `gradient` what a node has to keep."""
        self._plan: list[tuple[int, Any]] = []
        self._kept: list[int] | None = None if self.variadic else []
        self._rest = 0
        self._keeps_result = self._keeps_inputs = self._keeps_shapes = False
        self._takes_grad_and_inputs = False
        function = getattr(type(self), "gradient", None) or self.backward
        if function is None:
            self.differentiable = False  # type: ignore[misc]
            return
        code = function.__code__
        for name in code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]:
            self._plan.append(self._source(name))
        if self._kept == list(range(len(self.inputs))) and not self._rest:
            self._kept = None  # all of them
        self._takes_grad_and_inputs = [kind for kind, _ in self._plan] == [GRAD] + [INPUT] * (
            len(self._plan) - 1
        )
        self._needed: dict[tuple[bool, ...], tuple[bool, ...]] | None = None
        if self.used_by:
            self._needed = {
                wanted: tuple(any(wanted[j] for j in users) for users in self.used_by)
                for wanted in itertools.product((False, True), repeat=len(self.used_by))
            }
        # For `finish_two`: which of two inputs to keep, given which of them want a gradient; `None`
        # where a node keeps something else.
        self._two: dict[Any, Any] = {}
        unusual = self._keeps_result or self._keeps_shapes or self._kept or self._rest
        for wanted in itertools.product((False, True), repeat=2):
            needed = self._needed[wanted] if self._needed and len(self.inputs) == 2 else None
            keeps = (self._keeps_inputs, self._keeps_inputs)
            self._two[wanted] = None if unusual else needed or keeps

    def _wanted(self, inputs: Sequence[Any], edges: Sequence[Any]) -> Sequence[Any]:
        """The inputs, without those that only gradients nobody wants would need."""
        assert self._needed is not None
        if len(edges) == 2:
            first, second = edges
            needed = self._needed[first is not None, second is not None]
            x, y = inputs
            return (x if needed[0] else None, y if needed[1] else None)
        needed = self._needed[tuple([edge is not None for edge in edges])]
        return [x if keep else None for x, keep in zip(inputs, needed, strict=True)]

    def _source(self, name: str) -> tuple[int, Any]:
        if name == "grad":
            return GRAD, None
        if name == "result":
            self._keeps_result = True
            return RESULT, None
        if self.variadic and name == self.inputs[0]:
            self._keeps_inputs = True
            return INPUTS, None
        if self.variadic and name == self.inputs[0] + "_shapes":
            self._keeps_shapes = True
            return SHAPES, None
        if name in self.inputs:
            self._keeps_inputs = True
            assert self._kept is not None
            self._kept.append(self.inputs.index(name))
            return INPUT, len(self._kept) - 1
        if self.inputs[-1] == "*" + name:
            self._keeps_inputs = True
            self._rest = len(self.inputs) - 1
            return REST, None
        stem, _, kind = name.rpartition("_")
        if stem in self.inputs and kind in ("shape", "dtype"):
            self._keeps_shapes = True
            return (SHAPE if kind == "shape" else DTYPE), self.inputs.index(stem)
        return PARAMETER, name

    def gradients(self, node: Node, grad: Any) -> Sequence[Any]:
        """Call `gradient` with what it names, and evaluate what the edges want."""
        if node.saved:
            self._check_versions(node)
        arguments: list[Any] = []
        if self._takes_grad_and_inputs:  # most do
            arguments = [grad, *node.saved] if node.saved else [grad]
            plan: list[tuple[int, Any]] = []
        else:
            plan = self._plan
        for kind, key in plan:
            if kind == GRAD:
                arguments.append(grad)
            elif kind == INPUT:
                arguments.append(node.saved[key])
            elif kind == RESULT:
                arguments.append(self._result(node))
            elif kind == PARAMETER:
                arguments.append(node.parameters[key])
            elif kind == SHAPE:
                arguments.append(node.shapes[key][0])
            elif kind == DTYPE:
                arguments.append(dtypes.from_numpy_dtype(node.shapes[key][1]))
            elif kind == INPUTS:
                arguments.append(node.saved)
            elif kind == REST:
                arguments.append(node.saved[len(self._kept or ()) :])
            else:
                arguments.append([shape for shape, _ in node.shapes])
        if self.backward is not None and not mode.grad and intercept is None:
            return self._gradients_of_arrays(node, arguments)
        result = self.gradient(*arguments)
        if not isinstance(result, (tuple, list)):
            if len(node.edges) == 1 and isinstance(result, TensorBase) and not self.broadcasts:
                return (result,)
            result = (result,)
        grads = [
            None if edge is None or g is None else g if isinstance(g, TensorBase) else g()
            for edge, g in zip(node.edges, result, strict=True)
        ]
        if self.broadcasts:
            for i, g in enumerate(grads):
                if g is not None:
                    shape = edge_shape(node.edges[i])
                    if g._payload.shape != shape:
                        grads[i] = PRIMITIVES["sum"].to_shape(g, shape)  # type: ignore[attr-defined]
        return grads

    def _gradients_of_arrays(self, node: Node, arguments: Sequence[Any]) -> Sequence[Any]:
        token = silence(SILENT)
        try:
            result = self.backward(
                *[x._payload if isinstance(x, TensorBase) else x for x in arguments]
            )
            if not isinstance(result, tuple):
                return (wrap(asarray(result)),)
            grads: list[Any] = []
            for edge, g in zip(node.edges, result, strict=True):
                if edge is None or g is None:
                    grads.append(None)
                    continue
                array = asarray(g() if callable(g) else g)
                if self.broadcasts and array.shape != edge_shape(edge):
                    array = _summed_to(array, edge_shape(edge))
                grads.append(wrap(array))
            return grads
        finally:
            unsilence(token)

    def _check_versions(self, node: Node) -> None:
        for x, version in zip(node.saved, node.versions, strict=True):
            if x is not None and isinstance(x, TensorBase) and x._counter[0] != version:
                raise _changed(x._payload, x._counter[0], version, node)

    def _result(self, node: Node) -> Any:
        if isinstance(node.result, list):
            return tuple(
                self._unpack(node, saved, OutputEdge(node, i, saved[0].shape, saved[0].dtype))
                for i, saved in enumerate(node.result)
            )
        if node.result is None:
            raise GradientError("the saved result of this operation has already been freed")
        return self._unpack(node, node.result, node)

    def _unpack(self, node: Node, saved: tuple[Any, list[int], int], edge: Any) -> Tensor:
        payload, counter, version = saved
        if counter[0] != version:
            raise _changed(payload, counter[0], version, node)
        result = wrap(payload)
        result._counter = counter
        if mode.grad and is_floating(payload):
            result._requires_grad = True
            result._node = edge
        return result

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __reduce__(self) -> Any:
        return PRIMITIVES.__getitem__, (self.name,)

    def __deepcopy__(self, memo: Any) -> Primitive:
        return self


class ViewPrimitive(Primitive):
    """A primitive whose result lies in its input's memory."""

    is_view = True

    def _alias(self, x: np.ndarray, **parameters: Any) -> np.ndarray:
        return self.kernel(x, **parameters)

    alias: ClassVar[Callable[..., Any]] = _alias

    def retake(self, x: TensorBase, view: View) -> None:
        """Take the view anew after its source changed on the tape or in the graph."""
        retaking = getattr(intercept, "retaking", None)
        if retaking is not None:
            retaking(x)
        with enable_grad():
            fresh = self(view.source, **view.parameters)
        x._payload = fresh._payload
        x._node = fresh._node
        x._requires_grad = fresh._requires_grad


def _summed_to(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The gradient of a broadcast input: summed over what broadcasting added."""
    extra = grad.ndim - len(shape)
    kernel = PRIMITIVES["sum"].kernel
    if grad.shape[extra:] == shape:
        return asarray(kernel(grad, dim=tuple(range(extra)), keepdim=False))
    stretched = [i for i in range(grad.ndim) if i < extra or shape[i - extra] == 1]
    return asarray(kernel(grad, dim=tuple(stretched), keepdim=True)).reshape(shape)


def is_floating(payload: Any) -> bool:
    """Whether an array (or captured value) has a floating type; bfloat16's kind is V."""
    return payload.dtype.kind in "fV"


def meta_of(x: TensorBase) -> Meta:
    """Shape and dtype of a tensor."""
    return Meta(x._payload.shape, x.dtype)


def _meta(array: Any) -> Meta:
    array = np.asarray(array)
    return Meta(array.shape, dtypes.from_numpy_dtype(array.dtype))


def _list(metas: Sequence[Meta]) -> str:
    return ", ".join(map(repr, metas)) or "no tensors"


def data_dependent(name: str) -> DataDependentError:
    """The error of a primitive whose result's shape depends on values."""
    error = DataDependentError(
        f"{name}: the shape of the result depends on the values of the input, "
        "so it cannot be captured"
    )
    error.advice = (
        "keep the shape, with kuai.where(mask, x, 0) or a product with the mask; or do this "
        "outside of the compiled function"
    )
    return error


def _changed(payload: Any, version: int, expected: int, node: Node) -> GradientError:
    name = dtypes.from_numpy_dtype(payload.dtype).name
    return GradientError(
        "one of the variables needed for gradient computation has been modified by an inplace "
        f"operation: [{name} tensor of shape {list(payload.shape)}], saved by {node.name()}, is "
        f"at version {version}; expected version {expected} instead. Hint: clone() it before "
        "changing it."
    )


__all__ = [
    "FREED",
    "PRIMITIVES",
    "Meta",
    "Primitive",
    "ViewPrimitive",
    "edge_shape",
    "intercepted",
    "meta_of",
    "observe",
    "primitive",
]
