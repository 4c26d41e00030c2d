"""Handwritten digits: a small, real data set that comes with the package."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from kuai import ops

if TYPE_CHECKING:
    from kuai.tensor import Tensor

SPLIT_SEED = 1998
INK = 16  # each pixel counts the dark ones in a 4 by 4 square of the scan


def digits(train: bool | None = None, *, flatten: bool = False) -> tuple[Tensor, Tensor]:
    """1,797 handwritten digits from 13 people, as images of 8 by 8 pixels.

    The split is fixed: of each digit's images, a fifth, chosen by a fixed seed, is held out.

    Args:
        train: `True` for the four fifths to learn from (1,438 images), `False` for the fifth to
            test on (359), `None` for all, in the original order.
        flatten: give the images as rows of 64 pixels.

    Returns:
        `(images, labels)`: images of shape `(N, 1, 8, 8)`, or `(N, 64)` if `flatten`, float32
        from 0 (paper) to 1 (ink); labels of shape `(N,)`, int64 from 0 to 9.

    Examples:
        >>> images, labels = kuai.data.digits(train=False)
        >>> images.shape, labels.dtype
        (kuai.Size([359, 1, 8, 8]), kuai.int64)

    Source:
        E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
        Repository, 1998, doi:10.24432/C50P49 (CC BY 4.0); its test set, as scikit-learn carries it.
    """
    path = resources.files(__package__) / "digits.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        images, labels = content["images"], content["labels"]
    if train is not None:
        chosen = _held_out(labels) != train
        images, labels = images[chosen], labels[chosen]
    pixels = images.astype(np.float32) / INK
    shape = (-1, 64) if flatten else (-1, 1, 8, 8)
    return ops.from_numpy(pixels.reshape(shape)), ops.from_numpy(labels.astype(np.int64))


def _held_out(labels: np.ndarray) -> np.ndarray:
    """Which images belong to the test fifth: a fifth of each digit's."""
    # RandomState's stream is frozen by NumPy, so the split is the same everywhere and for ever.
    random = np.random.RandomState(SPLIT_SEED)
    chosen = np.zeros(len(labels), bool)
    for digit in range(10):
        images_of_digit = random.permutation(np.flatnonzero(labels == digit))
        chosen[images_of_digit[: round(len(images_of_digit) / 5)]] = True
    return chosen
