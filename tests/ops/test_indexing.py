"""Indexing and assignment, gathering and scattering."""

from __future__ import annotations

import numpy as np
import pytest

import kuai


def grid() -> kuai.Tensor:
    return kuai.arange(24.0, dtype=kuai.float64).reshape(2, 3, 4)


BASIC = [0, -1, slice(1, 3), (slice(None), slice(0, 3, 2)), (..., 1), None, (0, None, slice(2))]
ADVANCED = [
    [1, 0],
    (slice(None), [2, 0]),
    ([0, 1], slice(None), [3, 0]),
    (..., [[0, 1], [2, 3]]),
    np.array([True, False]),
    (1, [0, 2]),
]


@pytest.mark.parametrize("index", BASIC)
def test_numbers_slices_none_and_ellipsis_give_views(index):
    x = grid()
    part = x[index]
    assert np.array_equal(part.numpy(), grid().numpy()[index])
    part.fill_(-1.0)
    expected = grid().numpy()
    expected[index] = -1
    assert np.array_equal(x.numpy(), expected)


@pytest.mark.parametrize("index", ADVANCED)
def test_lists_arrays_and_masks_give_copies(index):
    x = grid()
    part = x[index]
    assert isinstance(part, kuai.Tensor)
    part += 1
    assert np.array_equal(x.numpy(), grid().numpy())


def test_a_number_beside_an_index_tensor_selects_first_as_in_pytorch():
    x = grid()
    assert x[0, :, kuai.tensor([1, 2])].shape == (3, 2)  # NumPy would give (2, 3)
    assert x[kuai.tensor([0, 1]), :, kuai.tensor([1, 2])].shape == (2, 3)


@pytest.mark.parametrize("index", [*BASIC, *ADVANCED])
def test_assignment_sends_gradients_to_the_value_and_away_from_what_it_replaced(index):
    x = kuai.ones(2, 3, 4, dtype=kuai.float64, requires_grad=True)
    value = kuai.tensor(2.0, dtype=kuai.float64, requires_grad=True)
    y = x * 3
    y[index] = value
    y.sum().backward()
    replaced = np.zeros((2, 3, 4))
    replaced[index] = 1
    assert np.array_equal(x.grad.numpy(), 3 * (1 - replaced))
    assert value.grad.item() == replaced.sum()


def test_an_element_read_several_times_gathers_all_gradients():
    x = kuai.zeros(3, 2, requires_grad=True)
    x[[1, 1, -2, 0]].sum().backward()
    assert x.grad.tolist() == [[1, 1], [3, 3], [0, 0]]


def test_assigning_into_a_leaf_that_requires_grad_is_an_error():
    x = kuai.zeros(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x[0] = 1.0
    with kuai.no_grad():
        x[0] = 1.0
    assert x.tolist() == [1, 0, 0]


def test_assigning_to_what_backward_needs_is_an_error():
    x = kuai.ones(3, requires_grad=True)
    y = x * 1
    z = (y * y).sum()
    y[0] = 5.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_a_view_sees_an_assignment_to_its_source_and_its_gradient():
    x = kuai.ones(4, requires_grad=True)
    y = x * 2
    view = y[1:3]
    y[2] = 10.0
    view.sum().backward()
    assert view.tolist() == [2, 10]
    assert x.grad.tolist() == [0, 2, 0, 0]


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (5, IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
        ((0, 0, 0, 0), IndexError, "too many indices for tensor of dimension 3"),
        (slice(None, None, -1), ValueError, "step must be greater than zero"),
        (1.5, IndexError, "only integers, slices"),
        (np.array([9]), IndexError, "index 9 is out of bounds for dimension 0 with size 2"),
        (np.array([True]), IndexError, "The shape of the mask"),
        (np.array([0.5]), IndexError, "must be long, int, byte or bool"),
        (([0, 1], [0, 1, 2]), IndexError, r"could not be broadcast together with shapes \[2\]"),
    ],
)
def test_a_wrong_index_says_what_is_wrong(index, error, message):
    with pytest.raises(error, match=message):
        grid()[index]


def test_a_list_cannot_be_assigned():
    with pytest.raises(TypeError, match="can't assign a list"):
        grid()[0] = [1, 2]


def test_a_value_that_does_not_fit_is_a_shape_error():
    x = grid()
    with pytest.raises(RuntimeError, match="must match the existing size"):
        x[0] = kuai.ones(5, dtype=kuai.float64)
    with pytest.raises(RuntimeError, match="cannot be broadcast to indexing result"):
        x[[0, 1]] = kuai.ones(5, dtype=kuai.float64)


def test_scatter_undoes_gather():
    x = kuai.rand(3, 4)
    order = kuai.rand(3, 4).argsort(1)
    assert kuai.equal(kuai.zeros(3, 4).scatter(1, order, x.gather(1, order)), x)


@pytest.mark.parametrize("value", [-1, 4])
def test_gather_and_scatter_refuse_positions_out_of_range(value):
    x, index = kuai.rand(3, 4), kuai.tensor([[value]])
    with pytest.raises(RuntimeError, match=f"index {value} is out of bounds for dimension 1"):
        x.gather(1, index)
    with pytest.raises(RuntimeError, match=f"index {value} is out of bounds for dimension 1"):
        x.scatter(1, index, 1.0)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
def test_scatter_reduce_has_the_gradient_of_finite_differences(reduce, include_self):
    kuai.manual_seed(0)
    index = kuai.tensor([[0, 0, 2], [1, 1, 1]])
    x = kuai.rand(2, 4, dtype=kuai.float64, requires_grad=True)
    src = kuai.rand(2, 3, dtype=kuai.float64, requires_grad=True)
    assert kuai.autograd.gradcheck(
        lambda x, src: x.scatter_reduce(1, index, src, reduce, include_self=include_self),
        (x, src),
    )


def test_index_add_adds_what_repeats():
    x = kuai.zeros(3, 2).index_add(0, kuai.tensor([0, 0, 2]), kuai.ones(3, 2), alpha=2)
    assert x.tolist() == [[4, 4], [0, 0], [2, 2]]


def test_assigning_one_value_under_a_mask_needs_no_positions():
    x = kuai.arange(6).reshape(2, 3)
    x[x > 2] = 0
    assert x.tolist() == [[0, 1, 2], [0, 0, 0]]


def test_masked_scatter_takes_the_source_in_order_and_gives_it_the_gradient():
    mask = kuai.tensor([True, False, True])
    source = kuai.tensor([1.0, 2.0, 3.0], requires_grad=True)
    result = kuai.zeros(3).masked_scatter(mask, source)
    (result * kuai.tensor([10.0, 20.0, 30.0])).sum().backward()
    assert result.tolist() == [1, 0, 2]
    assert source.grad.tolist() == [10, 30, 0]
