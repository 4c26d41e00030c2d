"""Parametrizations: a parameter or buffer that is computed from another one at every access.

`register_parametrization(block, "weight", p)` moves `block.weight` to
`block.parametrizations.weight.original`, and makes `block.weight` a property that computes
`p(original)`. The property lives in a class made for this one block.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from kuai.core.base import TensorBase
from kuai.core.tape import no_grad
from kuai.nn.containers import ModuleDict, ModuleList
from kuai.nn.module import Module
from kuai.nn.parameter import Parameter
from kuai.nn.registry import epoch
from kuai.tensor import Tensor

_cache_enabled = 0
_cache: dict[tuple[int, str], Tensor] = {}


@contextmanager
def cached() -> Iterator[None]:
    """While this context lasts, each parametrized tensor is computed only once."""
    global _cache_enabled
    _cache_enabled += 1
    try:
        yield
    finally:
        _cache_enabled -= 1
        if not _cache_enabled:
            _cache.clear()


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, and the tensor (or tensors) that they start from.

    Attributes:
        original: what the first parametrization is applied to; `original0`, `original1`, ...
            where its `right_inverse` returns several tensors.
        unsafe: whether the result may differ from the original in shape and type.

    Args:
        modules: the parametrizations.
        original: the tensor before parametrization.
        unsafe: whether shape and type are left unchecked.

    Raises:
        ValueError: there are no parametrizations, or they change shape or type.
    """

    original: Tensor
    unsafe: bool

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        new = self._inverted(original)
        self.is_tensor = isinstance(new, TensorBase)
        self.ntensors = 1 if self.is_tensor else len(new)
        if self.is_tensor:
            if original.dtype != new.dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {original.dtype}\n"
                    f"right_inverse(original).dtype: {new.dtype}"
                )
            _set(original, new)
            _register(self, "original", original)
        else:
            for i, x in enumerate(new):
                if not isinstance(x, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors (list, "
                        f"tuple...). Got element {i} of the sequence with type "
                        f"{type(x).__name__}."
                    )
                if isinstance(original, Parameter):
                    x = Parameter(x, original.requires_grad)
                x.requires_grad_(original.requires_grad)
                _register(self, f"original{i}", x)
        if not unsafe:
            result = self()
            _check_tensor("A parametrization must return a tensor. Got {}.", result)
            _check_same("dtype", dtype, result.dtype)
            _check_same("shape", shape, result.shape)

    def _inverted(self, value: Any) -> Any:
        """What `forward` would have to start from, as far as the parametrizations know."""
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    with suppress(NotImplementedError):  # taken for the identity
                        value = module.right_inverse(value)
        if not isinstance(value, (TensorBase, Sequence)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). "
                f"Got {type(value).__name__}"
            )
        return value

    def right_inverse(self, value: Tensor) -> None:
        """Change the originals so that `forward` gives this value.

        Raises:
            RuntimeError: a parametrization does not define `right_inverse`.
            ValueError: it does not return what the originals are.
        """
        new: Any = value
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                new = module.right_inverse(new)
        if self.is_tensor:
            _check_tensor("`right_inverse` should return a tensor. Got {}", new)
            if new.dtype != self.original.dtype:
                raise ValueError(
                    f"The tensor returned by `right_inverse` has dtype {new.dtype} "
                    f"while `original` has dtype {self.original.dtype}"
                )
            _set(self.original, new)
            return
        if not isinstance(new, Sequence):
            raise ValueError(
                f"'right_inverse' must return a sequence of tensors. Got {type(new).__name__}."
            )
        if len(new) != self.ntensors:
            raise ValueError(
                f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. "
                f"Got a sequence of length {len(new)}."
            )
        for i, x in enumerate(new):
            original = getattr(self, f"original{i}")
            _check_tensor(
                f"`right_inverse` must return a sequence of tensors. Got element {i} of type {{}}",
                x,
            )
            if original.dtype != x.dtype:
                raise ValueError(
                    f"Tensor {i} returned by `right_inverse` has dtype {x.dtype} "
                    f"while `original{i}` has dtype {original.dtype}"
                )
            _set(original, x)

    def forward(self) -> Tensor:
        """The originals, through all parametrizations."""
        first, *rest = self
        if self.is_tensor:
            x = first(self.original)
        else:
            x = first(*(getattr(self, f"original{i}") for i in range(self.ntensors)))
        for module in rest:
            x = module(x)
        return x


def _set(x: Any, value: Any) -> None:
    """Give a tensor other values, and maybe another shape; it stays the same object."""
    x.data = value.detach()


def _register(module: Module, name: str, x: Any) -> None:
    if isinstance(x, Parameter):
        module.register_parameter(name, x)
    else:
        module.register_buffer(name, x)


def _check_tensor(message: str, x: Any) -> None:
    if not isinstance(x, TensorBase):
        raise ValueError(message.format(type(x).__name__))


