"""Gradients that arrive only on some of the courses that a program may take.

Eager code that did not use a tensor leaves its `grad` as None. Where a condition or a number of
rounds decides whether it was used, its gradient carries a captured bool that says so; where it
does not arrive, its values are zeros, so that whoever does not ask need not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kuai import dtypes, ops
from kuai.compiler.capture import numbers
from kuai.compiler.capture.undecided import UNDEFINED, Maybe
from kuai.core.base import TensorBase, alias, wrap
from kuai.core.tape import no_grad
from kuai.tensor import Tensor

_new = object.__new__


class MaybeGradient(Tensor):
    """A gradient that arrives if `_arrives`, a captured bool, holds; else it is zeros."""

    __slots__ = ("_arrives",)

    _arrives: Any

    def __add__(self, other: Any) -> Any:
        return maybe(plain(self) + plain(other), when_any([self, other]))

    __radd__ = __add__

    def arriving(self, other: Any) -> Any:
        """Another gradient that arrives when this one does."""
        return maybe(other, self._arrives)

    def materialized(self) -> Tensor:
        """The gradient as an ordinary tensor."""
        found: Tensor = plain(self)
        return found


def plain(grad: Any) -> Any:
    """A gradient as an ordinary tensor: zeros, where it does not arrive."""
    if type(grad) is not MaybeGradient:
        return grad
    found = alias(grad)
    found._requires_grad, found._node, found._view = grad._requires_grad, grad._node, grad._view
    return found


def maybe(grad: Any, arrives: Tensor | None) -> Any:
    """A gradient that arrives when a captured bool says so; `None` stands for always."""
    if arrives is None or grad is None or type(grad) not in (Tensor, MaybeGradient):
        return grad
    found = _new(MaybeGradient)
    for name in ("_payload", "_requires_grad", "_node", "_counter", "_view"):
        setattr(found, name, getattr(grad, name))
    found._grad = found._hooks = None
    found._arrives = arrives
    return found


def as_variable(grad: Any) -> Any:
    """What a variable holds that is set to a gradient: what may be None is a `Maybe`."""
    if not isinstance(grad, TensorBase) or grad._arrives is None:
        return grad
    return Maybe(grad, numbers.number(wrap(grad._arrives._payload)), None)


def as_grad(value: Any) -> Any:
    """The reverse: a gradient that a variable holds."""
    if not isinstance(value, Maybe):
        return None if value is UNDEFINED else value
    if isinstance(value.defined, TensorBase):
        return maybe(plain(value.value), wrap(value.defined._payload))
    return value.value if value.defined else None


def when_any(grads: Sequence[Any]) -> Tensor | None:
    """When any of these gradients arrives; `None` where one always does."""
    flags: list[Tensor] = []
    for grad in grads:
        if grad is None:
            continue
        if type(grad) is not MaybeGradient:
            return None
        if all(grad._arrives._payload is not known._payload for known in flags):
            flags.append(grad._arrives)
    if not flags:
        return None
    with no_grad():
        total = flags[0]
        for flag in flags[1:]:
            total = ops.logical_or(total, flag)
    return total


def flag_of(grad: Any) -> Tensor:
    """Whether a gradient arrives, as a captured bool."""
    if type(grad) is MaybeGradient:
        return wrap(grad._arrives._payload)
    return numbers.as_tensor(grad is not None, dtypes.bool_)


def negation(flag: Tensor) -> Tensor:
    """The captured bool that is not another."""
    with no_grad():
        return ops.logical_not(flag)


def arrival_of(grad: Any, recorder: Any) -> Any:
    """The value that says whether a gradient arrives; `None` where it does in any case."""
    flag = None if grad is None else grad._arrives
    return None if flag is None else recorder.value(flag)
