"""Functions of the top-level namespace whose signatures differ from `nn.functional`'s."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import kuai  # noqa: E402


def results(library: Any, *reduction: int) -> list[np.ndarray]:
    """What the functions give."""
    a, b = library.tensor([0.1, 0.5, 0.3, 0.9]), library.tensor([0.2, 0.3, 0.8, 0.4])
    signs, signs2 = (b - 0.35).sign(), library.tensor([1.0, -1.0])
    w = library.tensor([[0.1, 0.2, 0.3], [0.5, 0.4, 0.1]])
    named = {"reduction": reduction[0]} if reduction else {}
    return [
        library.kl_div(a.log(), b, *reduction),
        library.cosine_embedding_loss(w, w * 2 - 0.1, signs2, 0.0, *reduction),
        library.hinge_embedding_loss(a, signs, 1.0, *reduction),
        library.margin_ranking_loss(a, b, signs, 0.1, *reduction),
        library.poisson_nll_loss(a, b, True, True, 1e-8, reduction[0] if reduction else 1),
        library.triplet_margin_loss(w, w + 1, w + 2, **named),
        library.binary_cross_entropy_with_logits(a, b, None, None, *reduction),
        library.embedding(w, library.tensor([0, 1, 1])),
        library.hardshrink(a, 0.3),
        a.hardshrink(0.3),
        (a - 0.3).prelu(library.tensor([0.2])),
        library.prelu(a - 0.3, library.tensor([0.2])),
    ]


@pytest.mark.parametrize("reduction", [(), (0,), (1,), (2,)])
def test_they_agree_with_pytorch(reduction: tuple[int, ...]) -> None:
    for ours, theirs in zip(results(kuai, *reduction), results(torch, *reduction), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)


def test_a_reduction_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 is not a valid value"):
        kuai.kl_div(kuai.ones(1), kuai.ones(1), 3)
