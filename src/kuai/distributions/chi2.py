"""The chi-squared distribution."""

from __future__ import annotations

from typing import Any

from kuai.distributions import constraints
from kuai.distributions.gamma import Gamma
from kuai.tensor import Tensor


class Chi2(Gamma):
    """The distribution of a sum of `df` squared standard normal numbers.

    Args:
        df: the degrees of freedom.
    """

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        super().__init__(0.5 * df, 0.5, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return super().expand(batch_shape, self._get_checked_instance(Chi2, _instance))

    @property
    def df(self) -> Tensor:
        """The degrees of freedom."""
        return self.concentration * 2
