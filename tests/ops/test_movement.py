"""Views and rearrangements: what they show, what they alias, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import kuai


def matrix() -> kuai.Tensor:
    return kuai.arange(6.0, dtype=kuai.float64).reshape(2, 3)


VIEWS = {
    "reshape": lambda x: x.reshape(3, 2),
    "view": lambda x: x.view(-1),
    "flatten": lambda x: x.flatten(),
    "unflatten": lambda x: x.unflatten(1, (3, 1)),
    "squeeze": lambda x: x.reshape(2, 1, 3).squeeze(1),
    "unsqueeze": lambda x: x.unsqueeze(-1),
    "transpose": lambda x: x.transpose(0, 1),
    "permute": lambda x: x.permute(1, 0),
    "movedim": lambda x: x.movedim(0, -1),
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "narrow": lambda x: x.narrow(1, 1, 2),
    "select": lambda x: x.select(1, 2),
    "diagonal": lambda x: x.diagonal(1),
    "unfold": lambda x: x.unfold(1, 2, 2),
    "as_strided": lambda x: x.as_strided((2, 2), (1, 3), 1),
    "split": lambda x: x.split(2, 1)[0],
    "chunk": lambda x: x.chunk(2)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "tensor_split": lambda x: x.tensor_split(2, 1)[1],
}


@pytest.mark.parametrize("take", VIEWS.values(), ids=VIEWS)
def test_a_view_shares_memory_and_version(take):
    x = matrix()
    view = take(x)
    view.zero_()
    assert (x == 0).sum().item() >= view.numel()
    assert x._version == view._version == 1


@pytest.mark.parametrize("take", VIEWS.values(), ids=VIEWS)
def test_a_view_has_the_gradient_of_finite_differences(take):
    x = matrix().requires_grad_()
    assert kuai.autograd.gradcheck(lambda x: take(x * 1), (x,))


OF_SEVERAL = {"split", "chunk", "unbind"}


@pytest.mark.parametrize("name", [name for name in VIEWS if name not in OF_SEVERAL])
def test_a_change_through_a_view_is_differentiated(name):
    take = VIEWS[name]
    x = matrix().requires_grad_()
    y = x * 1
    view = take(y)
    view.mul_(3.0)
    y.sum().backward()
    shown = matrix() * 0 + 1
    take(shown).mul_(3.0)
    assert np.array_equal(x.grad.numpy(), shown.numpy())


@pytest.mark.parametrize("name", sorted(OF_SEVERAL))
def test_one_view_of_several_is_not_changed_while_recording(name):
    x = matrix().requires_grad_() * 1
    with pytest.raises(kuai.errors.GradientError, match="returns multiple views"):
        VIEWS[name](x).mul_(3.0)
    with pytest.raises(kuai.errors.GradientError, match="returns multiple views"):
        VIEWS[name](x)[0:1].mul_(3.0)
    with pytest.raises(kuai.errors.GradientError, match="returns multiple views"):
        VIEWS[name](x)[0] = 1.0
    with kuai.no_grad():
        VIEWS[name](x).mul_(3.0)


def test_the_view_that_is_refused_is_named():
    x = matrix().requires_grad_() * 1
    with pytest.raises(kuai.errors.GradientError, match=r"^Output 1 of Unbind is a view"):
        x.unbind()[1].zero_()


def test_a_view_taken_without_recording_is_not_changed_while_recording():
    x = matrix().requires_grad_()
    for source in (x, x * 1):
        with kuai.no_grad():
            view = source.view(-1)
        with pytest.raises(kuai.errors.GradientError, match="created in no_grad mode"):
            view.mul_(2)
        with kuai.no_grad():
            view.mul_(2)
    with kuai.no_grad():
        of_nothing = (x * 1)[0]
    of_nothing.mul_(2)
    x.detach()[0].mul_(2)


COPIES = {
    "cat": lambda x: kuai.cat([x, x * 2], 1),
    "stack": lambda x: kuai.stack([x, x * 2], 1),
    "hstack": lambda x: kuai.hstack([x, x]),
    "vstack": lambda x: kuai.vstack([x, x]),
    "dstack": lambda x: kuai.dstack([x, x]),
    "flip": lambda x: x.flip(0, 1),
    "roll": lambda x: x.roll((1, 2), (0, 1)),
    "rot90": lambda x: x.rot90(),
    "repeat": lambda x: x.repeat(2, 1, 2),
    "tile": lambda x: x.tile(2),
    "repeat_interleave": lambda x: x.repeat_interleave(kuai.tensor([1, 0, 2]), 1),
    "diag_embed": lambda x: x.diag_embed(),
    "tril": lambda x: x.tril(),
    "triu": lambda x: x.triu(1),
    "block_diag": lambda x: kuai.block_diag(x, x),
    "meshgrid": lambda x: kuai.meshgrid(x[0], x[1], indexing="ij")[1],
    "select_scatter": lambda x: x.select_scatter(x[:, 0] * 5, 1, 2),
    "slice_scatter": lambda x: x.slice_scatter(x[:, :2] * 5, 1, 1),
    "diagonal_scatter": lambda x: x.diagonal_scatter(x[:, 0] * 5),
    "expand": lambda x: x.unsqueeze(0).expand(4, -1, -1),
}


@pytest.mark.parametrize("function", COPIES.values(), ids=COPIES)
def test_a_rearrangement_has_first_and_second_gradients(function):
    x = matrix().requires_grad_()
    assert kuai.autograd.gradcheck(function, (x,))
    assert kuai.autograd.gradgradcheck(lambda x: function(x * x), (x,))


def test_reshape_copies_only_where_the_memory_demands_it():
    x = matrix()
    x.reshape(3, 2)[0, 0] = 9.0
    x.T.reshape(-1)[1] = 8.0
    assert x.tolist() == [[9, 1, 2], [3, 4, 5]]
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        x.T.view(-1)


def test_a_dtype_view_reads_the_same_bytes():
    x = kuai.tensor([1.0, -2.0])
    assert x.view(kuai.int32).tolist() == [0x3F800000, -0x40000000]
    assert x.view(kuai.uint8).shape == (8,)


def test_in_place_forms_change_the_shape_of_the_tensor_itself():
    x = matrix()
    y = x * 1
    assert y.unsqueeze_(0).shape == (1, 2, 3)
    assert y.squeeze_().t_().shape == (3, 2)
    assert y.transpose_(0, 1).tolist() == x.tolist()


def test_cat_promotes_types_and_leaves_out_empty_vectors():
    x = kuai.cat([kuai.zeros(0), kuai.tensor([[1, 2]]), kuai.tensor([[0.5, 1.0]])])
    assert x.dtype is kuai.float32
    assert x.tolist() == [[1, 2], [0.5, 1]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: matrix().reshape(4), RuntimeError, r"shape '\[4\]' is invalid for input of size"),
        (lambda: matrix().unsqueeze(3), IndexError, r"expected to be in range of \[-3, 2\]"),
        (lambda: matrix().permute(0, 0), RuntimeError, "duplicate dims"),
        (lambda: matrix().expand(2, 4), RuntimeError, "must match the existing size"),
        (lambda: matrix().split([1, 3]), RuntimeError, "sum exactly to 2"),
        (lambda: kuai.cat([]), ValueError, "non-empty list"),
        (lambda: kuai.cat([matrix(), matrix().T]), RuntimeError, "Expected size 3 but got size 2"),
        (lambda: kuai.cat(matrix()), TypeError, "must be tuple of Tensors, not Tensor"),
        (lambda: kuai.stack([matrix(), matrix()[0]]), RuntimeError, "equal size"),
        (lambda: matrix().narrow(1, 2, 2), RuntimeError, "exceeds dimension size"),
        (lambda: matrix().as_strided((9,), (1,)), RuntimeError, "out of bounds for storage"),
        (lambda: len(kuai.tensor(1.0)), TypeError, "len"),
        (lambda: list(kuai.tensor(1.0)), TypeError, "iteration over a 0-d tensor"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_iterating_gives_views_of_the_rows():
    x = matrix()
    for row in x:
        row += 1
    assert x.tolist() == [[1, 2, 3], [4, 5, 6]]
