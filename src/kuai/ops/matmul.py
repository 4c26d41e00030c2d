"""Products of matrices, and what is composed from them."""

from __future__ import annotations

import math
import string
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import config, dtypes, ops
from kuai.core import primitive as primitives
from kuai.core import tape
from kuai.core.base import TensorBase
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.errors import DtypeError, ShapeError
from kuai.ops import movement, reduce
from kuai.ops.out import takes_out, write_out
from kuai.ops.pointwise import broadcast_shapes, is_known_as, lowered, sum_to, to_dtype

if TYPE_CHECKING:
    from kuai.tensor import Tensor


_WIDE = {np.dtype(np.float32), np.dtype(np.float64)}


def _matmul(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`x @ y`; NumPy has no product of bfloat16, and those of float16 are summed in float32."""
    if x.dtype is y.dtype and x.dtype in _WIDE and x.ndim == 2 and y.ndim == 2:
        return x.dot(y)  # the same product, with half of the overhead
    if x.dtype is not y.dtype and x.dtype != y.dtype:
        raise DtypeError(
            f"expected m1 and m2 to have the same dtype, but got: {x.dtype.name} != {y.dtype.name}"
        )
    if x.dtype.itemsize == 2 and x.dtype.kind in "fV":
        return np.matmul(x.astype(np.float32), y.astype(np.float32)).astype(x.dtype)
    return np.matmul(x, y)


@primitive
class matmul_(Primitive):
    """Product of matrices, or of batches of them that broadcast; both have 2 dimensions or more."""

    inputs = ("x", "y")
    gradient_name = "MmBackward0"
    kernel = staticmethod(_matmul)

    def infer(self, x: Meta, y: Meta) -> Meta:
        _same_dtype(x, y)
        if x.shape[-1] != y.shape[-2]:
            raise ShapeError(
                "mat1 and mat2 shapes cannot be multiplied "
                f"({x.shape[-2]}x{x.shape[-1]} and {y.shape[-2]}x{y.shape[-1]})"
            )
        batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
        return Meta((*batch, x.shape[-2], y.shape[-1]), x.dtype)

    used_by = ((1,), (0,))

    broadcasts = True

    def product(self, kinds, x, y):
        return kinds.matrices(x, y)

    def gradient(self, grad, x, y):
        def of_x() -> Any:
            return _product(grad, movement.matrix_transpose(y))

        def of_y() -> Any:
            return _product(movement.matrix_transpose(x), grad)

        return of_x, of_y

    def backward(self, grad, x, y):
        return lambda: _matmul(grad, y.swapaxes(-1, -2)), lambda: _matmul(x.swapaxes(-1, -2), grad)


def _product(x: Tensor, y: Tensor) -> Tensor:
    if primitives.intercept is None:
        return matmul_.run_two(x, y)  # type: ignore[call-arg]
    return matmul_(x, y)


def _same_dtype(x: Meta, y: Meta) -> None:
    if x.dtype is not y.dtype:
        raise DtypeError(
            f"expected m1 and m2 to have the same dtype, but got: {x.dtype.name} != {y.dtype.name}"
        )


def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of vectors, matrices, or broadcasting batches of matrices.

    Raises:
        ShapeError: the inner dimensions differ, or one tensor has no dimensions.
    """
    if out is not None:
        return write_out(out, matmul(input, other))
    a, b = input._payload.ndim, other._payload.ndim
    if a >= 2 and b >= 2:
        return _product(input, other)
    if a == 0 or b == 0:
        raise ShapeError(
            f"both arguments to matmul need to be at least 1D, but they are {a}D and {b}D"
        )
    if a == b == 1:
        return dot(input, other)
    x = movement.reshape(input, 1, -1) if a == 1 else input
    y = movement.reshape(other, -1, 1) if b == 1 else other
    result = matmul_(x, y)
    shape = result._payload.shape
    if a == 1:
        shape = shape[:-2] + shape[-1:]
    if b == 1:
        shape = shape[:-1]
    return movement.reshape(result, shape)


class Affine(Primitive):
    """`x @ weight.T`, for any number of leading dimensions, and what is added to it."""

    def product(self, kinds, x, weight, *bias):
        return kinds.matrices(x, weight, turned=True)


@primitive
class linear_(Affine):
    """`x @ weight.T + bias`, for any number of leading dimensions."""

    inputs = ("x", "weight", "bias")
    gradient_name = "AddmmBackward0"

    def kernel(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        result = _matmul(x, weight.T)
        result += bias
        return result

    def infer(self, x: Meta, weight: Meta, bias: Meta) -> Meta:
        _check_linear(x, weight, bias)
        return Meta((*x.shape[:-1], weight.shape[0]), x.dtype)

    def gradient(self, grad, x, weight):
        return (
            lambda: matmul(grad, weight),
            lambda: _of_weight(grad, x),
            lambda: sum_to(grad, grad._payload.shape[-1:]),
        )

    def backward(self, grad, x, weight):
        rows = grad if grad.ndim == 2 else grad.reshape(-1, grad.shape[-1])
        return (
            lambda: _matmul(grad, weight),
            lambda: _of_weight_on_arrays(rows, x),
            lambda: reduce.sum_.kernel(rows, dim=(0,), keepdim=False),  # type: ignore[call-arg]
        )


@primitive
class linear_without_bias(Affine):
    """`x @ weight.T`, for any number of leading dimensions."""

    inputs = ("x", "weight")
    gradient_name = "MmBackward0"
    used_by = ((1,), (0,))

    def kernel(self, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return _matmul(x, weight.T)

    def infer(self, x: Meta, weight: Meta) -> Meta:
        _check_linear(x, weight)
        return Meta((*x.shape[:-1], weight.shape[0]), x.dtype)

    def gradient(self, grad, x, weight):
        return lambda: matmul(grad, weight), lambda: _of_weight(grad, x)

    def backward(self, grad, x, weight):
        rows = grad if grad.ndim == 2 else grad.reshape(-1, grad.shape[-1])
        return lambda: _matmul(grad, weight), lambda: _of_weight_on_arrays(rows, x)


def _of_weight(grad: Tensor, x: Tensor) -> Tensor:
    """The gradient of a linear map's weight, as it lies: one product, over all rows."""
    if grad._payload.ndim != 2:
        grad = movement.reshape(grad, -1, grad._payload.shape[-1])
        x = movement.reshape(x, -1, x._payload.shape[-1])
    return _product(movement.matrix_transpose(grad), x)


def _of_weight_on_arrays(rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    return _matmul(rows.T, x if x.ndim == 2 else x.reshape(-1, x.shape[-1]))


def _check_linear(x: Meta, weight: Meta, bias: Meta | None = None) -> None:
    if x.dtype is not weight.dtype:
        raise DtypeError(
            f"linear: the input is {x.dtype.name}, but weight is {weight.dtype.name}; "
            "convert one of them (mat1 and mat2 must have the same dtype)"
        )
    if not x.shape or x.shape[-1] != weight.shape[-1]:
        last = x.shape[-1] if x.shape else "missing"
        raise ShapeError(
            f"linear: the input's last dimension is {last}, but weight {weight.shape} needs "
            f"{weight.shape[-1]} (the input's shape is {list(x.shape)})"
        )
    if bias is None:
        return
    if x.dtype is not bias.dtype:
        raise DtypeError(f"linear: the input is {x.dtype.name}, but bias is {bias.dtype.name}")
    if bias.shape not in ((weight.shape[0],), (), (1,)):
        raise ShapeError(
            f"linear: bias has the shape {list(bias.shape)}, but weight "
            f"{weight.shape} needs [{weight.shape[0]}]"
        )


def linear(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *, out: Tensor | None = None
) -> Tensor:
    """The affine map `input @ weight.T + bias`.

    Shape:
        input `(*, in_features)`, weight `(out_features, in_features)` or `(in_features,)`,
        bias `(out_features,)`; the result `(*, out_features)`.

    Raises:
        ShapeError: the input's last dimension is not `in_features`.
        DtypeError: the types differ.
    """
    if out is not None:
        return write_out(out, linear(input, weight, bias))
    x, w = input._payload, weight._payload
    if (
        x.dtype != w.dtype
        or not x.ndim
        or x.shape[-1] != w.shape[-1]
        or (bias is not None and bias._payload.dtype != w.dtype)
    ):
        if config.autocast_dtype is not None:
            input, weight, bias = lowered(input, weight, bias)
        given = (input, weight) if bias is None else (input, weight, bias)
        _check_linear(*[Meta(t._payload.shape, t.dtype) for t in given])
    if w.ndim == 1:
        result = matmul(input, weight)
        return result if bias is None else result + bias
    if bias is not None and x.ndim > 1 and bias._payload.shape == w.shape[:1]:
        return linear_(input, weight, bias)
    if bias is None and x.ndim > 1:
        return linear_without_bias(input, weight)
    result = matmul(input, movement.matrix_transpose(weight))
    return result if bias is None else result + bias


def _need_dims(name: str, *expected: tuple[Any, int]) -> None:
    for x, ndim in expected:
        if x._payload.ndim != ndim:
            raise ShapeError(
                f"{name}: expected a tensor of {ndim} dimensions, got one of {x._payload.ndim} "
                f"with shape {list(x._payload.shape)}"
            )


def mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of two matrices."""
    if input._payload.ndim != 2 or mat2._payload.ndim != 2:
        _need_dims("mm", (input, 2), (mat2, 2))
    result = _product(input, mat2)
    return result if out is None else write_out(out, result)


@takes_out
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two batches of matrices, without broadcasting."""
    _need_dims("bmm", (input, 3), (mat2, 3))
    if input._payload.shape[0] != mat2._payload.shape[0]:
        raise ShapeError(
            "bmm: batch1 and batch2 must have the same number of batches, got "
            f"{input._payload.shape[0]} and {mat2._payload.shape[0]}"
        )
    return matmul_(input, mat2)


@takes_out
def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    _need_dims("mv", (input, 2), (vec, 1))
    return tape.called(matmul(input, vec), "MvBackward0")


@takes_out
def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The inner product of two vectors of one length."""
    _need_dims("dot", (input, 1), (tensor, 1))
    if input._payload.shape != tensor._payload.shape:
        raise ShapeError(
            "inconsistent tensor size, expected tensor "
            f"{list(input._payload.shape)} and src {list(tensor._payload.shape)} to have the same "
            "number of elements"
        )
    if input.dtype is not tensor.dtype:
        raise DtypeError(
            "dot : expected both vectors to have same dtype, but found "
            f"{input.dtype.name} and {tensor.dtype.name}"
        )
    product = matmul_(movement.reshape(input, 1, -1), movement.reshape(tensor, -1, 1))
    return tape.called(movement.reshape(product, ()), "DotBackward0")


vdot = dot


@takes_out
def inner(input: Tensor, other: Tensor) -> Tensor:
    """The sums of products over both last dimensions."""
    if input._payload.ndim == 0 or other._payload.ndim == 0:
        return input * other
    return tensordot(input, other, ([-1], [-1]))


@takes_out
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """The products of each element of one vector with each of the other."""
    _need_dims("outer", (input, 1), (vec2, 1))
    return movement.reshape(input, -1, 1) * vec2


ger = outer


def _add_product(input: Any, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    if product._payload.dtype.kind in "iub":  # integers are scaled by integers
        alpha, beta = int(alpha), int(beta)
    if not is_known_as(alpha, 1):
        product = product * alpha
    if is_known_as(beta, 0):
        return product  # NaN in `input` does not count then
    if input._payload.dtype != product._payload.dtype:
        raise DtypeError(
            f"expected input to have the dtype {product.dtype.name}, got {input.dtype.name}"
        )
    shape = product._payload.shape
    if broadcast_shapes(input._payload.shape, shape) != shape:
        raise ShapeError(
            f"expand({list(input._payload.shape)}, size={list(shape)}): the input does not "
            "broadcast to the shape of the product"
        )
    return _scaled(input, beta) + product


def _scaled(input: Any, beta: Any) -> Any:
    if is_known_as(beta, 1):
        return input
    product = input * beta
    return ops.where(ops.eq(beta, 0), 0, product) if isinstance(beta, TensorBase) else product


@takes_out
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """`beta * input + alpha * (mat1 @ mat2)`, of matrices."""
    return _add_product(input, mm(mat1, mat2), beta, alpha)


@takes_out
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """`beta * input + alpha * (mat @ vec)`."""
    return _add_product(input, mv(mat, vec), beta, alpha)


@takes_out
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """`beta * input + alpha * outer(vec1, vec2)`."""
    product = outer(vec1, vec2)
    if product.dtype is dtypes.bool_:
        alpha, beta = bool(alpha), bool(beta)
    if not is_known_as(alpha, 1):
        product = product * alpha
    return product if is_known_as(beta, 0) else _scaled(input, beta) + product


@takes_out
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """`beta * input + alpha * (batch1 @ batch2)`, of batches of matrices."""
    return _add_product(input, bmm(batch1, batch2), beta, alpha)


@takes_out
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1
) -> Tensor:
    """`beta * input + alpha *` the sum of the products of the batches."""
    products = bmm(batch1, batch2)
    return _add_product(input, reduce.sum(products, 0, dtype=products.dtype), beta, alpha)


@takes_out
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of several matrices."""
    result = matrices[0]
    for m in matrices[1:]:
        result = mm(result, m)
    return result


@takes_out
def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """The sums of products over `dims`: the last of `a` and the first of `b`, or two lists."""
    if hasattr(dims, "tolist"):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        ours = list(range(a._payload.ndim - dims, a._payload.ndim))
        theirs = list(range(dims))
    else:
        ours, theirs = (list(d) if not isinstance(d, int) else [d] for d in dims)
    ours = [movement.normalize_dim(d, a._payload.ndim) for d in ours]
    theirs = [movement.normalize_dim(d, b._payload.ndim) for d in theirs]
    if len(ours) != len(theirs):
        raise RuntimeError("both dimension lists should have same length")
    x, y = a._payload.shape, b._payload.shape
    for i, j in zip(ours, theirs, strict=True):
        if x[i] == 1 and y[j] != 1:
            b = reduce.sum(b, j, True, dtype=b.dtype)
        elif y[j] == 1 and x[i] != 1:
            a = reduce.sum(a, i, True, dtype=a.dtype)
        elif x[i] != y[j]:
            raise ShapeError(
                f"contracted dimensions need to match, but first has size {x[i]} in dim {i} and "
                f"second has size {y[j]} in dim {j}"
            )
    x, y = a._payload.shape, b._payload.shape
    left = [d for d in range(len(x)) if d not in ours]
    right = [d for d in range(len(y)) if d not in theirs]
    shared = math.prod([x[d] for d in ours])
    first = movement.reshape(
        movement.permute(a, (*left, *ours)), math.prod([x[d] for d in left]), shared
    )
    second = movement.reshape(
        movement.permute(b, (*theirs, *right)), shared, math.prod([y[d] for d in right])
    )
    product = matmul_(first, second)
    return movement.reshape(product, tuple([x[d] for d in left] + [y[d] for d in right]))


@takes_out
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: each element of `input` times all of `other`."""
    ndim = max(input._payload.ndim, other._payload.ndim)
    x = (1,) * (ndim - input._payload.ndim) + input._payload.shape
    y = (1,) * (ndim - other._payload.ndim) + other._payload.shape
    a = movement.reshape(
        input, tuple([n for pair in zip(x, (1,) * ndim, strict=True) for n in pair])
    )
    b = movement.reshape(
        other, tuple([n for pair in zip((1,) * ndim, y, strict=True) for n in pair])
    )
    return movement.reshape(a * b, tuple([m * n for m, n in zip(x, y, strict=True)]))


@takes_out
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product of vectors of three along `dim` (the first of size 3 by default)."""
    shape = broadcast_shapes(input._payload.shape, other._payload.shape)
    if dim is None:
        if 3 not in shape:
            raise RuntimeError("no dimension of size 3 in input")
        dim = shape.index(3)
    d = movement.normalize_dim(dim, len(shape))
    if input._payload.ndim != other._payload.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    if input._payload.shape[d] != 3 or other._payload.shape[d] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {d} must have length 3. Got "
            f"{input._payload.shape[d]} and {other._payload.shape[d]}"
        )
    a = [ops.select(input, d, i) for i in range(3)]
    b = [ops.select(other, d, i) for i in range(3)]
    from kuai.ops.joining import stack

    parts = [a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)]
    return stack(parts, d)


# -- einsum ----------------------------------------------------------------------------------------


def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products in Einstein's notation, also with `...`, and with lists of numbers.

    Raises:
        RuntimeError: the equation does not fit the operands.
    """
    if not isinstance(equation, str):
        equation, operands = _equation_of((equation, *operands))
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    terms, output = _parse(equation, operands)
    result, labels = _single(operands[0], terms[0], _needed(terms[1:], output))
    for i, (operand, term) in enumerate(zip(operands[1:], terms[1:], strict=True), start=1):
        needed = _needed(terms[i + 1 :], output)
        other, other_labels = _single(operand, term, needed | set(labels))
        result, labels = _contract(result, labels, other, other_labels, needed)
    drop = tuple(i for i, label in enumerate(labels) if label not in output)
    if drop:
        result = reduce.sum(result, drop)
        labels = [label for label in labels if label in output]
    return movement.permute(result, [labels.index(label) for label in output])


def _equation_of(arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    def text(numbers: Any) -> str:
        return "".join("..." if n is Ellipsis else string.ascii_letters[n] for n in numbers)

    operands = arguments[: len(arguments) // 2 * 2 : 2]
    equation = ",".join(text(n) for n in arguments[1 : len(arguments) // 2 * 2 : 2])
    if len(arguments) % 2:
        equation += "->" + text(arguments[-1])
    return equation, operands


def _parse(equation: str, operands: Any) -> tuple[list[list[str]], list[str]]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(operands):
        raise RuntimeError(
            "einsum(): the number of operands does not match the equation: "
            f"{len(operands)} for {len(texts)} terms in '{equation}'"
        )
    terms = []
    for text, x in zip(texts, operands, strict=True):
        named = text.replace("...", "")
        if not all(c in string.ascii_letters for c in named):
            raise RuntimeError(f"einsum(): invalid subscript in '{text}' of '{equation}'")
        rest = x._payload.ndim - len(named)
        if rest < 0 or (rest and "..." not in text):
            raise RuntimeError(
                "einsum(): the number of subscripts in the equation "
                f"({len(named)}) does not match the number of dimensions ({x._payload.ndim}) for "
                f"operand '{text}'"
            )
        before, _, after = text.partition("...")
        batch = [f"...{i}" for i in range(rest - 1, -1, -1)]  # counted from the last
        terms.append([*before, *batch, *after])
    used = [label for term in terms for label in term]
    batch = sorted({label for label in used if label[0] == "."}, key=lambda s: -int(s[3:]))
    if arrow:
        before, dots, after = right.partition("...")
        output = [*before, *(batch if dots else ()), *after]
    else:
        letters = sorted({c for c in used if c[0] != "."}, key=lambda c: c)
        output = batch + [c for c in letters if used.count(c) == 1]
    for label in output:
        if label not in used:
            raise RuntimeError(
                f"einsum(): output subscript {label} does not appear in the equation for any input "
                "operand"
            )
        if output.count(label) > 1:
            raise RuntimeError(f"einsum(): output subscript {label} appears more than once")
    return terms, output


def _needed(terms: list[list[str]], output: list[str]) -> set[str]:
    return {label for term in terms for label in term} | set(output)


def _single(x: Tensor, labels: list[str], needed: set[str]) -> tuple[Tensor, list[str]]:
    """Take diagonals of repeated labels, and sum over those that nobody needs."""
    labels = list(labels)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            if x._payload.shape[i] != x._payload.shape[j]:
                raise RuntimeError(
                    f"einsum(): subscript {label} is repeated but the sizes don't match, "
                    f"{x._payload.shape[j]} != {x._payload.shape[i]}"
                )
            x = ops.diagonal(x, 0, i, j)
            del labels[j], labels[i]
            labels.append(label)
    drop = tuple(i for i, label in enumerate(labels) if label not in needed)
    if drop:
        x = reduce.sum(x, drop)
        labels = [label for label in labels if label in needed]
    return x, labels


def _contract(
    a: Tensor, a_labels: list[str], b: Tensor, b_labels: list[str], needed: set[str]
) -> tuple[Tensor, list[str]]:
    """The product of two operands, as one batched product of matrices."""
    if a.dtype is not b.dtype and not a.is_floating_point() and not b.is_floating_point():
        common = dtypes.promote_types(a.dtype, b.dtype)  # one of them was summed, and is wider now
        a, b = to_dtype(a, common), to_dtype(b, common)
    sizes_a = dict(zip(a_labels, a._payload.shape, strict=True))
    sizes_b = dict(zip(b_labels, b._payload.shape, strict=True))
    for label in a_labels:
        n, m = sizes_a[label], sizes_b.get(label, 1)
        if 1 not in (n, m) and n != m:
            raise RuntimeError(
                f"einsum(): operands do not broadcast with remapped shapes: subscript {label} has "
                f"size {m} for one operand, which does not broadcast with previously seen size {n}"
            )
    # A size of 1 that broadcasts is summed away, or left to the other operand.
    for label in [label for label in a_labels if label in sizes_b]:
        if sizes_a[label] == 1 and sizes_b[label] != 1:
            a = movement.squeeze(a, a_labels.index(label))
            a_labels = [x for x in a_labels if x != label]
        elif sizes_b[label] == 1 and sizes_a[label] != 1:
            b = movement.squeeze(b, b_labels.index(label))
            b_labels = [x for x in b_labels if x != label]
    sizes = {
        **dict(zip(b_labels, b._payload.shape, strict=True)),
        **dict(zip(a_labels, a._payload.shape, strict=True)),
    }
    batch = [x for x in a_labels if x in b_labels and x in needed]
    summed = [x for x in a_labels if x in b_labels and x not in needed]
    left = [x for x in a_labels if x not in b_labels]
    right = [x for x in b_labels if x not in a_labels]

    def grouped(x: Tensor, labels: list[str], *groups: list[str]) -> Tensor:
        order = [labels.index(label) for group in groups for label in group]
        shape = [math.prod([sizes[label] for label in group]) for group in groups]
        return movement.reshape(movement.permute(x, order), tuple(shape))

    product = matmul_(
        grouped(a, a_labels, batch, left, summed), grouped(b, b_labels, batch, summed, right)
    )
    labels = batch + left + right
    return movement.reshape(product, tuple([sizes[label] for label in labels])), labels


__all__ = [
    "addbmm",
    "addmm",
    "addmv",
    "addr",
    "baddbmm",
    "bmm",
    "chain_matmul",
    "cross",
    "dot",
    "einsum",
    "ger",
    "inner",
    "kron",
    "linear",
    "matmul",
    "mm",
    "mv",
    "outer",
    "tensordot",
    "vdot",
]
