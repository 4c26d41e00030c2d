"""A block's state: what `state_dict` takes out of it and `load_state_dict` puts back."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from kuai.core.base import TensorBase
from kuai.core.tape import RemovableHandle, no_grad
from kuai.nn.hidden_blocks import warn_of_hidden_blocks
from kuai.nn.hooks import add_hook
from kuai.nn.parameter import Parameter, is_lazy
from kuai.nn.registry import Members

if TYPE_CHECKING:
    pass

_EXTRA_STATE_KEY_SUFFIX = "_extra_state"


class _IncompatibleKeys(
    NamedTuple("IncompatibleKeys", [("missing_keys", list[str]), ("unexpected_keys", list[str])])
):
    """What `load_state_dict` returns."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class _WithModule:
    """Marks a hook that gets the block as its first argument."""

    def __init__(self, hook: Callable[..., None]) -> None:
        self.hook = hook


class State:
    """The methods of `Module` that take its state out and put it back."""

    _parameters: Members
    _buffers: Members
    _modules: Members
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: OrderedDict[int, Callable[..., Any]]
    _state_dict_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _load_state_dict_pre_hooks: OrderedDict[int, Any]
    _load_state_dict_post_hooks: OrderedDict[int, Callable[..., Any]]

    _version: int = 1
    """Goes into the metadata of state dicts; a class raises it when its state's form changes."""

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """The parameters and persistent buffers of this block and those within, by name.

        Args:
            *args: the same in this order; deprecated.
            destination: the dictionary to put them into; a new `OrderedDict` by default.
            prefix: what all names begin with.
            keep_vars: whether to take the parameters themselves, not detached from the tape.

        Returns:
            The dictionary. Its tensors share the block's memory.
        """
        if args:
            warnings.warn(
                "Positional args are being deprecated, use kwargs instead.",
                FutureWarning,
                stacklevel=2,
            )
            destination = args[0] if destination is None else destination
            prefix = args[1] if len(args) > 1 and prefix == "" else prefix
            keep_vars = args[2] if len(args) > 2 and keep_vars is False else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        if "_plain_containers" in self.__dict__:
            warn_of_hidden_blocks(self)  # type: ignore[arg-type]
        metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in self._state_dict_hooks.values():
            result = hook(self, destination, prefix, metadata)
            if result is None:
                continue
            if getattr(hook, "_from_public_api", False):
                raise RuntimeError("state_dict post-hook must return None")
            destination = result
        return destination

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Put this block's own state, not that of its children, into `destination`."""
        for name, x in self._own_state():
            destination[prefix + name] = x if keep_vars or is_lazy(x) else x.detach()
        if self._has_own("get_extra_state"):
            destination[prefix + _EXTRA_STATE_KEY_SUFFIX] = self.get_extra_state()

    def _own_state(self) -> Iterator[tuple[str, Any]]:
        for name, parameter in self._parameters.items():
            if parameter is not None:
                yield name, parameter
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                yield name, buffer

    def _has_own(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(State, method)

    def get_extra_state(self) -> Any:
        """What else goes into the state dict: for a class to define, with `set_extra_state`.

        Raises:
            RuntimeError: the class does not define it.
        """
        raise RuntimeError(f"{type(self).__name__} does not define get_extra_state()")

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` gave; for a class to define.

        Raises:
            RuntimeError: the class does not define it.
        """
        raise RuntimeError(f"{type(self).__name__} does not define set_extra_state()")

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy a state dict's values into the parameters and buffers.

        Args:
            state_dict: what `state_dict()` of a block of the same structure returned.
            strict: whether its keys must be exactly those of this block.
            assign: whether its tensors become the parameters and buffers, instead of being
                copied into those that are there.

        Returns:
            `missing_keys` and `unexpected_keys`.

        Raises:
            RuntimeError: keys or shapes do not fit; the message lists all that do not.
            TypeError: `state_dict` is not a mapping.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        loading = _Loading(state_dict, assign)
        loading.load(self, loading.state, "")
        errors = loading.errors
        if strict:
            for kind, keys in (
                ("Unexpected", loading.unexpected_keys),
                ("Missing", loading.missing_keys),
            ):
                if keys:
                    names = ", ".join(f'"{key}"' for key in keys)
                    errors.insert(0, f"{kind} key(s) in state_dict: {names}. ")
        if errors:
            lines = "\n\t".join(errors)
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{lines}"
            )
        return _IncompatibleKeys(loading.missing_keys, loading.unexpected_keys)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load this block's own state, not that of its children; what goes wrong is listed."""
        report = (missing_keys, unexpected_keys, error_msgs)
        for hook in self._load_state_dict_pre_hooks.values():
            arguments = (state_dict, prefix, local_metadata, strict, *report)
            if isinstance(hook, _WithModule):
                hook.hook(self, *arguments)
            else:
                hook(*arguments)
        own = dict(self._own_state())
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, x in own.items():
            key = prefix + name
            if key in state_dict:
                error = self._load_one(name, x, key, state_dict[key], assign)
                if error is not None:
                    error_msgs.append(error)
            elif strict:
                missing_keys.append(key)

        extra_key = prefix + _EXTRA_STATE_KEY_SUFFIX
        if self._has_own("set_extra_state"):
            if extra_key in state_dict:
                self.set_extra_state(state_dict[extra_key])
            elif strict:
                missing_keys.append(extra_key)
        elif strict and extra_key in state_dict:
            unexpected_keys.append(extra_key)

        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra_key:
                    first, dot, _ = key[len(prefix) :].partition(".")
                    if first not in (self._modules if dot else own):
                        unexpected_keys.append(key)

    def _load_one(self, name: str, x: Any, key: str, value: Any, assign: bool) -> str | None:
        """Load one parameter or buffer; the result says what went wrong, if anything."""
        if not isinstance(value, TensorBase):
            return (
                f'While copying the parameter named "{key}", expected kuai.Tensor or Tensor-like '
                f"object from checkpoint but received {type(value)}"
            )
        lazy = is_lazy(x)
        if not lazy:
            if len(x.shape) == 0 and len(value.shape) == 1 and value.shape[0] == 1:
                value = value[0]  # type: ignore[index]  # as scalars were once saved
            if value.shape != x.shape:
                return (
                    f"size mismatch for {key}: copying a param with shape {value.shape} from "
                    f"checkpoint, the shape in current model is {x.shape}."
                )
        try:
            with no_grad():
                if assign:
                    setattr(self, name, _in_place_of(x, value))
                elif not (lazy and is_lazy(value)):
                    x.copy_(value)
        except Exception as error:
            return (
                f'While copying the parameter named "{key}", whose dimensions in the model are '
                f"{'unknown' if lazy else x.shape} and whose dimensions in the checkpoint are "
                f"{value.shape}, an exception occurred : {error.args}."
            )
        return None

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was "
                "previously registered via register_state_dict_post_hook"
            )
        return add_hook(self._state_dict_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call `hook(block, state_dict, prefix, local_metadata)` after `state_dict()`."""
        hook._from_public_api = True  # type: ignore[attr-defined]
        return add_hook(self._state_dict_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call `hook(block, prefix, keep_vars)` before `state_dict()`."""
        return add_hook(self._state_dict_pre_hooks, hook)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., None], with_module: bool = False
    ) -> RemovableHandle:
        return add_hook(self._load_state_dict_pre_hooks, _WithModule(hook) if with_module else hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call `hook` before this block's state is loaded.

        Args:
            hook: is called as `hook(block, state_dict, prefix, local_metadata, strict,
                missing_keys, unexpected_keys, error_msgs)`.
        """
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Call `hook(block, incompatible_keys)` after this block's state was loaded.

        Args:
            hook: may change the two lists of keys in place.
        """
        return add_hook(self._load_state_dict_post_hooks, hook)


class _Loading:
    """One call of `load_state_dict`: what it loads from, and what it finds wrong."""

    def __init__(self, state_dict: Mapping[str, Any], assign: bool) -> None:
        self.metadata = getattr(state_dict, "_metadata", None)
        self.state: OrderedDict[str, Any] = OrderedDict(state_dict)
        if self.metadata is not None:
            self.state._metadata = self.metadata  # type: ignore[attr-defined]
        self.assign = assign
        self.missing_keys: list[str] = []
        self.unexpected_keys: list[str] = []
        self.errors: list[str] = []

    def load(self, module: Any, state: dict[str, Any], prefix: str) -> None:
        """Load `module` and its children from the part of the state that begins with `prefix`."""
        metadata = {} if self.metadata is None else self.metadata.get(prefix[:-1], {})
        if self.assign:
            metadata["assign_to_params_buffers"] = True
        module._load_from_state_dict(
            state, prefix, metadata, True, self.missing_keys, self.unexpected_keys, self.errors
        )
        for name, child in module._modules.items():
            if child is not None:
                start = f"{prefix}{name}."
                part = {key: x for key, x in state.items() if key.startswith(start)}
                self.load(child, part, start)
        keys = _IncompatibleKeys(self.missing_keys, self.unexpected_keys)
        for hook in module._load_state_dict_post_hooks.values():
            if hook(module, keys) is not None:
                raise AssertionError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not "
                    "expected to return new values, if incompatible_keys need to be modified, "
                    "it should be done inplace."
                )


def _in_place_of(x: Any, value: Any) -> Any:
    """`value` as it is assigned in the place of the parameter or buffer `x`."""
    if not isinstance(x, Parameter):
        return value
    if not isinstance(value, Parameter):
        return Parameter(value, requires_grad=x.requires_grad)
    return value.requires_grad_(x.requires_grad)
