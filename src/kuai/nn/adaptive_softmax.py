"""A softmax over very many classes, of which few are frequent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kuai import dtypes, ops
from kuai.errors import ShapeError
from kuai.nn import functional as F
from kuai.nn.containers import ModuleList, Sequential
from kuai.nn.linear import Linear
from kuai.nn.module import Module
from kuai.tensor import Tensor


class _ASMoutput(NamedTuple):
    """The log probability of each target, and minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log softmax whose rare classes are reached through clusters, with smaller maps.

    Args:
        in_features: size of the last dimension of the input.
        n_classes: the number of classes, in falling frequency.
        cutoffs: where each cluster begins; the classes below the first are reached directly.
        div_value: by how much the map of a cluster is smaller than that of the one before.
        head_bias: whether the map to the frequent classes and the clusters has a bias.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        input `(N, in_features)` or `(in_features,)`, target `(N,)` or `()`; results: output, the
        target's log probability, of the target's shape, and loss, `()`.

    Raises:
        ValueError: the cutoffs are not rising numbers between 0 and `n_classes`.

    Source: Grave et al. (2017), Efficient softmax approximation for GPUs.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            cutoffs != sorted(set(cutoffs))
            or min(cutoffs) <= 0
            or max(cutoffs) > n_classes - 1
            or any(int(c) != c for c in cutoffs)
        ):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an "
                "increasing order, where each value is between 1 and n_classes-1"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **made)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(in_features // div_value ** (i + 1))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, bias=False, **made),
                    Linear(hidden, size, bias=False, **made),
                )
            )

    def reset_parameters(self) -> None:
        """Draw initial values anew."""
        self.head.reset_parameters()
        for to_hidden, to_classes in self.tail:
            to_hidden.reset_parameters()
            to_classes.reset_parameters()

    def forward(self, input: Tensor, target: Tensor) -> _ASMoutput:
        """The log probability of each target, and minus their mean.

        Raises:
            ShapeError: input and target do not fit.
            RuntimeError: there is no class of that number.
        """
        if target.ndim > 1 or input.ndim != target.ndim + 1:
            raise ShapeError(
                "0D or 1D target tensor expected, with an input of one dimension more, but got "
                f"{list(target.shape)} and {list(input.shape)}"
            )
        if target.ndim and input.shape[0] != target.shape[0]:
            raise ShapeError("Input and target should have the same size in the batch dimension.")
        low, high = int(target.min()), int(target.max())
        if low < 0 or high >= self.n_classes:
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                f"[{low}, {high}] were found. "
            )
        rows = input if target.ndim else input.unsqueeze(0)
        chosen = ops.gather(self.log_prob(rows), 1, target.reshape(-1, 1)).reshape(target.shape)
        return _ASMoutput(chosen, -ops.mean(chosen))

    def log_prob(self, input: Tensor) -> Tensor:
        """The log probabilities of all classes, `(N, n_classes)`, for inputs `(N, in_features)`."""
        head = F.log_softmax(self.head(input), 1)
        parts = [ops.narrow(head, 1, 0, self.shortlist_size)]
        for i, tail in enumerate(self.tail):
            of_cluster = ops.narrow(head, 1, self.shortlist_size + i, 1)
            parts.append(F.log_softmax(tail(input), 1) + of_cluster)
        return ops.cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class for each input."""
        return ops.argmax(self.log_prob(input), 1)


__all__ = ["AdaptiveLogSoftmaxWithLoss"]
