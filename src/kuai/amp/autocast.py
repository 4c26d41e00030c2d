"""A context in which products are computed in a shorter floating-point type."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from kuai import config, dtypes
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase
from kuai.core.primitive import Primitive
from kuai.ops.pointwise import lowered

# What gains from short numbers; convolutions see to it themselves.
_PRODUCTS = {"matmul", "linear"}


class autocast:
    """Context manager or decorator: products of float32 tensors are computed in a shorter type.

    Products (of matrices, and what is composed of them) then give results of that type; everything
    else computes in the type that it is given, and a mixture of types in the longer one.

    Args:
        device_type: `"cpu"`; with another device, which is not there, the context does nothing.
        dtype: bfloat16 (the default) or float16.
        enabled: whether to do anything.
        cache_enabled: accepted, and without effect.
    """

    def __init__(
        self,
        device_type: str,
        dtype: dtypes.dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device = device_type
        self.fast_dtype = dtype or dtypes.bfloat16
        if enabled and device_type != "cpu":
            warnings.warn(
                f"User provided device_type of '{device_type}', but that is not available. "
                "Disabling autocast.",
                stacklevel=2,
            )
            enabled = False
        if enabled and self.fast_dtype not in (dtypes.bfloat16, dtypes.float16):
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
                "CPU Autocast only supports dtypes of kuai.bfloat16, kuai.float16 currently.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        self._before: list[tuple[Any, Any]] = []

    def __enter__(self) -> autocast:
        self._before.append((config.autocast_dtype, primitives.intercept))
        config.autocast_dtype = self.fast_dtype if self._enabled else None
        if self._enabled and not isinstance(primitives.intercept, _Lowering):
            primitives.intercept = _Lowering(primitives.intercept)
        return self

    def __exit__(self, *exc: Any) -> None:
        config.autocast_dtype, primitives.intercept = self._before.pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapper


class _Lowering:
    """Applies primitives as before, products on operands that were rounded first."""

    def __init__(self, before: Any) -> None:
        self.before = before

    def __call__(
        self, primitive: Primitive, inputs: tuple[Any, ...], parameters: dict[str, Any]
    ) -> Any:
        if primitive.name in _PRODUCTS:
            inputs = lowered(*inputs)
        if self.before is not None:
            return self.before(primitive, inputs, parameters)
        return primitive.run(inputs, parameters)

    def __getattr__(self, name: str) -> Any:  # what a capture under way is asked beside
        return getattr(self.before, name)


def is_autocast_available(device_type: str) -> bool:
    """Whether there is autocasting for a kind of device."""
    return device_type == "cpu"


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether `autocast` is on for a kind of device."""
    return device_type == "cpu" and config.autocast_dtype is not None


def get_autocast_dtype(device_type: str) -> dtypes.dtype:
    """The type that `autocast` computes in for a kind of device."""
    if device_type != "cpu":
        return dtypes.float16
    return config.autocast_dtype or dtypes.bfloat16


def custom_fwd(
    fwd: Callable[..., Any] | None = None,
    *,
    device_type: str = "cpu",
    cast_inputs: dtypes.dtype | None = None,
) -> Callable[..., Any]:
    """Decorator of a `Function`'s `forward`.

    Args:
        fwd: the method.
        device_type: for which kind of device.
        cast_inputs: where given, and autocasting is on, the type that floating tensors are
            converted to; the method then runs without autocasting.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if cast_inputs is None or not is_autocast_enabled(device_type):
            return fwd(*args, **kwargs)
        converted = [_converted(a, cast_inputs) for a in args]
        with autocast(device_type, enabled=False):
            return fwd(*converted, **{k: _converted(v, cast_inputs) for k, v in kwargs.items()})

    return wrapper


def _converted(x: Any, dtype: dtypes.dtype) -> Any:
    return x.to(dtype) if isinstance(x, TensorBase) and x.dtype.is_floating_point else x


def custom_bwd(
    bwd: Callable[..., Any] | None = None, *, device_type: str = "cpu"
) -> Callable[..., Any]:
    """Decorator of a `Function`'s `backward`, which runs as it is."""
    return functools.partial(custom_bwd, device_type=device_type) if bwd is None else bwd
