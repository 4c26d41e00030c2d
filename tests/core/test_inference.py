"""Tensors made in inference mode."""

from __future__ import annotations

import pytest

import kuai


def made_in_inference_mode() -> kuai.Tensor:
    with kuai.inference_mode():
        return kuai.ones(2) * 3


def test_what_inference_mode_makes_says_so() -> None:
    y = made_in_inference_mode()
    assert y.is_inference()
    assert y[0].is_inference()
    assert y.detach().is_inference()
    assert not y.clone().is_inference()
    assert not (y + 1).is_inference()


def test_a_view_of_a_normal_tensor_is_normal() -> None:
    x = kuai.ones(3)
    with kuai.inference_mode():
        assert not x[1:].is_inference()
        x.add_(1)
    assert x.tolist() == [2.0, 2.0, 2.0]
    assert not x.is_inference()


def test_inference_mode_can_be_left_within() -> None:
    with kuai.inference_mode():
        with kuai.inference_mode(False):
            assert not kuai.ones(1).is_inference()
        assert kuai.ones(1).is_inference()
    assert not kuai.ones(1).is_inference()


def test_the_tape_refuses_to_keep_an_inference_tensor() -> None:
    y = made_in_inference_mode()
    x = kuai.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="cannot be saved for backward"):
        x * y
    (x * y.clone() + y).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 3.0]


def test_an_inference_tensor_changes_only_in_inference_mode() -> None:
    y = made_in_inference_mode()
    for change in (lambda: y.add_(1), lambda: y.zero_(), lambda: y.__setitem__(0, 1.0)):
        with pytest.raises(RuntimeError, match="outside InferenceMode"):
            change()
    with pytest.raises(RuntimeError, match="requires_grad=True on inference tensor"):
        y.requires_grad_()
    assert y.tolist() == [3.0, 3.0]
    with kuai.inference_mode():
        y.add_(1)
    assert y.tolist() == [4.0, 4.0]