def _check_same(what: str, before: Any, after: Any) -> None:
    if before != after:
        raise ValueError(
            f"Registering a parametrization may not change the {what} of the tensor, unless the "
            f"`unsafe` flag is enabled.\nunparametrized {what}: {before}\n"
            f"parametrized {what}: {after}"
        )


def _give_own_class(module: Module) -> None:
    """Make the block the only one of a class of its own, which can hold properties."""
    cls = type(module)

    def deep_copied(self: Any, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            replica = memo[id(self)] = object.__new__(type(self))
            replica.__setstate__(copy.deepcopy(cls.__getstate__(self), memo))
        return memo[id(self)]

    def refuse_pickling(self: Any) -> Any:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict()."
        )

    fields: dict[str, Any] = {"__getstate__": refuse_pickling, "__module__": cls.__module__}
    if not hasattr(cls, "__deepcopy__"):
        fields["__deepcopy__"] = deep_copied
    own: Any = type(f"Parametrized{cls.__name__}", (cls,), fields)
    module.__class__ = own


def _add_property(module: Module, name: str) -> None:
    def get(self: Any) -> Tensor:
        if not _cache_enabled:
            return self.parametrizations[name]()
        key = (id(self), name)
        if key not in _cache:
            _cache[key] = self.parametrizations[name]()
        return _cache[key]

    def set_(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(get, set_))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute a parameter or buffer of a block from another one, at every access.

    Args:
        module: the block.
        tensor_name: the name of the parameter or buffer.
        parametrization: the block that computes it. Its `right_inverse`, where it has one, gives
            the tensor (or several) to start from, and makes assignment possible.
        unsafe: whether the parametrization may change shape and type; nothing is checked then.

    Returns:
        The block.

    Raises:
        ValueError: there is no such parameter or buffer, or its shape or type would change.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _check_parametrization(module, tensor_name, parametrization)
        parametrizations = module.parametrizations[tensor_name]
        parametrizations.append(parametrization)
        parametrizations.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        parametrizations = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _give_own_class(module)
            module.parametrizations = ModuleDict()
        _add_property(module, tensor_name)
        module.parametrizations[tensor_name] = parametrizations
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element "
            f"with name '{tensor_name}'"
        )
    epoch[0] += 1
    return module


def _check_parametrization(module: Module, name: str, parametrization: Module) -> None:
    """Check that one more parametrization keeps the shape and the type, there and back."""
    before = getattr(module, name)
    after = parametrization(before)
    _check_tensor("A parametrization must return a tensor. Got {}.", after)
    _check_same("dtype", before.dtype, after.dtype)
    _check_same("shape", before.shape, after.shape)
    if not hasattr(parametrization, "right_inverse"):
        return
    try:
        back = parametrization.right_inverse(after)
    except NotImplementedError:
        return
    _check_tensor("parametrization.right_inverse must return a tensor. Got: {}", back)
    for what in ("dtype", "shape"):
        if getattr(back, what) != getattr(before, what):
            raise ValueError(
                f"The tensor returned by parametrization.right_inverse must have the same {what} "
                f"as module.{name}, unless the `unsafe` flag is enabled.\n"
                f"module.{name}.{what}: {getattr(before, what)}\n"
                f"returned {what}: {getattr(back, what)}"
            )


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a block has a parametrization.

    Args:
        module: the block.
        tensor_name: the name of a parameter or buffer; any by default.
    """
    parametrizations = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(parametrizations, ModuleDict):
        return False
    return len(parametrizations) > 0 if tensor_name is None else tensor_name in parametrizations


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make a parametrized tensor a plain parameter or buffer again.

    Args:
        module: the block.
        tensor_name: the name of the tensor.
        leave_parametrized: whether it keeps its present value; otherwise it gets that of the
            original.

    Returns:
        The block.

    Raises:
        ValueError: the tensor is not parametrized; or it is in terms of several tensors, and was
            not to keep its value.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    parametrizations = module.parametrizations[tensor_name]
    if parametrizations.is_tensor:
        original = parametrizations.original
        if leave_parametrized:
            with no_grad():
                _set(original, getattr(module, tensor_name))
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is "
            "parametrized in terms of a sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of a block, not counting the one made for its parametrizations."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Share the parametrizations of one block, and what they start from, with another.

    Args:
        from_module: the block that has them.
        to_module: the block that gets them.
        tensor_name: the name of one tensor; all by default.

    Returns:
        `to_module`.
    """
    if not is_parametrized(from_module):
        return to_module
    names = list(from_module.parametrizations) if tensor_name is None else [tensor_name]
    for name in names:
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach()))
        source = from_module.parametrizations[name]
        for parametrization in source:
            register_parametrization(to_module, name, parametrization)
        originals = (
            ["original"] if source.is_tensor else [f"original{i}" for i in range(source.ntensors)]
        )
        for original in originals:
            setattr(to_module.parametrizations[name], original, getattr(source, original))
    return to_module


__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]
