"""What is no tensor where one is needed is a TypeError that names the function and the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import kuai

FUNCTIONS = (
    "reshape transpose softmax cumsum sort gather cat stack where clamp mean std matmul mm bmm "
    "flatten squeeze unsqueeze permute topk norm tril diag flip roll split unbind masked_fill"
).split()


@pytest.mark.parametrize(
    "wrong", [[1.0, 2.0], "a", None, object()], ids=["list", "str", "None", "object"]
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_tensors_refuses_what_is_none(name: str, wrong: Any) -> None:
    with pytest.raises(TypeError):
        getattr(kuai, name)(wrong, wrong)


def test_the_error_names_the_argument() -> None:
    with pytest.raises(TypeError, match=r"reshape\(\): argument 'input' \(position 1\) must be"):
        kuai.reshape([1.0], (1,))
    with pytest.raises(TypeError, match=r"argument 'other' must be Tensor, not list"):
        kuai.matmul(kuai.ones(2, 2), other=[1.0])
    with pytest.raises(TypeError, match=r"block_diag\(\): expected a Tensor, not float"):
        kuai.block_diag(1.5)
    with pytest.raises(TypeError, match=r"det\(\): argument 'A'"):
        kuai.linalg.det([[1.0]])


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(kuai.errors.ShapeError):
        kuai.reshape(kuai.ones(3), (2, 2))


def test_numpys_names_of_arguments_are_taken() -> None:
    x = kuai.rand(2, 3)
    assert kuai.equal(kuai.softmax(x, axis=1), x.softmax(1))
    assert kuai.equal(x.softmax(axis=1), x.softmax(1))
    assert kuai.equal(x.std(axis=0, keepdims=True), x.std(0, keepdim=True))
    assert kuai.equal(x.argmax(axis=1), x.argmax(1))
    assert kuai.equal(kuai.sort(a=x, axis=0).values, x.sort(0).values)
    assert kuai.equal(kuai.add(x1=x, x2=x), x + x)
    assert kuai.equal(kuai.stack([x, x], axis=1), kuai.stack([x, x], 1))
    assert x.unsqueeze(axis=0).shape == (1, 2, 3)
    assert x.max(axis=0).indices.shape == (3,)
    with pytest.raises(TypeError):
        x.softmax(1, axis=1)
    with pytest.raises(TypeError):
        kuai.flatten(x, axis=1)


@pytest.mark.parametrize(
    "name",
    "remainder pow bitwise_and bitwise_left_shift xlogy ldexp clamp_min clamp_max rsub".split(),
)
def test_numbers_alone_are_no_operands(name: str) -> None:
    with pytest.raises(TypeError):
        getattr(kuai, name)(2, 3)


@pytest.mark.parametrize("tolerance", ["rtol", "atol"])
def test_a_tolerance_is_not_negative(tolerance: str) -> None:
    with pytest.raises(RuntimeError, match=tolerance):
        kuai.isclose(kuai.ones(1), kuai.ones(1), **{tolerance: -0.1})


class Doubling:
    """Knows how to stand beside a tensor."""

    def __radd__(self, other: Any) -> Any:
        return other * 2

    def __rmul__(self, other: Any) -> Any:
        return other * 3

    def __gt__(self, other: Any) -> Any:
        return other * 4


def test_whoever_knows_how_computes_with_tensors() -> None:
    x = kuai.tensor([1.0, 2.0])
    assert (x + Doubling()).tolist() == [2, 4]
    assert (x * Doubling()).tolist() == [3, 6]
    assert (x < Doubling()).tolist() == [4, 8]
    with pytest.raises(TypeError, match="unsupported operand"):
        x - Doubling()
    with pytest.raises(TypeError, match="unsupported operand"):
        x + "a"


def test_arrays_are_operands() -> None:
    x, array = kuai.tensor([1.0, 2.0]), np.array([3.0, 4.0])
    for found, expected in [
        (x * array, [3, 8]),
        (array - x, [2, 2]),
        (x**array, [1, 16]),
        (array / x, [3, 2]),
    ]:
        assert found.dtype is kuai.float64
        assert found.tolist() == expected
    assert (x == array).tolist() == [False, False]
    assert np.exp(x).tolist() == pytest.approx(x.exp().tolist())
    assert isinstance(np.exp(x), kuai.Tensor)
    assert x.sum(np.int64(0)).item() == 3
