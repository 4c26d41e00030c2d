"""Hooks: functions to call before and after a block's forward and backward.

`Hooks` is the part of `Module` that registers them; `call_with_hooks` is what a call of a block
with hooks does. The hooks of all blocks, and those that see parts being registered, are global.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from kuai import ops
from kuai.core.base import TensorBase
from kuai.core.primitive import Primitive, meta_of, primitive
from kuai.core.tape import RemovableHandle, is_grad_enabled
from kuai.nn.registry import HookDict, epoch

if TYPE_CHECKING:
    from kuai.nn.module import Module

Hook = Callable[..., Any]


class _GlobalHooks(HookDict):
    """Hooks on all blocks; while there are any, no call takes the fast path."""

    def _changed(self) -> None:
        epoch[0] += 1
        global_hooks_in_use[:] = [hooks for hooks in _global_call_hooks if hooks]
        global_hooks_in_use.extend(captures)


_global_forward_pre_hooks = _GlobalHooks()
_global_forward_hooks = _GlobalHooks()
_global_backward_pre_hooks = _GlobalHooks()
_global_backward_hooks = _GlobalHooks()
_global_call_hooks = (
    _global_forward_pre_hooks,
    _global_forward_hooks,
    _global_backward_pre_hooks,
    _global_backward_hooks,
)
global_hooks_in_use: list[Any] = []
captures: list[Any] = []
"""The captures under way, which make the calls of blocks and the steps of optimizers themselves
(`call_block`, `call_optimizer`) and run hooks in a form that can be captured (`callable`); while
there are any, no call takes the fast path."""
_global_forward_hooks_with_kwargs: OrderedDict[int, bool] = OrderedDict()
_global_forward_hooks_always_called: OrderedDict[int, bool] = OrderedDict()
_global_is_full_backward_hook: bool | None = None

_global_parameter_registration_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_module_registration_hooks: OrderedDict[int, Hook] = OrderedDict()
_global_buffer_registration_hooks: OrderedDict[int, Hook] = OrderedDict()


def add_hook(hooks: Any, hook: Any, *flags: Any, prepend: bool = False) -> RemovableHandle:
    """Put a hook into a dictionary of hooks (and mark it in those of `flags`).

    Returns:
        The handle that removes it from all of them.
    """
    handle = RemovableHandle(hooks, *flags)
    while handle.id in hooks:  # numbers that came with a pickled block
        handle = RemovableHandle(hooks, *flags)
    hooks[handle.id] = hook
    for flag in flags:
        flag[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    epoch[0] += 1
    return handle


class Hooks:
    """The methods of `Module` that register hooks."""

    _forward_pre_hooks: HookDict
    _forward_pre_hooks_with_kwargs: OrderedDict[int, bool]
    _forward_hooks: HookDict
    _forward_hooks_with_kwargs: OrderedDict[int, bool]
    _forward_hooks_always_called: OrderedDict[int, bool]
    _backward_pre_hooks: HookDict
    _backward_hooks: HookDict
    _is_full_backward_hook: bool | None

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(block, args)` before every `forward`.

        Args:
            hook: may return a new value (or tuple of values) to pass to `forward`.
            prepend: whether it comes before the hooks that are there already.
            with_kwargs: whether it is called as `hook(block, args, kwargs)`, and returns a pair
                of both.

        Returns:
            A handle whose `remove()` takes the hook away.
        """
        flags = (self._forward_pre_hooks_with_kwargs,) if with_kwargs else ()
        self.__dict__["_direct"] = False
        return add_hook(self._forward_pre_hooks, hook, *flags, prepend=prepend)

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(block, args, output)` after every `forward`.

        Args:
            hook: may return a new output.
            prepend: whether it comes before the hooks that are there already.
            with_kwargs: whether it is called as `hook(block, args, kwargs, output)`.
            always_call: whether it is called even when `forward` raises.

        Returns:
            A handle whose `remove()` takes the hook away.
        """
        flags = []
        if with_kwargs:
            flags.append(self._forward_hooks_with_kwargs)
        if always_call:
            flags.append(self._forward_hooks_always_called)
        self.__dict__["_direct"] = False
        return add_hook(self._forward_hooks, hook, *flags, prepend=prepend)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(block, grad_output)` before the block's gradients are computed.

        Args:
            hook: gets a tuple of gradients; may return one to use in its place.
            prepend: whether it comes before the hooks that are there already.

        Returns:
            A handle whose `remove()` takes the hook away.
        """
        self.__dict__["_direct"] = False
        return add_hook(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(block, grad_input, grad_output)` when the block's gradients are computed.

        Args:
            hook: gets two tuples of gradients (`None` for what is no tensor); may return a
                tuple to use in the place of `grad_input`.
            prepend: whether it comes before the hooks that are there already.

        Returns:
            A handle whose `remove()` takes the hook away.
        """
        self._set_kind_of_backward_hooks(full=True)
        return add_hook(self._backward_hooks, hook, prepend=prepend)

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(block, grad_input, grad_output)` after the block's last operation's gradient.

        Deprecated in PyTorch: `register_full_backward_hook` sees the whole block.

        Returns:
            A handle whose `remove()` takes the hook away.
        """
        self._set_kind_of_backward_hooks(full=False)
        return add_hook(self._backward_hooks, hook)

    def _set_kind_of_backward_hooks(self, full: bool) -> None:
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a "
                "single Module. Please use only one of them."
            )
        self._is_full_backward_hook = full
        self.__dict__["_direct"] = False


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(block, args)` before the `forward` of every block there is."""
    return add_hook(_global_forward_pre_hooks, hook)


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(block, args, output)` after the `forward` of every block there is."""
    flags = []
    if with_kwargs:
        flags.append(_global_forward_hooks_with_kwargs)
    if always_call:
        flags.append(_global_forward_hooks_always_called)
    return add_hook(_global_forward_hooks, hook, *flags)


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(block, grad_output)` before the gradients of every block there is."""
    return add_hook(_global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(block, grad_input, grad_output)` for every block there is."""
    _set_kind_of_global_backward_hooks(full=True)
    return add_hook(_global_backward_hooks, hook)


def register_module_backward_hook(hook: Hook) -> RemovableHandle:
    """As `register_backward_hook`, for every block there is. Deprecated in PyTorch."""
    _set_kind_of_global_backward_hooks(full=False)
    return add_hook(_global_backward_hooks, hook)


def _set_kind_of_global_backward_hooks(full: bool) -> None:
    global _global_is_full_backward_hook
    if _global_is_full_backward_hook is (not full):
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module "
            "hook. Please use only one of them."
        )
    _global_is_full_backward_hook = full


def register_module_parameter_registration_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(block, name, parameter)` whenever one is registered; it may return another."""
    return add_hook(_global_parameter_registration_hooks, hook)


