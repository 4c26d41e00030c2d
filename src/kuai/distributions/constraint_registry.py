"""Which transform leads from unbounded numbers to a constraint.

`biject_to(constraint)` is a bijection, for changing variables; `transform_to(constraint)` need not
be one, but is simple and well conditioned, for optimizing over constrained parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kuai.distributions import constraints, transforms
from kuai.distributions.constraints import Constraint
from kuai.distributions.transforms import Transform

Factory = Callable[[Any], Transform]


class ConstraintRegistry:
    """Factories of transforms, by the class of the constraint that they lead to."""

    def __init__(self) -> None:
        self._registry: dict[type[Constraint], Factory] = {}

    def register(self, constraint: Any, factory: Factory | None = None) -> Any:
        """Register a factory for a constraint or its class; without one, a decorator.

        Raises:
            TypeError: not a constraint.
        """
        if factory is None:
            return lambda factory: self.register(constraint, factory)
        kind = type(constraint) if isinstance(constraint, Constraint) else constraint
        if not (isinstance(kind, type) and issubclass(kind, Constraint)):
            raise TypeError(
                "Expected constraint to be either a Constraint subclass or instance, but got "
                f"{constraint}"
            )
        self._registry[kind] = factory
        return factory

    def __call__(self, constraint: Constraint) -> Transform:
        """The transform to a constraint.

        Raises:
            NotImplementedError: none is registered.
        """
        factory = self._registry.get(type(constraint))
        if factory is None:
            raise NotImplementedError(f"Cannot transform {type(constraint).__name__} constraints")
        return factory(constraint)


biject_to, transform_to = ConstraintRegistry(), ConstraintRegistry()
_Both = (biject_to, transform_to)


def _register(constraint: Any, factory: Factory, *registries: ConstraintRegistry) -> None:
    for registry in registries or _Both:
        registry.register(constraint, factory)


def _to_interval(constraint: Any) -> Transform:
    low, high = constraint.lower_bound, constraint.upper_bound
    if isinstance(low, (int, float)) and low == 0 and isinstance(high, (int, float)) and high == 1:
        return transforms.SigmoidTransform()
    shift = transforms.AffineTransform(low, high - low)
    return transforms.ComposeTransform([transforms.SigmoidTransform(), shift])


def _above(constraint: Any) -> Transform:
    shift = transforms.AffineTransform(constraint.lower_bound, 1)
    return transforms.ComposeTransform([transforms.ExpTransform(), shift])


def _below(constraint: Any) -> Transform:
    shift = transforms.AffineTransform(constraint.upper_bound, -1)
    return transforms.ComposeTransform([transforms.ExpTransform(), shift])


def _in_each(registry: ConstraintRegistry) -> Factory:
    def factory(constraint: Any) -> Transform:
        base = registry(constraint.base_constraint)
        return transforms.IndependentTransform(base, constraint.reinterpreted_batch_ndims)

    return factory


def _in_stretches(registry: ConstraintRegistry) -> Factory:
    return lambda c: transforms.CatTransform([registry(p) for p in c.cseq], c.dim, c.lengths)


def _in_slices(registry: ConstraintRegistry) -> Factory:
    return lambda c: transforms.StackTransform([registry(p) for p in c.cseq], c.dim)


_register(constraints.real, lambda c: transforms.identity_transform)
_register(constraints.positive, _above)
_register(constraints.greater_than_eq, _above)
_register(constraints.less_than, _below)
_register(constraints.interval, _to_interval)
_register(constraints.half_open_interval, _to_interval)
_register(constraints.corr_cholesky, lambda c: transforms.CorrCholeskyTransform())
_register(constraints.simplex, lambda c: transforms.StickBreakingTransform(), biject_to)
_register(constraints.simplex, lambda c: transforms.SoftmaxTransform(), transform_to)
_register(constraints.lower_cholesky, lambda c: transforms.LowerCholeskyTransform(), transform_to)
for _matrix in (constraints.positive_definite, constraints.positive_semidefinite):
    _register(_matrix, lambda c: transforms.PositiveDefiniteTransform(), transform_to)
for _registry in _Both:
    _register(constraints.independent, _in_each(_registry), _registry)
    _register(constraints.cat, _in_stretches(_registry), _registry)
    _register(constraints.stack, _in_slices(_registry), _registry)

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]
