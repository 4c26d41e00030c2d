"""The words of calls: NumPy's names for arguments, and errors for what is no tensor."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any

from kuai.core import base
from kuai.core.base import TensorBase

# What NumPy calls an argument, and what it is called here.
NUMPY_NAMES = {
    "axis": "dim",
    "keepdims": "keepdim",
    "x": "input",
    "a": "input",
    "x1": "input",
    "x2": "other",
}


def explain_all(
    namespace: dict[str, Any], names: Iterable[str], kind: type[Exception] = TypeError
) -> None:
    """Put the `explained` functions of these names in the place of the plain ones."""
    for name in names:
        namespace[name] = explained(namespace[name], kind)


def explained(function: Any, kind: type[Exception] = TypeError) -> Any:
    """The function, which also takes NumPy's names for its arguments, and raises an error of the
    given kind where it fails and an argument should have been a tensor.

    Nothing is looked at as long as it does not fail.
    """
    if not isinstance(function, types.FunctionType):
        return function
    plain = getattr(function, "__wrapped__", function)
    names = _names(plain)
    tensors = {n for n in names if plain.__annotations__.get(n) == "Tensor"}

    @functools.wraps(function)
    def explained_call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            renamed = _renamed(kwargs, names) if isinstance(error, TypeError) else kwargs
            if renamed is not kwargs:
                return explained_call(*args, **renamed)
            given = [*zip(names, args, strict=False), *kwargs.items()]
            for i, (name, value) in enumerate(given):
                if name in tensors and not isinstance(value, TensorBase):
                    place = f" (position {i + 1})" if i < len(args) else ""
                    raise kind(
                        f"{function.__name__}(): argument '{name}'{place} must be Tensor, not "
                        f"{type(value).__name__}"
                    ) from None
            if isinstance(error, AttributeError) and _wants_a_tensor(error):
                raise kind(
                    f"{function.__name__}(): expected a Tensor, not {type(error.obj).__name__}"
                ) from None
            raise

    return explained_call


def numpy_named(function: Any) -> Any:
    """The function, which also takes NumPy's names for its arguments where it has these."""
    names = _names(function)
    if not {"dim", "keepdim"} & set(names):
        return function

    @functools.wraps(function)
    def method(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = _renamed(kwargs, names)
        return function(*args, **kwargs)

    return method


def _names(function: Any) -> tuple[str, ...]:
    code = function.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _renamed(kwargs: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """The arguments under the function's own names; the same object where they are that already."""
    if not any(k not in names and NUMPY_NAMES.get(k) in names for k in kwargs):
        return kwargs
    return {
        NUMPY_NAMES[k] if k not in names and NUMPY_NAMES.get(k) in names else k: v
        for k, v in kwargs.items()
    }


def _wants_a_tensor(error: AttributeError) -> bool:
    """Whether what was asked for is what tensors have, and what was asked was none."""
    known = error.name == "_payload" or hasattr(base.tensor_class, error.name or "")
    return known and not isinstance(error.obj, TensorBase)