def register_module_module_registration_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(block, name, child)` whenever one is registered; it may return another."""
    return add_hook(_global_module_registration_hooks, hook)


def register_module_buffer_registration_hook(hook: Hook) -> RemovableHandle:
    """Call `hook(block, name, buffer)` whenever one is registered; it may return another."""
    return add_hook(_global_buffer_registration_hooks, hook)


def registered(hooks: OrderedDict[int, Hook], block: Module, name: str, value: Any) -> Any:
    """What global registration hooks make of a part that is being registered."""
    for hook in hooks.values():
        replacement = hook(block, name, value)
        if replacement is not None:
            value = replacement
    return value


@contextmanager
def captured_calls(capture: Any) -> Iterator[None]:
    """Let a capture make the calls of blocks."""
    captures.append(capture)
    global_hooks_in_use.append(capture)
    try:
        yield
    finally:
        captures.remove(capture)
        global_hooks_in_use.remove(capture)


def _runnable(hook: Hook) -> Hook:
    """A hook as it is run: while a capture is under way, in the form that can be captured."""
    return captures[-1].callable(hook) if captures and captures[-1].is_active() else hook


def has_hooks(block: Module) -> bool:
    """Whether a call of `block` has more to do than `forward`, for hooks of its own."""
    return bool(
        block._forward_hooks
        or block._forward_pre_hooks
        or block._backward_hooks
        or block._backward_pre_hooks
    )


def call_with_hooks(
    block: Module, args: tuple[Any, ...], kwargs: dict[str, Any], forward: Any = None
) -> Any:
    """Run the hooks of `block` and those of all blocks around its `forward`.

    `forward`, where given, stands in its place.
    """
    called: set[int] = set()
    result = None
    try:
        args, kwargs = _run_forward_pre_hooks(block, args, kwargs)
        backward = _backward_hooks_of(block)
        if backward is not None:
            args = backward.watch_inputs(args)
        result = (block.forward if forward is None else forward)(*args, **kwargs)
        result = _run_forward_hooks(block, args, kwargs, result, called)
        if backward is not None:
            result = backward.watch_outputs(result)
        _add_old_backward_hooks(block, args, result)
    except Exception:
        _run_always_called_hooks(block, args, kwargs, result, called)
        raise
    return result


def _run_forward_pre_hooks(
    block: Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    for number, hook in [*_global_forward_pre_hooks.items(), *block._forward_pre_hooks.items()]:
        hook = _runnable(hook)
        if number in block._forward_pre_hooks_with_kwargs:
            new = hook(block, args, kwargs)
            if new is None:
                continue
            if not (isinstance(new, tuple) and len(new) == 2):
                raise RuntimeError(
                    "forward pre-hook must return None or a tuple of "
                    f"(new_args, new_kwargs), but got {new}."
                )
            args, kwargs = new
        else:
            new = hook(block, args)
            if new is not None:
                args = new if isinstance(new, tuple) else (new,)
    return args, kwargs


def _forward_hooks_of(block: Module) -> list[tuple[int, Hook, bool, bool]]:
    """Number, hook, whether it takes keyword arguments, whether it is always called."""
    return [
        (
            number,
            _runnable(hook),
            number in _global_forward_hooks_with_kwargs,
            number in _global_forward_hooks_always_called,
        )
        for number, hook in _global_forward_hooks.items()
    ] + [
        (
            number,
            _runnable(hook),
            number in block._forward_hooks_with_kwargs,
            number in block._forward_hooks_always_called,
        )
        for number, hook in block._forward_hooks.items()
    ]


def _run_forward_hooks(
    block: Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: Any,
    called: set[int],
) -> Any:
    for number, hook, with_kwargs, _ in _forward_hooks_of(block):
        called.add(number)
        new = hook(block, args, kwargs, result) if with_kwargs else hook(block, args, result)
        if new is not None:
            result = new
    return result


def _run_always_called_hooks(
    block: Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: Any,
    called: set[int],
) -> None:
    """After an error: run those that want to run even then, and have not."""
    for number, hook, with_kwargs, always in _forward_hooks_of(block):
        if always and number not in called:
            try:
                if with_kwargs:
                    new = hook(block, args, kwargs, result)
                else:
                    new = hook(block, args, result)
                if new is not None:
                    result = new
            except Exception as error:
                warnings.warn(
                    "module forward hook with ``always_call=True`` raised an exception that was "
                    f"silenced as another error was raised in forward: {error}",
                    stacklevel=3,
                )


@primitive
class backward_hook(Primitive):
    """All inputs unchanged, as one operation: a place on the tape where hooks can stand."""

    inputs = ("xs",)
    variadic = True
    gradient_name = "BackwardHookFunctionBackward"
    is_identity = True

    def kernel(self, *xs: Any) -> Any:
        return xs

    def infer(self, *xs: Any) -> Any:
        return xs

    def gradient(self, grad: Any) -> Any:
        return grad


def _backward_hooks_of(block: Module) -> BackwardHooks | None:
    pre_hooks = [*_global_backward_pre_hooks.values(), *block._backward_pre_hooks.values()]
    hooks: list[Hook] = []
    if _global_is_full_backward_hook:
        hooks += _global_backward_hooks.values()
    if block._is_full_backward_hook:
        hooks += block._backward_hooks.values()
    if not (hooks or pre_hooks):
        return None
    return BackwardHooks(block, [*map(_runnable, hooks)], [*map(_runnable, pre_hooks)])


class BackwardHooks:
    """The full backward hooks of one block during one call.

    The inputs and the outputs each pass through one `backward_hook`. The gradients of the
    outputs are seen at the second of them, and kept until those of the inputs are at the first.
    """

    def __init__(self, block: Module, hooks: list[Hook], pre_hooks: list[Hook]) -> None:
        self.block = block
        self.hooks = hooks
        self.pre_hooks = pre_hooks
        self.grad_outputs: tuple[Any, ...] | None = None
        self.inputs: tuple[Any, ...] = ()  # tensors' shapes and types; None for what is no tensor
        self.input_positions: list[int] | None = None

    def watch_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Put the first place for hooks behind the arguments of `forward`."""
        self.inputs = tuple(meta_of(x) if isinstance(x, TensorBase) else None for x in args)
        node, positions, args = _watch(args)
        if node is not None:
            self.input_positions = positions
            node.register_hook(self._on_inputs)
        return args

    def watch_outputs(self, result: Any) -> Any:
        """Put the second place for hooks behind what `forward` returned."""
        if not isinstance(result, (TensorBase, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of "
                f"Tensors but received {type(result)}",
                stacklevel=4,
            )
            return result
        outputs = result if isinstance(result, tuple) else (result,)
        node, positions, outputs = _watch(outputs)
        if node is not None:
            count = len(outputs)

            def on_outputs(grad_inputs: Any, grad_outputs: Any) -> Any:
                return self._on_outputs(_spread(positions, grad_outputs, count), positions)

            node.register_hook(on_outputs)
        return outputs if isinstance(result, tuple) else outputs[0]

    def _on_outputs(self, grads: tuple[Any, ...], positions: list[int]) -> tuple[Any, ...]:
        for hook in self.pre_hooks:
            new = hook(self.block, grads)
            if new is None:
                continue
            new = new if isinstance(new, tuple) else (new,)
            if len(new) != len(grads):
                raise RuntimeError(
                    "Backward pre hook returned an invalid number of grad_output, "
                    f"got {len(new)}, but expected {len(grads)}"
                )
            grads = new
        self.grad_outputs = grads
        if self.input_positions is None:
            self._run_without_inputs(grads)
        return tuple(grads[i] for i in positions)

    def _run_without_inputs(self, grads: tuple[Any, ...]) -> None:
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module "
            "outputs since no inputs require gradients.",
            stacklevel=2,
        )
        for hook in self.hooks:
            new = hook(self.block, (None,) * len(self.inputs), grads)
            if new is not None and not (
                isinstance(new, tuple) and all(grad is None for grad in new)
            ):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always "
                    "return None or None for all gradients."
                )
        self.grad_outputs = None

    def _on_inputs(self, grad_inputs: Any, grad_outputs: Any) -> Any:
        if self.grad_outputs is None:
            return None  # the gradient came round the outputs, as in a double backward
        assert self.input_positions is not None
        grads = tuple(
            ops.zeros(like.shape, dtype=like.dtype) if grad is None and like is not None else grad
            for grad, like in zip(
                _spread(self.input_positions, grad_inputs, len(self.inputs)),
                self.inputs,
                strict=True,
            )
        )
        for hook in self.hooks:
            new = hook(self.block, grads, self.grad_outputs)
            if new is None:
                continue
            new = new if isinstance(new, tuple) else (new,)
            if len(new) != len(grads):
                raise RuntimeError(
                    "Backward hook returned an invalid number of grad_input, "
                    f"got {len(new)}, but expected {len(grads)}"
                )
            grads = new
        self.grad_outputs = None
        return tuple(grads[i] for i in self.input_positions)


def _watch(values: tuple[Any, ...]) -> tuple[Any, list[int], tuple[Any, ...]]:
    """Pass the tensors among `values` through a `backward_hook`, where they need gradients.

    Returns:
        Its node (`None` where no gradient is needed), the tensors' positions, the new values.
    """
    positions = [i for i, x in enumerate(values) if isinstance(x, TensorBase)]
    if not (is_grad_enabled() and any(values[i].requires_grad for i in positions)):
        return None, positions, values
    watched = backward_hook(*(values[i] for i in positions))
    new = list(values)
    for i, x in zip(positions, watched, strict=True):
        x._counter = values[i]._counter  # the memory is the same
        if not values[i].requires_grad:
            x._requires_grad, x._node = False, None
        new[i] = x
    node = next(x._node for x in watched if x._node is not None).node
    if type(values) is tuple:
        return node, positions, tuple(new)
    return node, positions, cast("Any", type(values))(*new)  # a named tuple


def _spread(positions: list[int], grads: Any, count: int) -> tuple[Any, ...]:
    """Gradients of tensors at some positions as a tuple of `count`, with `None` elsewhere."""
    result: list[Any] = [None] * count
    for i, grad in zip(positions, grads, strict=False):
        result[i] = grad
    return tuple(result)


def _add_old_backward_hooks(block: Module, args: tuple[Any, ...], result: Any) -> None:
    """Put hooks of `register_backward_hook` on the operation that made the first output."""
    hooks: list[Hook] = []
    if _global_is_full_backward_hook is False:
        hooks += _global_backward_hooks.values()
    if block._is_full_backward_hook is False:
        hooks += block._backward_hooks.values()
    if not hooks:
        return
    first = result
    while not isinstance(first, TensorBase):
        first = next(iter(first.values())) if isinstance(first, dict) else first[0]
    node = first.grad_fn
    if node is None:
        return
    for hook in hooks:

        def on_node(grad_inputs: Any, grad_outputs: Any, hook: Hook = hook) -> Any:
            return hook(block, tuple(grad_inputs), tuple(grad_outputs))

        node.register_hook(on_node)
    _warn_of_old_backward_hooks(args, result, node)


def _warn_of_old_backward_hooks(args: tuple[Any, ...], result: Any, node: Any) -> None:
    outputs = result if isinstance(result, tuple) else (result,)
    if not all(isinstance(x, TensorBase) for x in outputs):
        what = "that does not return a single Tensor or a tuple of Tensors"
    elif not all(isinstance(x, TensorBase) for x in args):
        what = "that does not take as input a single Tensor or a tuple of Tensors"
    elif len({id(x.grad_fn) for x in outputs if x.grad_fn is not None}) > 1:
        what = "whose outputs are generated by different autograd Nodes"
    elif {id(x.grad_fn) for x in args if x.grad_fn is not None} != {
        id(n[0]) for n in node.next_functions
    }:
        what = "whose forward contains multiple autograd Nodes"
    else:
        return
    warnings.warn(
        f"Using a non-full backward hook on a Module {what} is deprecated and will be removed in "
        "future versions. This hook will be missing some of the gradients. Please use "
        "register_full_backward_hook to get the documented behavior.",
        FutureWarning,
        stacklevel=5,
    )
