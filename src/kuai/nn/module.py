"""`Module`, the base of all blocks.

A block is written by saying what it is made of and what it computes:

    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = nn.Linear(20, 256)
            self.out = nn.Linear(256, 10)

        def forward(self, X):
            return self.out(F.relu(self.hidden(X)))

Assigning a parameter, a buffer or another block to an attribute registers it; everything else in
this file follows from that.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, NoReturn, TypeVar

from kuai import dtypes, ops
from kuai.core.base import TensorBase
from kuai.core.tape import RemovableHandle as RemovableHandle
from kuai.core.tape import no_grad
from kuai.nn import registry
from kuai.nn.block_path import annotate
from kuai.nn.hidden_blocks import PLAIN, may_hide_blocks, warn_of_hidden_blocks
from kuai.nn.hooks import (
    Hooks,
    _global_buffer_registration_hooks,
    _global_module_registration_hooks,
    _global_parameter_registration_hooks,
    call_with_hooks,
    captures,
    global_hooks_in_use,
    has_hooks,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
    registered,
)
from kuai.nn.parameter import Buffer, Parameter
from kuai.nn.registry import HookDict, Members, epoch
from kuai.nn.state import _EXTRA_STATE_KEY_SUFFIX as _EXTRA_STATE_KEY_SUFFIX
from kuai.nn.state import State
from kuai.nn.state import _IncompatibleKeys as _IncompatibleKeys
from kuai.tensor import Tensor

M = TypeVar("M", bound="Module")

_MEMBERS = ("_parameters", "_buffers", "_modules")
_WATCHED_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_OTHER_HOOKS = (
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


class UnknownAttributeError(AttributeError):
    """An attribute that a block does not have; its text suggests a name that it does have.

    The suggestion is looked for only when the text is wanted: `hasattr` costs nothing more.
    """

    def __init__(self, message: str, block: Module | None = None, name: str = "") -> None:
        # Python, finding `obj` set, does not go on to add a suggestion of its own.
        super().__init__(message, obj=type(block))
        self._block = block
        self._name = name

    def __str__(self) -> str:
        import difflib

        message = str(self.args[0])
        names = [] if self._block is None else dir(self._block)
        close = difflib.get_close_matches(self._name, names, n=1, cutoff=0.6)
        return f"{message}. Did you mean: '{close[0]}'?" if close else message


class Module(Hooks, State):
    """Base class of all blocks: layers, components made of layers, and whole models.

    A subclass calls `super().__init__()` before it assigns anything, and defines `forward`.

    Examples:
        >>> class MLP(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.hidden = nn.Linear(20, 256)
        ...         self.out = nn.Linear(256, 10)
        ...
        ...     def forward(self, X):
        ...         return self.out(F.relu(self.hidden(X)))
        >>> net = MLP()
        >>> net(kuai.rand(2, 20)).shape
        kuai.Size([2, 10])
        >>> [name for name, _ in net.named_parameters()]
        ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']

    Attributes:
        training: whether the block is in training mode; `train` and `eval` set it.
    """

    training: bool
    call_super_init: ClassVar[bool] = False
    dump_patches: ClassVar[bool] = False
    _direct = False  # True once a look has shown that a call is nothing but `forward`

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init:
            name = type(self).__name__
            if kwargs:
                raise TypeError(
                    f"{name}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'"
                )
            if args:
                raise TypeError(
                    f"{name}.__init__() takes 1 positional argument but {len(args) + 1} were given"
                )
        if registry.watchers:
            registry.watchers[-1].makes_block(self)
        fields = self.__dict__
        fields["training"] = True
        fields["_non_persistent_buffers_set"] = set()
        fields["_is_full_backward_hook"] = None
        for name in _OTHER_HOOKS:
            fields[name] = OrderedDict()
        owner = weakref.ref(self)
        for name in _WATCHED_HOOKS:
            hooks = fields[name] = HookDict()
            hooks.owner = owner
        for name in _MEMBERS:
            members = fields[name] = Members()
            members.owner = owner
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    # -- calling ----------------------------------------------------------------------------

    def forward(self, *input: Any) -> Any:
        """What the block computes; every subclass defines it.

        Raises:
            NotImplementedError: the subclass does not.
        """
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` on the arguments, and the hooks around it."""
        try:
            if self._direct and not global_hooks_in_use:
                return self.forward(*args, **kwargs)
            return self._call_with_care(args, kwargs)
        except Exception as error:
            annotate(error, self, args)
            raise

    def _call_with_care(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that may have more to do than `forward`; it looks whether the next one will."""
        if "_modules" not in self.__dict__:
            raise AttributeError(
                f"cannot call a {type(self).__name__} before Module.__init__() call: "
                f"{type(self).__name__}.__init__ must begin with super().__init__()"
            )
        if "_plain_containers" in self.__dict__:
            warn_of_hidden_blocks(self)
        if captures and captures[-1].is_active():
            return captures[-1].call_block(self, args, kwargs)
        if has_hooks(self) or global_hooks_in_use:
            return call_with_hooks(self, args, kwargs)
        self.__dict__["_direct"] = True
        return self.forward(*args, **kwargs)

    # -- attributes -------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # Parts are attributes in `__dict__`; what arrives here is hidden by the class, written
        # around the registry, or not there at all.
        fields = self.__dict__
        for kind in _MEMBERS:
            members = fields.get(kind)
            if members is not None and name in members:
                return members[name]
        if hasattr(type(self), name):  # a property, whose own error tells more
            return object.__getattribute__(self, name)
        message = f"'{type(self).__name__}' object has no attribute '{name}'"
        if "_modules" not in fields:
            message += (
                f" (Module.__init__() has not run: {type(self).__name__}.__init__ must begin "
                "with super().__init__())"
            )
        raise UnknownAttributeError(message, self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        fields = self.__dict__
        if isinstance(value, Parameter):
            self._need_init("parameters")
            self._forget(name, "_parameters")
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._need_init("module")
            if name in fields["_parameters"]:
                self._refuse(name, value, "parameter")
            self._forget(name, "_modules")
            fields["_modules"][name] = self._registered_module(name, value)
        elif "_modules" not in fields:
            if isinstance(value, TensorBase) and isinstance(value, Buffer):
                self._need_init("buffer")
            object.__setattr__(self, name, value)
        elif name in fields["_parameters"]:
            if value is not None:
                self._refuse(name, value, "parameter")
            self.register_parameter(name, None)
        elif name in fields["_modules"]:
            if value is not None:
                self._refuse(name, value, "child module")
            fields["_modules"][name] = self._registered_module(name, None)
        elif name in fields["_buffers"] or (
            isinstance(value, TensorBase) and isinstance(value, Buffer)
        ):
            self._set_buffer(name, value)
        else:
            self._set_plain(name, value)

    def _set_plain(self, name: str, value: Any) -> None:
        registry.changing(self)
        fields = self.__dict__
        if name in _MEMBERS:
            old = fields.get(name)
            if isinstance(old, Members) and old is not value:
                old.hide()
            value = registry.members(value, weakref.ref(self))
        elif name in _WATCHED_HOOKS:
            value = registry.hooks(value, weakref.ref(self))
            fields["_direct"] = False
        elif isinstance(value, PLAIN) and name[:2] != "__" and may_hide_blocks(value):
            fields.setdefault("_plain_containers", set()).add(name)
            fields["_direct"] = False
        object.__setattr__(self, name, value)
        epoch[0] += 1

    def _set_buffer(self, name: str, value: Any) -> None:
        if not (value is None or isinstance(value, TensorBase)):
            raise TypeError(
                f"cannot assign '{_type_name(value)}' as buffer '{name}' "
                "(kuai.nn.Buffer, kuai.Tensor or None expected)"
            )
        tensor: Any = value
        if isinstance(value, Buffer):
            persistent = tensor.persistent
        else:
            persistent = name not in self._non_persistent_buffers_set
        if persistent:  # an override of register_buffer may not know the argument
            self.register_buffer(name, tensor)
        else:
            self.register_buffer(name, tensor, persistent)

    def __delattr__(self, name: str) -> None:
        fields = self.__dict__
        for kind in _MEMBERS:
            if name in fields.get(kind, ()):
                del fields[kind][name]
                if kind == "_buffers":
                    fields["_non_persistent_buffers_set"].discard(name)
                return
        registry.changing(self)
        object.__delattr__(self, name)
        epoch[0] += 1

    def __dir__(self) -> list[str]:
        names = {*dir(type(self)), *self.__dict__}
        for kind in _MEMBERS:
            names.update(self.__dict__.get(kind, ()))
        return sorted(name for name in names if not name[:1].isdigit())

    def _need_init(self, what: str) -> None:
        if "_modules" not in self.__dict__:
            raise AttributeError(
                f"cannot assign {what} before Module.__init__() call: "
                f"{type(self).__name__}.__init__ must begin with super().__init__()"
            )

    def _forget(self, name: str, keep: str) -> None:
        """Take `name` out of everything but the registry `keep`, to which it will belong."""
        fields = self.__dict__
        if name in fields[keep]:
            return
        for kind in _MEMBERS:
            if name in fields[kind]:
                del fields[kind][name]
        fields["_non_persistent_buffers_set"].discard(name)
        if name in fields:
            del fields[name]

    def _refuse(self, name: str, value: Any, what: str) -> NoReturn:
        wanted = "Module" if what == "child module" else "Parameter"
        hint = f"; {value.__name__}() makes a block" if _is_block_class(value) else ""
        raise TypeError(
            f"cannot assign '{_type_name(value)}' as {what} '{name}' "
            f"(kuai.nn.{wanted} or None expected){hint}"
        )

    # -- registering parts ------------------------------------------------------------------

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter; `None` registers the name alone.

        Raises:
            AttributeError: `super().__init__()` has not been called.
            KeyError: the name is empty, contains a dot, or stands for something else.
            TypeError: `param` is not a `Parameter`.
            ValueError: `param` was computed from other tensors.
        """
        self._need_init("parameter")
        self._check_name(name, "parameter", self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{_type_name(param)}' object to parameter '{name}' "
                    "(kuai.nn.Parameter or None required)"
                )
            if param._node is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must "
                    f"be created explicitly. To express '{name}' as a function of another "
                    "Tensor, compute the value in the forward() method."
                )
            param = registered(_global_parameter_registration_hooks, self, name, param)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a buffer: a tensor that belongs to the state, but is not trained.

        Args:
            name: the name of the attribute.
            tensor: the buffer; `None` registers the name alone.
            persistent: whether it is part of the `state_dict`.

        Raises:
            AttributeError: `super().__init__()` has not been called.
            KeyError: the name is empty, contains a dot, or stands for something else.
            TypeError: `tensor` is not a tensor.
        """
        self._need_init("buffer")
        self._check_name(name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, TensorBase):
            raise TypeError(
                f"cannot assign '{_type_name(tensor)}' object to buffer '{name}' "
                "(kuai.Tensor or None required)"
            )
        self._buffers[name] = registered(_global_buffer_registration_hooks, self, name, tensor)
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child block.

        Raises:
            AttributeError: `super().__init__()` has not been called.
            KeyError: the name is empty, contains a dot, or stands for something else.
            TypeError: `module` is not a block.
        """
        self._need_init("module")
        if not isinstance(module, Module | None):
            _refuse_as_block(module)
        self._check_name(name, "module", self._modules)
        self._modules[name] = self._registered_module(name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    def _registered_module(self, name: str, module: Module | None) -> Any:
        if _global_module_registration_hooks:
            return registered(_global_module_registration_hooks, self, name, module)
        return module

    def _check_name(self, name: str, kind: str, members: Members) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_type_name(name)}")
        if name not in members and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')

    # -- finding parts ----------------------------------------------------------------------

    def get_submodule(self, target: str) -> Module:
        """The block at a path such as `"net.0"`; the block itself for `""`.

        Raises:
            AttributeError: there is no block at the path.
        """
        block = self
        for name in target.split(".") if target else ():
            found = getattr(block, name, None)
            if found is None and not hasattr(block, name):
                raise AttributeError(f"{block._get_name()} has no attribute `{name}`")
            if not isinstance(found, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
            block = found
        return block

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a block at a path such as `"net.0"`.

        Args:
            target: the path.
            module: the block.
            strict: whether there must be a block at the path already.

        Raises:
            AttributeError: there is no block to put it into, or to replace.
            ValueError: the path is empty, or `module` is not a block.
        """
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if hasattr(parent, name):
            if not isinstance(getattr(parent, name), Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        elif strict:
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as `"net.0.weight"`.

        Raises:
            AttributeError: there is no parameter at the path.
        """
        found = self._get_part(target)[1]
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{target.rpartition('.')[2]}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path such as `"net.1.running_mean"`.

        Raises:
            AttributeError: there is no buffer at the path.
        """
        block, found = self._get_part(target)
        name = target.rpartition(".")[2]
        if name not in block._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return found

    def _get_part(self, target: str) -> tuple[Module, Any]:
        path, _, name = target.rpartition(".")
        block = self.get_submodule(path)
        if not hasattr(block, name):
            raise AttributeError(f"{block._get_name()} has no attribute `{name}`")
        return block, getattr(block, name)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once.

        Args:
            recurse: whether those of the blocks within are included.
        """
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their paths.

        Args:
            prefix: what all paths begin with.
            recurse: whether those of the blocks within are included.
            remove_duplicate: whether a shared parameter comes only once.
        """
        return self._named_members(
            lambda block: block._parameters.items(), prefix, recurse, remove_duplicate
        )

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, each once.

        Args:
            recurse: whether those of the blocks within are included.
        """
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """All buffers with their paths.

        Args:
            prefix: what all paths begin with.
            recurse: whether those of the blocks within are included.
            remove_duplicate: whether a shared buffer comes only once.
        """
        return self._named_members(
            lambda block: block._buffers.items(), prefix, recurse, remove_duplicate
        )

    def _named_members(
        self,
        get_members_fn: Callable[[Module], Iterable[tuple[str, Any]]],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        seen: set[Any] = set()
        blocks: Iterable[tuple[str, Module]] = [(prefix, self)]
        if recurse:
            blocks = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, block in blocks:
            for name, x in get_members_fn(block):
                if x is None or x in seen:
                    continue
                if remove_duplicate:
                    seen.add(x)
                yield f"{path}.{name}" if path else name, x

    def children(self) -> Iterator[Module]:
        """The blocks directly within this one, each once."""
        for _, child in self.named_children():
            yield child

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The blocks directly within this one, each once, with their names."""
        seen = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This block and all blocks within, to any depth.

        Args:
            remove_duplicate: whether a shared block comes only once.
        """
        for _, block in self.named_modules(remove_duplicate=remove_duplicate):
            yield block

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This block and all blocks within, to any depth, with their paths.

        Args:
            memo: blocks that are left out; those that come are added to it.
            prefix: what all paths begin with.
            remove_duplicate: whether a shared block comes only once.
        """
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        if "_plain_containers" in self.__dict__:
            warn_of_hidden_blocks(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from child.named_modules(memo, path, remove_duplicate)

    # -- changing all parts -----------------------------------------------------------------

    def apply(self: M, fn: Callable[[Module], None]) -> M:
        """Call `fn` on every block within, and then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def _apply(self: M, fn: Callable[[Any], Any], recurse: bool = True) -> M:
        """Replace the values of all parameters, their gradients and all buffers by `fn` of them."""
        if recurse:
            for child in self.children():
                child._apply(fn)
        for parameter in self._parameters.values():
            if parameter is None:
                continue
            with no_grad():
                parameter.data = fn(parameter)
                if parameter.grad is not None:
                    grad = fn(parameter.grad)
                    parameter.grad = None
                    parameter.grad = grad.requires_grad_(False)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        epoch[0] += 1
        return self

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Convert floating parameters and buffers, in place: `to(device)`, `to(dtype)`, `to(x)`.

        Args:
            *args: a device, a data type, both in this order, or a tensor that has both.
            **kwargs: `device`, `dtype`, `non_blocking`, `memory_format`.

        Raises:
            TypeError: the data type is not a floating one.
        """
        device, dtype, non_blocking, memory_format = _parse_to(*args, **kwargs)
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(
                "nn.Module.to only accepts floating point or complex dtypes, but got desired "
                f"dtype={dtype}"
            )
        options = {} if memory_format is None else {"memory_format": memory_format}

        def convert(x: Any) -> Any:
            return x.to(device, dtype if x.is_floating_point() else None, non_blocking, **options)

        return self._apply(convert)

    def type(self: M, dst_type: Any) -> M:
        """Convert all parameters and buffers to a data type, in place."""
        return self._apply(lambda x: x.type(dst_type))

    def float(self: M) -> M:
        """Convert floating parameters and buffers to float32, in place."""
        return self._apply(lambda x: x.float() if x.is_floating_point() else x)

    def double(self: M) -> M:
        """Convert floating parameters and buffers to float64, in place."""
        return self._apply(lambda x: x.double() if x.is_floating_point() else x)

    def half(self: M) -> M:
        """Convert floating parameters and buffers to float16, in place."""
        return self._apply(lambda x: x.half() if x.is_floating_point() else x)

    def bfloat16(self: M) -> M:
        """Convert floating parameters and buffers to bfloat16, in place."""
        return self._apply(lambda x: x.bfloat16() if x.is_floating_point() else x)

    def cpu(self: M) -> M:
        """Nothing: all parameters and buffers are in the CPU's memory."""
        return self._apply(lambda x: x.cpu())

    def cuda(self: M, device: Any = None) -> M:
        """Move to a GPU.

        Raises:
            RuntimeError: kuai runs on the CPU only.
        """
        return self._apply(lambda x: x.cuda(device))

    def to_empty(self: M, *, device: Any, recurse: bool = True) -> M:
        """Give all parameters and buffers new memory, whose values are not set."""
        return self._apply(lambda x: ops.empty_like(x, device=device), recurse=recurse)

    def share_memory(self: M) -> M:
        """Nothing: worker processes of kuai are forked, and get their own copies."""
        return self

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Say for all parameters whether gradients flow to them."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        epoch[0] += 1
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters.

        Args:
            set_to_none: whether `grad` becomes `None`; otherwise it is filled with zeros.
        """
        for parameter in self.parameters():
            grad = parameter.grad
            if grad is None:
                continue
            if set_to_none:
                parameter.grad = None
            else:
                grad.detach_() if grad.grad_fn is not None else grad.requires_grad_(False)
                grad.zero_()

    def train(self: M, mode: bool = True) -> M:
        """Set this block and all blocks within to training mode (or, with False, out of it).

        Raises:
            ValueError: `mode` is not a bool.
        """
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        if self.training is not mode:
            self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self: M) -> M:
        """Set this block and all blocks within to evaluation mode."""
        return self.train(False)

    # -- copying ----------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for kind in _MEMBERS:
            for name, value in state.get(kind, {}).items():
                if state.get(name) is value:
                    state.pop(name, None)
        state.pop("_direct", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if registry.watchers:
            registry.watchers[-1].makes_block(self)
        fields = self.__dict__
        fields.update(state)
        fields["_direct"] = False
        fields.setdefault("_non_persistent_buffers_set", set())
        fields.setdefault("_is_full_backward_hook", None)
        for name in _OTHER_HOOKS:
            fields.setdefault(name, OrderedDict())
        owner = weakref.ref(self)
        for name in _WATCHED_HOOKS:
            fields[name] = registry.hooks(fields.get(name, ()), owner)
        for name in _MEMBERS:
            if name in fields:
                fields[name] = registry.members(fields[name], owner)

    def _replicate_for_data_parallel(self: M) -> M:
        replica = type(self).__new__(type(self))
        state = self.__getstate__()
        replica.__setstate__({**state, "_parameters": {}})
        return replica

    # -- printing ---------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the parentheses when the block is printed; for a class to define."""
        return ""

    def __repr__(self) -> str:
        text = self.extra_repr()
        extra = text.split("\n") if text else []
        children = [f"({name}): {_indented(repr(child))}" for name, child in self._modules.items()]
        if not children and len(extra) <= 1:
            return f"{self._get_name()}({text})"
        lines = "\n  ".join(extra + children)
        return f"{self._get_name()}(\n  {lines}\n)"

    def _repr_html_(self) -> str:
        """What a notebook shows: the picture of the block (`kuai.draw`)."""
        import kuai  # the picture's room is above this one

        return str(kuai.draw(self)._repr_html_())


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _is_block_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Module)


def _refuse_as_block(value: Any) -> NoReturn:
    if _is_block_class(value):
        name = value.__name__
        raise TypeError(f"{name} is a class, not a block; {name}() makes a block of it")
    raise TypeError(f"{_type_name(value)} is not a Module subclass")


def _type_name(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    if kind.__module__ == "builtins":
        return kind.__name__
    return f"{kind.__module__}.{kind.__qualname__}"


def _parse_to(
    *args: Any,
    device: Any = None,
    dtype: dtypes.dtype | None = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: Any = None,
    tensor: TensorBase | None = None,
    other: TensorBase | None = None,
) -> tuple[Any, dtypes.dtype | None, bool, Any]:
    """Device, dtype, `non_blocking` and memory format from the arguments of `to`."""
    tensor = other if tensor is None else tensor
    for x in args:
        if isinstance(x, TensorBase):
            tensor = x
        elif isinstance(x, dtypes.dtype):
            dtype = x
        elif isinstance(x, bool):
            non_blocking = x
        elif x is not None:
            device = x
    if tensor is not None:
        dtype = tensor.dtype
    return device, dtype, non_blocking, memory_format


__all__ = [
    "Module",
    "epoch",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]
