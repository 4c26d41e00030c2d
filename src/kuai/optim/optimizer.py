"""What all optimizers share: parameter groups, state, saving it, and hooks around a step."""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any, ClassVar, TypeAlias

from kuai.core.tape import RemovableHandle, enable_grad, mode
from kuai.nn.hooks import captures
from kuai.optim.hyperparameters import counter
from kuai.tensor import Tensor

Group: TypeAlias = dict[str, Any]
StateDict: TypeAlias = dict[str, Any]
ParamsT: TypeAlias = Iterable[Tensor] | Iterable[Group] | Iterable[tuple[str, Tensor]]
Hook: TypeAlias = Callable[..., Any]
Hooks: TypeAlias = OrderedDict[int, Hook]

_global_pre_hooks: Hooks = OrderedDict()
_global_post_hooks: Hooks = OrderedDict()


class _Required:
    """Stands in `defaults` for an option that every parameter group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


class Optimizer:
    """Base of all optimizers: changes parameters so that a loss falls.

    An optimizer of one's own passes its options to `super().__init__(params, defaults)` and
    overrides `step`; or, as those here do, overrides `_update_group`, which `step` calls for each
    parameter group with gradients switched off::

        class SignSGD(Optimizer):
            def __init__(self, params, lr=1e-3):
                super().__init__(params, {"lr": lr})

            def _update_group(self, group):
                for p in group["params"]:
                    if p.grad is not None:
                        p.add_(p.grad.sign(), alpha=-group["lr"])

    Args:
        params: the tensors to optimize; or `(name, tensor)` pairs; or dicts, each one a parameter
            group: its tensors under `"params"`, beside options that differ from the defaults.
        defaults: the options of groups that do not give their own.

    Attributes:
        param_groups: a list of dicts of options, with the group's tensors under `"params"`.
        state: what the optimizer remembers of each tensor.

    Raises:
        TypeError: `params` is one tensor, or holds something that is not a tensor.
        ValueError: no parameters, a tensor that is not a leaf, or one that is in two groups.
    """

    late_options: ClassVar[dict[str, Any]] = {}
    """Options that older checkpoints lack, with the value that they imply."""

    tensor_state: ClassVar[tuple[str, ...]] = ()
    """Entries of the state that older checkpoints hold as plain numbers."""

    captured_fields: ClassVar[tuple[str, ...]] = ()
    """What a captured step works on in the place of `state`, if so."""

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._prepare_hooks()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or "
                f"dicts, but got {type(params).__name__}"
            )
        self.state: defaultdict[Any, Any] = defaultdict(dict)
        self.param_groups: list[Group] = []
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    # -- stepping ---------------------------------------------------------------------------

    def step_hooks(self) -> tuple[Hooks, ...]:
        """What runs around each step: hooks of this optimizer's, and of all."""
        own = self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks
        return (*own, _global_pre_hooks, _global_post_hooks)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient.

        Args:
            closure: computes the loss anew, with its gradients, and returns it.

        Returns:
            what the closure returned, or `None`.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        before = mode.grad
        mode.grad = self.defaults.get("differentiable", False)
        try:
            for group in self.param_groups:
                self._update_group(group)
        finally:
            mode.grad = before
        return loss

    def _update_group(self, group: Group) -> None:
        raise NotImplementedError

    def prepare_capture(self) -> None:
        """Make what has to be there before a step is captured."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters.

        Args:
            set_to_none: set them to `None`; otherwise, fill them with zeros.
        """
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    if p.grad.grad_fn is not None:
                        p.grad.detach_()
                    else:
                        p.grad.requires_grad_(False)
                    p.grad.zero_()

    # -- groups -----------------------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Add tensors to optimize, for instance when layers are unfrozen during training.

        Args:
            param_group: the tensors under `"params"`, and options of their own.

        Raises:
            TypeError: the group is not a dict, or holds something that is not a tensor.
            ValueError: a tensor is not a leaf, is in another group too, or only some have names.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        names, params = _names_and_tensors(param_group["params"])
        param_group["params"] = params
        if names:
            param_group["param_names"] = names
        for p in params:
            self._check_param(p)
        for option, default in self.defaults.items():
            if default is required and option not in param_group:
                raise ValueError(
                    "parameter group didn't specify a value of required optimization parameter "
                    f"{option}"
                )
            param_group.setdefault(option, default)
        if len(params) != len(set(params)):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; "
                "in future, this will cause an error",
                stacklevel=3,
            )
        for group in self.param_groups:
            if ("param_names" in param_group) != ("param_names" in group):
                kind = "with names" if "param_names" in param_group else "without names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {kind} to the optimizer"
                )
        if not set(params).isdisjoint(p for g in self.param_groups for p in g["params"]):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def _check_param(self, p: Any) -> None:
        if not isinstance(p, Tensor):
            raise TypeError(
                f"optimizer can only optimize Tensors, but one of the params is {type(p).__name__}"
            )
        if not (self.defaults.get("differentiable") or p.is_leaf or p.retains_grad):
            raise ValueError("can't optimize a non-leaf Tensor")

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join(lines) + "\n)"

    # -- saving and loading -----------------------------------------------------------------

    def state_dict(self) -> StateDict:
        """What the optimizer remembers and its options, with numbers in place of the tensors.

        Returns:
            `{"state": {number: state}, "param_groups": [options]}`; each group's `"params"` are
            the numbers of its tensors, counted through all groups.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        start = 0
        for group in self.param_groups:
            for i, p in enumerate(group["params"], start):
                numbers.setdefault(id(p), i)
            start += len(group["params"])
            packed = {key: value for key, value in group.items() if key != "params"}
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {
            numbers[id(key)] if isinstance(key, Tensor) else key: value
            for key, value in self.state.items()
        }
        result: StateDict = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, result)
            if changed is not None:
                result = changed
        return result

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over the state and options of another optimizer of the same kind.

        Args:
            state_dict: what its `state_dict` returned. The parameters of both are matched in
                order; state is cast to the type of the parameter that it belongs to.

        Raises:
            ValueError: the number of groups, or of parameters in one, differs.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            if changed is not None:
                state_dict = changed
        groups = self.param_groups
        saved_groups = deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for group, saved in zip(groups, saved_groups, strict=True):
            if len(group["params"]) != len(saved["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group "
                    "that doesn't match the size of optimizer's group"
                )
        owners: dict[Any, tuple[Tensor, Group]] = {
            number: (p, saved)
            for group, saved in zip(groups, saved_groups, strict=True)
            for p, number in zip(group["params"], saved["params"], strict=True)
        }
        state: defaultdict[Any, Any] = defaultdict(dict)
        for number, value in state_dict["state"].items():
            if number in owners:
                p, saved = owners[number]
                state[p] = _cast(value, p, saved)
            else:
                state[number] = value
        for group, saved in zip(groups, saved_groups, strict=True):
            saved["params"] = group["params"]
            if "param_names" in group:
                saved.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved_groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "state": self.state,
            "param_groups": self.param_groups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_optimizer_step_pre_hooks" not in self.__dict__:
            self._prepare_hooks()
        self.defaults.setdefault("differentiable", False)
        for group in self.param_groups:
            for option, value in self.late_options.items():
                group.setdefault(option, value)
            for p in group["params"]:
                entries = self.state.get(p)
                if entries:
                    for name in self.tensor_state:
                        if not isinstance(entries[name], Tensor):
                            entries[name] = counter(float(entries[name]))

    # -- hooks ------------------------------------------------------------------------------

    def _prepare_hooks(self) -> None:
        self._optimizer_step_pre_hooks: Hooks = OrderedDict()
        self._optimizer_step_post_hooks: Hooks = OrderedDict()
        self._optimizer_state_dict_pre_hooks: Hooks = OrderedDict()
        self._optimizer_state_dict_post_hooks: Hooks = OrderedDict()
        self._optimizer_load_state_dict_pre_hooks: Hooks = OrderedDict()
        self._optimizer_load_state_dict_post_hooks: Hooks = OrderedDict()
        # Wrapped when first used, not when defined: a subclass's step that calls its parent's
        # runs the hooks once, not twice.
        cls = type(self)
        if not getattr(cls.step, "hooked", False):
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return new ones."""
        return _register(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return _register(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict`."""
        return _register(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict`; it may return another one."""
        return _register(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before loading; it may return another one."""
        return _register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(optimizer)` after loading."""
        return _register(self._optimizer_load_state_dict_post_hooks, hook, prepend)


def register_optimizer_step_pre_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before each step of every optimizer."""
    return _register(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after each step of every optimizer."""
    return _register(_global_post_hooks, hook)


def _register(hooks: Hooks, hook: Hook, prepend: bool = False) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` with the hooks of all optimizers and of this one around it."""

    @functools.wraps(step)
    def hooked_step(*args: Any, **kwargs: Any) -> Any:
        self = args[0]
        if captures and captures[-1].steps(self):
            return captures[-1].call_optimizer(self, hooked_step, args[1:], kwargs)
        before = self._optimizer_step_pre_hooks
        if before or _global_pre_hooks:
            for hook in chain(_global_pre_hooks.values(), before.values()):
                changed = hook(self, args, kwargs)
                if changed is None:
                    continue
                if not isinstance(changed, tuple) or len(changed) != 2:
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), "
                        f"but got {changed}."
                    )
                args, kwargs = changed
        result = step(*args, **kwargs)
        after = self._optimizer_step_post_hooks
        if after or _global_post_hooks:
            for hook in chain(after.values(), _global_post_hooks.values()):
                hook(self, args, kwargs)
        return result

    hooked_step.hooked = True  # type: ignore[attr-defined]
    return hooked_step


def _names_and_tensors(params: Any) -> tuple[list[str], list[Any]]:
    if isinstance(params, Tensor):
        return [], [params]
    if isinstance(params, set):
        raise TypeError(
            "optimizer parameters need to be organized in ordered collections, but the ordering "
            "of tensors in sets will change between runs. Please use a list instead."
        )
    params = list(params)
    names = [entry[0] for entry in params if isinstance(entry, tuple)]
    if names and len(names) != len(params):
        raise ValueError(
            "all optimizer params should be with/without names. Some param names are missing"
        )
    return names, [entry[1] for entry in params] if names else params


def _cast(value: Any, p: Tensor, group: Group, key: Any = None) -> Any:
    """Saved state as the parameter that it belongs to needs it; containers keep their types."""
    if isinstance(value, Tensor):
        if key == "step":  # a count, whatever the parameter's type
            if group.get("capturable") or group.get("fused"):
                return value.float()
            return value
        return value.to(p.dtype) if p.is_floating_point() else value
    if isinstance(value, dict):
        return {k: _cast(v, p, group, k) for k, v in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(_cast(v, p, group) for v in value)
    return value
