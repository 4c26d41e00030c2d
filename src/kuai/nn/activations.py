"""Activation layers: functions applied element by element."""

from __future__ import annotations

import warnings
from typing import Any

from kuai import dtypes, ops
from kuai.nn import functional as F
from kuai.nn import init as initial
from kuai.nn.module import Module
from kuai.nn.parameter import Parameter
from kuai.tensor import Tensor


def _in_place(layer: Any) -> str:
    return ", inplace=True" if layer.inplace else ""


class ReLU(Module):
    """`max(x, 0)`.

    Args:
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.
    """

    inplace: bool

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.relu(input, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return "inplace=True" if self.inplace else ""


class LeakyReLU(Module):
    """`x` where it is positive, else `negative_slope * x`.

    Args:
        negative_slope: the factor of negative values.
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.
    """

    negative_slope: float
    inplace: bool

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"negative_slope={self.negative_slope}" + _in_place(self)


class RReLU(Module):
    """Leaky ReLU whose slope is drawn anew for every element, in training.

    Args:
        lower: the least slope.
        upper: the greatest slope.
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.

    Source: Xu et al. (2015), Empirical Evaluation of Rectified Activations.
    """

    lower: float
    upper: float
    inplace: bool

    def __init__(
        self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False
    ) -> None:
        super().__init__()
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"lower={self.lower}, upper={self.upper}" + _in_place(self)


class Hardtanh(Module):
    """`x` kept between two values.

    Args:
        min_val: the least value.
        max_val: the greatest value.
        inplace: whether to change the input itself.
        min_value: deprecated name of `min_val`.
        max_value: deprecated name of `max_val`.

    Shape:
        input `(*)`, output the same.
    """

    min_val: float
    max_val: float
    inplace: bool

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        super().__init__()
        for old, new, value in (("min", "min_val", min_value), ("max", "max_val", max_value)):
            if value is not None:
                warnings.warn(
                    f"keyword argument `{old}_value` is deprecated and rename to `{new}`",
                    FutureWarning,
                    stacklevel=2,
                )
        self.min_val = min_val if min_value is None else min_value
        self.max_val = max_val if max_value is None else max_value
        self.inplace = inplace
        if self.max_val <= self.min_val:
            raise AssertionError("max_val must be larger than min_val")

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"min_val={self.min_val}, max_val={self.max_val}" + _in_place(self)


class ReLU6(Hardtanh):
    """`min(max(x, 0), 6)`.

    Args:
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        """The options."""
        return "inplace=True" if self.inplace else ""


class Hardsigmoid(Module):
    """`relu6(x + 3) / 6`.

    Args:
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.
    """

    inplace: bool

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.hardsigmoid(input, self.inplace)


class Hardswish(Module):
    """`x * relu6(x + 3) / 6`.

    Args:
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.

    Source: Howard et al. (2019), Searching for MobileNetV3.
    """

    inplace: bool

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.hardswish(input, self.inplace)


class ELU(Module):
    """`x` where it is positive, else `alpha * (exp(x) - 1)`.

    Args:
        alpha: minus the limit of the function.
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.

    Source: Clevert et al. (2016), Fast and Accurate Deep Network Learning by ELUs.
    """

    alpha: float
    inplace: bool

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"alpha={self.alpha}" + _in_place(self)


class CELU(Module):
    """`x` where it is positive, else `alpha * (exp(x / alpha) - 1)`.

    Args:
        alpha: minus the limit of the function.
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.

    Source: Barron (2017), Continuously Differentiable Exponential Linear Units.
    """

    alpha: float
    inplace: bool

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.celu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"alpha={self.alpha}" + _in_place(self)


class SELU(Module):
    """`scale * elu(x, alpha)`, which keeps mean 0 and variance 1.

    Args:
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.

    Source: Klambauer et al. (2017), Self-Normalizing Neural Networks.
    """

    inplace: bool

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.selu(input, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return "inplace=True" if self.inplace else ""


class GELU(Module):
    """`x` times the probability that a standard normal variable is below `x`.

    Args:
        approximate: `"none"`, or `"tanh"` for an approximation by that function.

    Shape:
        input `(*)`, output the same.

    Source: Hendrycks and Gimpel (2016), Gaussian Error Linear Units.
    """

    approximate: str

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """The options."""
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """`x * sigmoid(x)`, also called swish.

    Args:
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.
    """

    inplace: bool

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.silu(input, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return "inplace=True" if self.inplace else ""


class Mish(Module):
    """`x * tanh(softplus(x))`.

    Args:
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.

    Source: Misra (2020), Mish: A Self Regularized Non-Monotonic Activation Function.
    """

    inplace: bool

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.mish(input, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return "inplace=True" if self.inplace else ""


class Sigmoid(Module):
    """`1 / (1 + exp(-x))`.

    Shape:
        input `(*)`, output the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return ops.sigmoid(input)


class LogSigmoid(Module):
    """`log(1 / (1 + exp(-x)))`.

    Shape:
        input `(*)`, output the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.logsigmoid(input)


class Tanh(Module):
    """Hyperbolic tangent.

    Shape:
        input `(*)`, output the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return ops.tanh(input)


class Tanhshrink(Module):
    """`x - tanh(x)`.

    Shape:
        input `(*)`, output the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.tanhshrink(input)


class Softsign(Module):
    """`x / (1 + |x|)`.

    Shape:
        input `(*)`, output the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.softsign(input)


class Softplus(Module):
    """`log(1 + exp(beta x)) / beta`, a smooth ReLU.

    Args:
        beta: how sharp the bend is.
        threshold: where `beta x` is greater, the result is `x`.

    Shape:
        input `(*)`, output the same.
    """

    beta: float
    threshold: float

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """The options."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softshrink(Module):
    """`x` drawn towards 0 by `lambd`, and 0 between `-lambd` and `lambd`.

    Args:
        lambd: not negative.

    Shape:
        input `(*)`, output the same.
    """

    lambd: float

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """The options."""
        return str(self.lambd)


class Hardshrink(Module):
    """`x`, but 0 between `-lambd` and `lambd`.

    Args:
        lambd: the limit.

    Shape:
        input `(*)`, output the same.
    """

    lambd: float

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """The options."""
        return str(self.lambd)


class Threshold(Module):
    """`x` where it is greater than a threshold, else a given value.

    Args:
        threshold: the threshold.
        value: what replaces smaller elements.
        inplace: whether to change the input itself.

    Shape:
        input `(*)`, output the same.
    """

    threshold: float
    value: float
    inplace: bool

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        """The options."""
        return f"threshold={self.threshold}, value={self.value}" + _in_place(self)


class PReLU(Module):
    """`x` where it is positive, else `weight * x`, with a weight that is learnt.

    Args:
        num_parameters: 1, or the number of channels.
        init: the weight to begin with.
        device: of the weight.
        dtype: of the weight.

    Shape:
        input `(N, C, *)`, output the same, weight `(num_parameters,)`.

    Raises:
        ShapeError: the number of weights is neither 1 nor that of the channels.

    Source: He et al. (2015), Delving Deep into Rectifiers.
    """

    num_parameters: int
    weight: Tensor

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(ops.empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to its first value."""
        initial.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """The number of weights."""
        return f"num_parameters={self.num_parameters}"


class GLU(Module):
    """The first half of the input times the sigmoid of the second.

    Args:
        dim: the dimension that is halved.

    Shape:
        input `(*, 2 n, *)`, output `(*, n, *)`.

    Source: Dauphin et al. (2017), Language Modeling with Gated Convolutional Networks.
    """

    dim: int

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        """The options."""
        return f"dim={self.dim}"


__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]
