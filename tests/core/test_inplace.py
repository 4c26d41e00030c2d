"""Changes in place: what aliases see of them, and what the tape makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import kuai


def leaf(*values: float) -> Any:
    """A vector in float64 that wants its gradient."""
    return kuai.tensor(values, dtype=kuai.float64, requires_grad=True)


def test_all_aliases_see_a_change() -> None:
    x = kuai.zeros(2, 3)
    row, flat, turned, same = x[0], x.view(-1), x.T, x.detach()
    row.add_(1)
    assert flat.tolist() == [1, 1, 1, 0, 0, 0]
    assert turned[:, 0].tolist() == [1, 1, 1]
    assert same._version == x._version == 1


def test_a_copy_does_not_see_a_change() -> None:
    x = kuai.zeros(2)
    y = x.clone()
    x += 1
    assert y.tolist() == [0, 0]
    assert y._version == 0


def test_an_operator_in_place_keeps_the_object_and_the_memory() -> None:
    x = kuai.ones(2)
    before, pointer = x, x.data_ptr()
    x *= 3
    x -= 1
    x /= 2
    x **= 2
    assert x is before
    assert x.data_ptr() == pointer
    assert x.tolist() == [1, 1]


def test_the_result_is_stored_in_the_type_of_the_target() -> None:
    x = kuai.ones(2, dtype=kuai.float32)
    x += kuai.ones(2, dtype=kuai.float64)
    assert x.dtype is kuai.float32
    n = kuai.ones(2, dtype=kuai.int64)
    with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
        n += 0.5
    with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
        n /= 2
    assert n.tolist() == [1, 1]


def test_the_result_must_have_the_shape_of_the_target() -> None:
    x = kuai.ones(3)
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        x += kuai.ones(2, 3)
    x += kuai.ones(1)
    assert x.tolist() == [2, 2, 2]


def test_an_expanded_tensor_cannot_be_written() -> None:
    x = kuai.ones(3, 1).expand(3, 4)
    with pytest.raises(RuntimeError, match="refers to a single memory location"):
        x += 1


def test_a_source_that_overlaps_its_target_is_read_first() -> None:
    x = kuai.arange(5)
    x[1:] = x[:-1]
    assert x.tolist() == [0, 0, 1, 2, 3]
    y = kuai.arange(4).view(2, 2)
    y.copy_(y.T.clone())
    assert y.tolist() == [[0, 2], [1, 3]]
    z = kuai.arange(4).view(2, 2)
    z += z.T
    assert z.tolist() == [[0, 3], [3, 6]]


# -- leaves ------------------------------------------------------------------------------------


def test_a_leaf_that_wants_its_gradient_cannot_be_changed() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        x += 1
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        x[0] = 1
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        x[:1].mul_(2)
    assert x.tolist() == [1.0, 2.0]


def test_a_leaf_can_be_changed_where_nothing_is_recorded() -> None:
    x = leaf(1.0, 2.0)
    with kuai.no_grad():
        x += 1
        x[0] = 7
        x[1:].mul_(2)
    assert x.tolist() == [7.0, 6.0]
    assert x.is_leaf
    assert x.requires_grad


# -- what backward needs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operation",
    [
        lambda y: y * y,
        lambda y: y.exp(),
        lambda y: y.tanh(),
        lambda y: y.pow(3),
        lambda y: y @ y,
        lambda y: kuai.where(y > 0, y * y, y),
    ],
)
def test_changing_what_backward_needs_is_an_error(operation: Callable[[Any], Any]) -> None:
    x = leaf(1.0, 2.0)
    y = x * 1
    z = operation(y)
    y.add_(1)
    z.add_(1) if z.dim() else None
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_changing_a_result_that_backward_needs_is_an_error() -> None:
    y = leaf(1.0).exp()
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_changing_a_view_of_what_backward_needs_is_an_error() -> None:
    y = leaf(1.0, 2.0) * 1
    z = y * y
    y[:1].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_changing_through_detach_is_noticed_and_through_data_is_not() -> None:
    y = leaf(1.0, 2.0) * 1
    z = y * y
    y.detach().zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    x = leaf(1.0, 2.0)
    y = x * 1
    z = (y * y).sum()
    y.data.zero_()
    z.backward()
    assert x.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "operation", [lambda y: y + 1, lambda y: y * 3, lambda y: y.sum(), lambda y: y.view(2, 1)]
)
def test_changing_what_backward_does_not_need_is_none(operation: Callable[[Any], Any]) -> None:
    y = leaf(1.0, 2.0) * 1
    z = operation(y).clone()
    y.zero_()
    z.sum().backward()


def test_the_error_names_the_operation_and_the_versions() -> None:
    y = leaf(1.0, 2.0) * 1
    z = y.exp()
    z += 1
    with pytest.raises(RuntimeError, match=r"float64.*\[2\].*ExpBackward0.*version 1.*version 0"):
        z.sum().backward()


# -- gradients through changes -------------------------------------------------------------------


def test_the_gradient_flows_through_changes_in_place() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    y += 3
    y *= 5
    y.sum().backward()
    assert x.grad.tolist() == [10.0, 10.0]


def test_an_in_place_product_with_itself_needs_what_it_changes() -> None:
    y = leaf(3.0) * 1
    y.mul_(y)
    assert y.item() == 9.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_a_constant_takes_part_in_the_tape_once_written() -> None:
    x = leaf(1.0, 2.0)
    y = kuai.zeros(3, dtype=kuai.float64)
    y[:2] = x * 2
    assert y.requires_grad
    (y * y).sum().backward()
    assert x.grad.tolist() == [8.0, 16.0]


def test_overwriting_cuts_the_gradient_there() -> None:
    x = leaf(1.0, 2.0, 3.0)
    y = x * 2
    y[1] = 0
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 0.0, 2.0]


def test_a_view_taken_before_sees_the_gradient_of_a_later_change() -> None:
    x = leaf(1.0, 2.0)
    y = x * 1
    view = y[0]
    y.mul_(3)
    view.backward()
    assert x.grad.tolist() == [3.0, 0.0]


def test_the_base_sees_the_gradient_of_a_change_to_its_view() -> None:
    x = leaf(1.0, 2.0)
    y = x * 1
    y[0].mul_(4)
    y.sum().backward()
    assert x.grad.tolist() == [4.0, 1.0]


def test_a_view_of_a_view_writes_through_both() -> None:
    x = leaf(1.0, 2.0, 3.0, 4.0)
    y = x * 1
    y.view(2, 2)[1].mul_(5)
    y.t()
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 5.0, 5.0]


def test_two_views_are_changed_one_after_the_other() -> None:
    x = leaf(1.0, 2.0)
    y = x * 1
    a, b = y[:1], y[1:]
    a.mul_(b.clone())
    b.add_(a)
    y.sum().backward()  # y = [x0 x1, x1 + x0 x1]
    assert y.tolist() == [2.0, 4.0]
    assert x.grad.tolist() == [4.0, 3.0]


def test_a_change_within_no_grad_is_a_constant_to_the_tape() -> None:
    x = leaf(1.0, 2.0)
    y = x * 2
    with kuai.no_grad():
        y += 100
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_requires_grad_after_a_change_starts_from_there() -> None:
    x = kuai.ones(2)
    x += 1
    x.requires_grad_()
    (x * x).sum().backward()
    assert x.grad.tolist() == [4.0, 4.0]


def test_the_second_derivative_goes_through_a_change_of_a_view() -> None:
    x = leaf(2.0, 3.0)
    y = x * x
    y[0].mul_(x[1])
    (g,) = kuai.autograd.grad(y.sum(), x, create_graph=True)  # [2 x0 x1, x0² + 2 x1]
    assert g.tolist() == [12.0, 10.0]
    (h,) = kuai.autograd.grad(g.sum(), x)
    assert h.tolist() == [10.0, 6.0]


def test_a_view_stays_one_of_what_its_base_was_before_it_was_transposed_in_place() -> None:
    x = leaf(1.0, 2.0, 3.0)
    y = (x * 1).view(1, 3).clone()
    part = y[:, 1:]
    y.t_()
    y[2] = 7.0
    assert part.tolist() == [[2.0, 7.0]]
    (part * part).sum().backward()
    assert x.grad.tolist() == [0.0, 4.0, 0.0]


def test_a_leaf_is_transposed_in_place_where_nothing_is_recorded() -> None:
    x = kuai.ones(2, 3, requires_grad=True)
    with kuai.no_grad():
        x.t_()
    assert x.shape == (3, 2)
    assert x.requires_grad
    assert x.is_leaf


def test_copy_and_fill_cut_the_old_history() -> None:
    x, z = leaf(1.0, 2.0), leaf(5.0, 6.0)
    y = x * 2
    y.copy_(z)
    y.sum().backward()
    assert z.grad.tolist() == [1.0, 1.0]
    assert x.grad is None or x.grad.tolist() == [0.0, 0.0]


def test_a_halving_loop_differentiates() -> None:
    x = leaf(6.0)
    y = x * 1
    while y.abs().sum() > 1:
        y /= 2
    y.sum().backward()
    assert x.grad.item() == 0.125


def test_masks_and_lists_of_positions_are_assigned_with_gradients() -> None:
    x = leaf(1.0, 2.0, 3.0)
    y = x * 1
    y[y > 1.5] = x[:1] * 10
    y[[0, 0]] = 7.0
    y.sum().backward()
    assert y.tolist() == [7.0, 10.0, 10.0]
    assert x.grad.tolist() == [20.0, 0.0, 0.0]


def test_out_is_written_where_nothing_is_recorded() -> None:
    out = kuai.empty(2)
    result = kuai.add(kuai.ones(2), kuai.ones(2), out=out)
    assert result is out
    assert out.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        kuai.add(leaf(1.0, 2.0), 1.0, out=kuai.empty(2, dtype=kuai.float64))
