"""Weight normalisation by a hook before every forward; `parametrizations` has the newer form.

Salimans and Kingma, "Weight Normalization" (2016), https://arxiv.org/abs/1602.07868
"""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

from kuai.nn.module import Module
from kuai.nn.parameter import Parameter, is_lazy
from kuai.nn.registry import unwatched
from kuai.tensor import Tensor

M = TypeVar("M", bound=Module)


def norm_except_dim(v: Tensor, pow: float = 2, dim: int = 0) -> Tensor:
    """The norms of the slices of `v` along `dim`, in a shape that broadcasts against `v`.

    Args:
        v: the tensor.
        pow: the order of the norm.
        dim: the dimension that is kept; -1 for the norm of all of `v`.
    """
    if dim == -1:
        return v.norm(pow)
    others = [d for d in range(v.dim()) if d != dim % v.dim()]
    return v.norm(pow, others, keepdim=True) if others else v.abs()


def normalized_weight(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """The weight of direction `v` and magnitude `g`: `v (g / ‖v‖)`."""
    return v * (g / norm_except_dim(v, 2, dim))


class WeightNorm:
    """The hook: computes the weight from `name_g` and `name_v`.

    Args:
        name: the weight's name.
        dim: the dimension along which norms are independent; `None` for one norm of all.
    """

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Tensor:
        """The weight from its magnitude and direction."""
        g = getattr(module, self.name + "_g")
        v = getattr(module, self.name + "_v")
        return normalized_weight(v, g, self.dim)

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        """Put the hook on a block, and its two parameters in the place of the weight."""
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm) and hook.name == name:
                raise RuntimeError(
                    f"Cannot register two weight_norm hooks on the same parameter {name}"
                )
        fn = WeightNorm(name, dim)
        weight = getattr(module, name)
        if is_lazy(weight):
            raise ValueError(
                "The module passed to `WeightNorm` can't have uninitialized parameters. Make sure "
                "to run the dummy forward before applying weight normalization"
            )
        del module._parameters[name]
        g = norm_except_dim(weight.detach(), 2, fn.dim)
        module.register_parameter(name + "_g", Parameter(g))
        module.register_parameter(name + "_v", Parameter(weight.data))
        setattr(module, name, fn.compute_weight(module))
        module.register_forward_pre_hook(fn)
        return fn

    def remove(self, module: Module) -> None:
        """Make the weight a parameter again."""
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[self.name + "_g"]
        del module._parameters[self.name + "_v"]
        setattr(module, self.name, Parameter(weight.data))

    def __call__(self, module: Module, inputs: Any) -> None:
        weight = self.compute_weight(module)
        with unwatched():  # each call does it again
            setattr(module, self.name, weight)


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Split a weight into a magnitude `name_g` and a direction `name_v`.

    Args:
        module: the block.
        name: the weight's name.
        dim: the dimension along which norms are independent; `None` for one norm of all.

    Returns:
        The block.
    """
    warnings.warn(
        "`kuai.nn.utils.weight_norm` is deprecated in favor of "
        "`kuai.nn.utils.parametrizations.weight_norm`.",
        FutureWarning,
        stacklevel=2,
    )
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Make a weight that `weight_norm` has split one parameter again.

    Raises:
        ValueError: there is no such weight.
    """
    for number, hook in module._forward_pre_hooks.items():
        if isinstance(hook, WeightNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[number]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")


__all__ = ["WeightNorm", "remove_weight_norm", "weight_norm"]
