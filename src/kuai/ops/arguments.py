"""Errors for arguments that are no tensors: PyTorch's kind, and its words."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any

from kuai.core import base
from kuai.core.base import TensorBase


def explain_all(namespace: dict[str, Any], names: Iterable[str]) -> None:
    """Put the `explained` functions of these names in the place of the plain ones."""
    for name in names:
        namespace[name] = explained(namespace[name])


def explained(function: Any) -> Any:
    """The function, with a `TypeError` where it fails and an argument should have been a tensor.

    Nothing is looked at as long as it does not fail.
    """
    if not isinstance(function, types.FunctionType):
        return function
    plain = getattr(function, "__wrapped__", function)
    code = plain.__code__
    names = code.co_varnames[: code.co_argcount]
    tensors = {n for n in names if plain.__annotations__.get(n) == "Tensor"}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            given = [*zip(names, args, strict=False), *kwargs.items()]
            for i, (name, value) in enumerate(given):
                if name in tensors and not isinstance(value, TensorBase):
                    place = f" (position {i + 1})" if i < len(args) else ""
                    raise TypeError(
                        f"{function.__name__}(): argument '{name}'{place} must be Tensor, not "
                        f"{type(value).__name__}"
                    ) from None
            if isinstance(error, AttributeError) and _wants_a_tensor(error):
                raise TypeError(
                    f"{function.__name__}(): expected a Tensor, not {type(error.obj).__name__}"
                ) from None
            raise

    return call


def _wants_a_tensor(error: AttributeError) -> bool:
    """Whether what was asked for is what tensors have, and what was asked was none."""
    known = error.name == "_payload" or hasattr(base.tensor_class, error.name or "")
    return known and not isinstance(error.obj, TensorBase)
