"""Spectral normalisation by a hook before every forward; `parametrizations` has the newer form.

Miyato et al., "Spectral Normalization for Generative Adversarial Networks" (2018),
https://arxiv.org/abs/1802.05957
"""

from __future__ import annotations

from typing import Any, TypeVar

from kuai import ops
from kuai.core.tape import no_grad
from kuai.nn.module import Module
from kuai.nn.parameter import Parameter, is_lazy
from kuai.nn.registry import unwatched
from kuai.tensor import Tensor

M = TypeVar("M", bound=Module)


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """The weight with `dim` as its rows, and all other dimensions as its columns."""
    if dim != 0:
        weight = weight.permute(dim, *(d for d in range(weight.dim()) if d != dim))
    return weight.reshape(weight.size(0), -1)


def unit(x: Tensor, eps: float) -> Tensor:
    """The vector divided by its norm (by `eps`, if that is greater)."""
    return x / x.norm().clamp_min(eps)


def random_unit(weight: Tensor, size: int, eps: float) -> Tensor:
    """A random unit vector of the weight's type."""
    return unit(ops.randn(size, dtype=weight.dtype), eps)


def output_dim(module: Module) -> int:
    """The dimension of a block's weight that counts its outputs."""
    return 1 if type(module).__name__.startswith("ConvTranspose") else 0


class SpectralNorm:
    """The hook: computes the weight from `name_orig`, and follows its largest singular value.

    Args:
        name: the weight's name.
        n_power_iterations: how many steps of the power method a call takes.
        dim: the dimension that counts the outputs.
        eps: the smallest norm to divide by.
    """

    _version = 1

    def __init__(
        self,
        name: str = "weight",
        n_power_iterations: int = 1,
        dim: int = 0,
        eps: float = 1e-12,
    ) -> None:
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.name = name
        self.dim = dim
        self.n_power_iterations = n_power_iterations
        self.eps = eps

    def reshape_weight_to_matrix(self, weight: Tensor) -> Tensor:
        """The weight as a matrix, a row an output."""
        return as_matrix(weight, self.dim)

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Tensor:
        """The weight divided by the estimate of its largest singular value."""
        weight = getattr(module, self.name + "_orig")
        u = getattr(module, self.name + "_u")
        v = getattr(module, self.name + "_v")
        matrix = as_matrix(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(unit(matrix.t().mv(u), self.eps))
                    u.copy_(unit(matrix.mv(v), self.eps))
            # The next call changes the buffers, and this one's backward still needs the values.
            u, v = u.clone(), v.clone()
        return weight / u.dot(matrix.mv(v))

    def remove(self, module: Module) -> None:
        """Make the weight a parameter again."""
        with no_grad():
            weight = self.compute_weight(module, do_power_iteration=False)
        for suffix in ("", "_u", "_v", "_orig"):
            delattr(module, self.name + suffix)
        module.register_parameter(self.name, Parameter(weight.detach()))

    def __call__(self, module: Module, inputs: Any) -> None:
        weight = self.compute_weight(module, do_power_iteration=module.training)
        with unwatched():  # each call does it again
            setattr(module, self.name, weight)

    @staticmethod
    def apply(
        module: Module, name: str, n_power_iterations: int, dim: int, eps: float
    ) -> SpectralNorm:
        """Put the hook on a block, and its parameter and buffers in the place of the weight."""
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm) and hook.name == name:
                raise RuntimeError(
                    f"Cannot register two spectral_norm hooks on the same parameter {name}"
                )
        fn = SpectralNorm(name, n_power_iterations, dim, eps)
        weight = module._parameters[name]
        if weight is None:
            raise ValueError(f"`SpectralNorm` cannot be applied as parameter `{name}` is None")
        if is_lazy(weight):
            raise ValueError(
                "The module passed to `SpectralNorm` can't have uninitialized parameters. Make "
                "sure to run the dummy forward before applying spectral normalization"
            )
        height, width = as_matrix(weight.detach(), dim).shape
        delattr(module, name)
        module.register_parameter(name + "_orig", weight)
        setattr(module, name, weight.data)  # initialisers may look for it
        module.register_buffer(name + "_u", random_unit(weight, height, eps))
        module.register_buffer(name + "_v", random_unit(weight, width, eps))
        module.register_forward_pre_hook(fn)
        module._register_state_dict_hook(_StateDictHook(fn))
        return fn


class _StateDictHook:
    """Notes the form of the state in its metadata, for PyTorch to read."""

    def __init__(self, fn: SpectralNorm) -> None:
        self.fn = fn

    def __call__(
        self, module: Module, state_dict: Any, prefix: str, local_metadata: dict[str, Any]
    ) -> None:
        versions = local_metadata.setdefault("spectral_norm", {})
        versions[self.fn.name + ".version"] = self.fn._version


def spectral_norm(
    module: M,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> M:
    """Divide a weight by its largest singular value before every forward.

    Args:
        module: the block.
        name: the weight's name.
        n_power_iterations: how many steps of the power method a call in training mode takes.
        eps: the smallest norm to divide by.
        dim: the dimension that counts the outputs; by default 0, and 1 for a transposed
            convolution.

    Returns:
        The block.
    """
    dim = output_dim(module) if dim is None else dim
    SpectralNorm.apply(module, name, n_power_iterations, dim, eps)
    return module


def remove_spectral_norm(module: M, name: str = "weight") -> M:
    """Make a weight that `spectral_norm` divides a plain parameter again.

    Raises:
        ValueError: there is no such weight.
    """
    for number, hook in module._forward_pre_hooks.items():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[number]
            break
    else:
        raise ValueError(f"spectral_norm of '{name}' not found in {module}")
    for number, after in list(module._state_dict_hooks.items()):
        if isinstance(after, _StateDictHook) and after.fn.name == name:
            del module._state_dict_hooks[number]
    return module


__all__ = ["SpectralNorm", "remove_spectral_norm", "spectral_norm"]
