"""Singular values and principal components from random projections."""

from __future__ import annotations

import pytest

import kuai


@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_a_matrix_of_low_rank_is_found_whole(shape: tuple[int, int]) -> None:
    kuai.manual_seed(0)
    m, n = shape
    A = kuai.randn(m, 3, dtype=kuai.float64) @ kuai.randn(3, n, dtype=kuai.float64)
    u, s, v = kuai.svd_lowrank(A, q=4)
    kuai.testing.assert_close(u @ kuai.diag(s) @ v.mT, A)
    kuai.testing.assert_close(s[:3], kuai.linalg.svdvals(A)[:3])


def test_principal_components_do_not_see_the_means() -> None:
    kuai.manual_seed(0)
    A = kuai.randn(20, 4, dtype=kuai.float64)
    _, s, _ = kuai.pca_lowrank(A + 100.0)
    kuai.testing.assert_close(s, kuai.linalg.svdvals(A - A.mean(0)))


def test_more_components_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="q"):
        kuai.pca_lowrank(kuai.rand(3, 2), q=3)
