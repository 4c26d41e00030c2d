"""One capture of Python code: calls, attributes and items as the rewritten code asks for them.

Functions of the user's are rewritten when they are called; everything read from outside is noted;
changes of what lives outside, and calls of functions that nobody can look into with tensors that
have no values yet, are refused.
"""

from __future__ import annotations

import copy
import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

from kuai.compiler.capture import trees
from kuai.compiler.capture.changes import Changes
from kuai.compiler.capture.held import Held
from kuai.compiler.capture.hooks import Hooks, Range
from kuai.compiler.capture.impure import refuse_impure
from kuai.compiler.capture.observing import CONTAINERS, TRUSTED
from kuai.compiler.capture.python_functions import GETTERS
from kuai.compiler.capture.reads import Reads
from kuai.compiler.capture.recorder import Recorder
from kuai.compiler.capture.records import BUFFERS
from kuai.compiler.capture.special import SPECIAL, has_captured, replacement
from kuai.compiler.capture.stepping import EagerFirstError, Stepping
from kuai.compiler.capture.tensor_functions import know_custom_functions
from kuai.compiler.capture.undecided import Maybe, is_open, lifted
from kuai.compiler.capture.whole import look_through
from kuai.compiler.rewrite.functions import (
    SourceError,
    is_library,
    is_own,
    is_rewritten,
    rewritten,
)
from kuai.compiler.run.uncompiled import uncompiled
from kuai.core.base import TensorBase
from kuai.nn.block_path import name_within
from kuai.nn.hooks import call_with_hooks
from kuai.nn.lazy import LazyModuleMixin
from kuai.nn.module import Module
from kuai.optim.lr_scheduler.scheduler import LRScheduler
from kuai.optim.optimizer import Optimizer

_CHANGING: list[tuple[type, set[str]]] = [
    (list, {"append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse"}),
    (dict, {"update", "pop", "popitem", "clear", "setdefault"}),
    (set, {"add", "discard", "remove", "pop", "clear", "update"}),
    (deque, {"append", "appendleft", "extend", "pop", "popleft", "clear", "rotate"}),
]

_BY_VALUES = ("sort", "pop", "insert", "remove")  # what lists do as their items or places say
_LOGS = {"debug", "info", "warning", "warn", "error", "critical", "log"}
_CALL = "__call__"
_FUNCTIONS = (FunctionType, MethodType, functools.partial)


class Session(Changes):
    """A capture under way, as the hooks see it.

    Args:
        recorder: records the operations.
        reads: notes what is read.
        held: the attributes from outside that are arguments.
    """

    def __init__(self, recorder: Recorder, reads: Reads, held: Sequence[Held] = ()) -> None:
        know_custom_functions()
        super().__init__(recorder, reads, held)
        self.stepping = Stepping(self)
        self._rewritten: dict[int, tuple[Any, FunctionType]] = {}
        self._paths: dict[tuple[int, int], str] = {}
        self._new_blocks: dict[int, Module] = {}
        self.effects: list[Callable[[], object]] = []  # of each call, when it is over

    # -- calls --------------------------------------------------------------------------------

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`function(*args, **kwargs)` as the capture does it."""
        if is_open(function):
            return lifted(function, lambda f: self.call(f, args, kwargs))
        function = uncompiled(function)
        found = self._undecided(function, args, kwargs)
        if found is not None:
            return lifted(found, lambda x: self.call(function, *_with(found, x, args, kwargs)))
        kind = type(function)
        if kind is FunctionType:
            return self._call_function(function, args, kwargs)
        if kind is MethodType:
            return self._call_method(function, args, kwargs)
        special = replacement(function)
        if special is not None:
            return special(self, *args, **kwargs)
        if isinstance(function, Module):
            return function(*args, **kwargs)
        if isinstance(function, type):
            return self._construct(function, args, kwargs)
        if kind is functools.partial:
            if self.reads.is_outside(function):
                self.reads.walked(self.reads.outside(function.keywords))
            return self.call(function.func, function.args + args, {**function.keywords, **kwargs})
        if isinstance(function, BuiltinFunctionType):
            return self._call_builtin(function, args, kwargs)
        if kind in GETTERS:
            return GETTERS[kind](self, function, *args)
        call = getattr(kind, _CALL, None)
        inner = getattr(function, "__wrapped__", None)
        if isinstance(inner, FunctionType) and kind.__module__ == "functools":
            return self.call(inner, args, kwargs)  # what a cache keeps must not be captured
        if isinstance(call, FunctionType) and not is_own(call):
            return self.function(call)(function, *args, **kwargs)
        return self._call_foreign(function, args, kwargs)

    def _undecided(self, function: Any, args: Any, kwargs: Any) -> Any:
        """An argument of which values decide what it is, where the function could not take it."""
        found = next((x for x in trees.leaves((args, kwargs)) if is_open(x)), None)
        if found is None:
            return None
        if isinstance(function, Module):
            function = function.forward
        if isinstance(function, MethodType):
            function = function.__func__
        if isinstance(function, FunctionType):
            kuais = str(function.__globals__.get("__name__", "")).split(".")[0] == "kuai"
            takes = not (kuais or replacement(function) or is_library(function))
        else:
            takes = isinstance(getattr(function, "__self__", None), CONTAINERS)
        return None if takes else found

    def _call_function(
        self, function: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        special = replacement(function)
        if special is not None:
            return special(self, *args, **kwargs)
        if self.stepping.rewrites(function):
            return self.function(function)(*args, **kwargs)
        if is_own(function) or is_library(function):
            refuse_impure(self, function, args)
            if function.__module__ == "logging" and function.__name__ in _LOGS:
                return self._later(f"a {function.__name__} of logging", function, args, kwargs)
            owner = args[0] if args else None
            is_method = getattr(type(owner), function.__name__, None) is function
            if is_method and isinstance(owner, CONTAINERS) and self.reads.is_outside(owner):
                return self._unchanged(function, args, kwargs)
            if is_library(function):
                look_through(self, (args, kwargs))
            args, kwargs = self._prepared(args, kwargs)
            result = self.function(function)(*args, **kwargs)
            return self.made(result) if isinstance(result, CONTAINERS) else result
        if str(function.__globals__.get("__name__", "")).split(".")[0] == "numpy":
            return self._call_foreign(function, args, kwargs)
        return self.function(function)(*args, **kwargs)

    def _call_method(
        self, method: MethodType, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        owner, function = method.__self__, method.__func__
        if not isinstance(function, FunctionType):
            return self._call_foreign(method, args, kwargs)
        if isinstance(owner, Module) and is_own(function):
            self._touch_parts(owner, function.__name__)
            if function is Module.train:
                return self._set_mode(owner, *args, **kwargs)
            if function is Module.eval:
                return self._set_mode(owner, False)
        if isinstance(owner, LRScheduler) and is_own(function):
            return self._call_scheduler(owner, function, args, kwargs)
        if isinstance(owner, Optimizer):
            return self.call_optimizer(owner, function, args, kwargs)
        if isinstance(owner, TensorBase) and is_own(function):
            special = SPECIAL.get(function)
            if special is not None:
                return special(self, owner, *args, **kwargs)
        return self._call_function(function, (owner, *args), kwargs)

    def _call_builtin(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        owner = getattr(function, "__self__", None)
        name = function.__name__
        refuse_impure(self, function, args)
        if isinstance(owner, (list, tuple)) and name in ("index", "count"):
            self.walked(owner)
            if has_captured(self, [owner, args]):
                return self.on_list(name, owner, *args)
        for kind, names in _CHANGING:
            if isinstance(owner, kind):
                if name == "append" and self._is_rolled(owner, args):
                    return None
                if name == "get" and self.stepping.is_state(owner):
                    found = function(*args, **kwargs)
                    is_maybe = isinstance(found, Maybe)
                    return Maybe(found.value, found.defined, None) if is_maybe else found
                if name in names:
                    self.changes_container(owner, name)
                    decides = (owner, args) if name in ("sort", "remove") else args[:1]
                    if kind is list and name in _BY_VALUES and has_captured(self, decides):
                        return self.on_list(name, owner, *args, **kwargs)
                    if name == "sort" and kwargs.get("key") is not None:
                        return self.on_list(name, owner, *args, **kwargs)
                elif name == "get" and kind is dict and self.reads.is_outside(owner):
                    return self._get(owner, *args)  # type: ignore[arg-type]
                else:
                    self.walked(owner)
                args, kwargs = self._prepared(args, kwargs)
                return function(*args, **kwargs)
        if isinstance(owner, (str, bytes)) and name in ("format", "format_map", "join"):
            self.spelled((args, kwargs))
        if isinstance(owner, (str, bytes, tuple, int, float, type(None), ModuleType, type)):
            args, kwargs = self._prepared(args, kwargs)
        else:
            look_through(self, owner)
        return self._call_foreign(function, args, kwargs)

    def on_list(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """A method of a list, where values decide what it does."""
        from kuai.compiler.capture.ordering import ON_LISTS

        return ON_LISTS[name](self, *args, **kwargs)

    def _get(self, owner: dict[Any, Any], key: Any, default: Any = None) -> Any:
        if key in owner:
            return self.item(owner, key)
        self.reads.missing(owner, key)
        return default

    def _call_foreign(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A function whose inside nobody can see; it may have plain values."""
        module = getattr(function, "__module__", None) or type(function).__module__
        root = str(module).split(".")[0]
        refuse_impure(self, function, args)
        if root != "kuai":
            for x in (*args, *kwargs.values()):
                look_through(self, x)
        if root != "kuai" and root not in TRUSTED:
            captured = [x for x in trees.leaves((args, kwargs)) if self.recorder.is_captured(x)]
            if captured:
                name = getattr(function, "__qualname__", repr(function))
                self.recorder.refuse(
                    f"a call of {module}.{name}, which is not Python code that can be captured, "
                    "with a tensor whose values are known only when the program runs",
                    "use kuai's own operations",
                )
        args, kwargs = self._prepared(args, kwargs)
        result = function(*args, **kwargs)
        return self.made(result) if isinstance(result, CONTAINERS) else result

    def _prepared(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments for code that is not rewritten: functions among them are."""
        new = tuple([self._for_others(x) for x in args])
        return new, {k: self._for_others(x) for k, x in kwargs.items()}

    def _for_others(self, x: Any) -> Any:
        self.looks_at(x)
        self.advances(x)
        if isinstance(x, _FUNCTIONS):
            return self.callable(x)
        if isinstance(x, Range):
            self.recorder.refuse(
                "a range whose length is the value of a tensor, handed to another function",
                "walk through it with a `for` loop",
            )
        if isinstance(x, (list, tuple, dict, set, *BUFFERS)):
            self.walked(x)
        if isinstance(x, TensorBase):
            self.recorder.touch(x)
        elif isinstance(x, (list, tuple)):
            for item in x:
                if isinstance(item, TensorBase):
                    self.recorder.touch(item)
        return x

    def callable(self, function: Any) -> Any:
        """A function that code which is not rewritten may call, in its rewritten form."""
        function = uncompiled(function)
        if isinstance(function, FunctionType):
            return self.function(function)
        if isinstance(function, MethodType) and isinstance(function.__func__, FunctionType):
            return MethodType(self.function(function.__func__), function.__self__)
        if isinstance(function, functools.partial):
            return functools.partial(
                self.callable(function.func), *function.args, **function.keywords
            )
        return function

    def function(self, function: FunctionType) -> FunctionType:
        """A function in its rewritten form; kuai's and Python's own stay as they are."""
        if is_rewritten(function):
            return function
        if self.stepping.rewrites(function):
            return rewritten(function, Hooks(self, function))
        kept = self._rewritten.get(id(function))
        if kept is not None:
            return kept[1]
        if is_own(function) or is_library(function):
            self._rewritten[id(function)] = (function, function)  # it may refer to itself
            new = self._around(function)
        else:
            self.reads.function(function)
            try:
                new = rewritten(function, Hooks(self, function))
            except SourceError as error:
                self.recorder.refuse(
                    f"{error}, so that `{function.__qualname__}` cannot be captured",
                    "define it in a file, or compile only what does not call it",
                )
        self._rewritten[id(function)] = (function, new)
        return new

    def _around(self, function: FunctionType) -> FunctionType:
        """A wrapper of kuai's or Python's around functions of the user's, which are rewritten."""
        cells = function.__closure__
        if not cells:
            return function
        changed = False
        new: list[CellType] = []
        for cell in cells:
            try:
                content = cell.cell_contents
            except ValueError:
                new.append(cell)
                continue
            other = self.callable(content) if isinstance(content, _FUNCTIONS) else content
            changed = changed or other is not content
            new.append(cell if other is content else CellType(other))
        if not changed:
            return function
        result = FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            tuple(new),
        )
        result.__kwdefaults__ = function.__kwdefaults__
        result.__dict__.update(function.__dict__)
        return result

    def _construct(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A new object, whose `__init__` is captured where it is the user's."""
        if cls.__new__ is object.__new__ and type(cls).__call__ is type.__call__:
            start = cls.__init__
            if isinstance(start, FunctionType) and not is_own(start) and not is_library(start):
                result = self.made(cls.__new__(cls))
                if start.__code__.co_filename.startswith("<"):  # a dataclass's
                    start(result, *args, **kwargs)
                else:
                    self.function(start)(result, *args, **kwargs)
                return result
        args, kwargs = self._prepared(args, kwargs)
        if cls.__module__.split(".")[0] not in (*TRUSTED, "kuai"):
            root = cls.__module__.split(".")[0]
            if root in ("numpy", "torch", "random"):
                return self._call_foreign(cls, args, kwargs)
        result = cls(*args, **kwargs)
        if not isinstance(result, (TensorBase, type)):
            self.made(result)
        return result

    # -- blocks and optimizers ------------------------------------------------------------------

    def call_block(self, block: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call of a block: its `forward` is captured, and its path is noted."""
        block = uncompiled(block)
        self.reads.block(block)
        forward = block.forward
        function = getattr(forward, "__func__", forward)
        if isinstance(function, FunctionType) and not is_own(function):
            if "forward" not in block.__dict__:
                self.reads.attribute(type(block), "forward", function)
            forward = self.callable(forward)
        path = self._path(block)
        with self.within(block, path, args):
            return call_with_hooks(block, args, kwargs, forward)

    @contextmanager
    def within(self, block: Module, path: str, arguments: Sequence[Any]) -> Iterator[None]:
        """While a block is being called."""
        self.blocks.append((block, path))
        try:
            with self.recorder.within(block, path, arguments):
                yield
        finally:
            self.blocks.pop()

    def _path(self, block: Module) -> str:
        if not self.blocks:
            return block._get_name()
        outer, path = self.blocks[-1]
        key = (id(outer), id(block))
        if key not in self._paths:
            self._paths[key] = name_within(outer, block)
        return f"{path}.{self._paths[key]}"

    def _touch_parts(self, block: Module, method: str) -> None:
        for part in block.modules():
            self.reads.block(part)
        for p in block.parameters():
            self.touch_gradient(p, overwritten=method == "zero_grad")

    def makes_block(self, block: Module) -> None:
        """A block is being made."""
        self._new_blocks[id(block)] = block

    def changes_block(self, block: Module) -> None:
        """Refuse a change of a block from outside that no captured code makes."""
        if self.is_active() and self._new_blocks.get(id(block)) is not block:
            if isinstance(block, LazyModuleMixin):
                raise self.recorder.failed(
                    EagerFirstError(
                        "the parameters of a lazy block, which its first call makes",
                        "let the first call run eagerly",
                    )
                )
            self.recorder.refuse(
                f"a change of a {block._get_name()} that lives outside of the compiled function: "
                "it would happen once, when the function is compiled, and not in each call",
                "change it where the compiled function is called",
            )

    def _set_mode(self, block: Module, mode: bool = True, **named: Any) -> Module:
        """`block.train(mode)`."""
        mode = named.get("mode", mode)
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        changed = [part for part in block.modules() if part.training is not mode]
        new = [part for part in changed if self._new_blocks.get(id(part)) is part]
        for part in new:
            part.training = mode
        if len(new) < len(changed):
            self.held.set_modes([part for part in changed if part not in new], mode)
        return block

    def _call_scheduler(
        self, scheduler: LRScheduler, function: FunctionType, args: Any, kwargs: Any
    ) -> Any:
        """A method of a scheduler: its step is made when each call of the program is over."""
        if function.__name__ != "step" or has_captured(self, [list(args), kwargs]):
            self.recorder.refuse(
                f"a call of {type(scheduler).__name__}.{function.__name__}() that needs values of "
                "now",
                "call it where the compiled function is called",
            )
        self._later("a step of a scheduler", function, (scheduler, *args), kwargs)
        self.stepping.finished.add(id(scheduler.optimizer))

    def _later(self, what: str, function: FunctionType, args: Any, kwargs: Any) -> None:
        """A call that is made when each call of the program is over."""
        if self.recorder.is_nested:
            self.recorder.refuse(
                f"{what} in a loop or under a condition on the values of tensors",
                "call it where the compiled function is called",
            )
        self.spelled((args, kwargs))
        self.effects.append(functools.partial(function, *args, **kwargs))

    def _unchanged(self, function: FunctionType, args: Any, kwargs: Any) -> Any:
        """A method of a container of the standard library: it may look, and change nothing."""
        look_through(self, (args, kwargs))
        owner = args[0]
        before = copy.copy(owner)
        args, kwargs = self._prepared(args, kwargs)
        result = function(*args, **kwargs)
        if list(before) != list(owner) or (isinstance(owner, dict) and before != owner):
            owner.clear()
            owner.update(before) if isinstance(owner, (dict, set)) else owner.extend(before)
            self.changes_container(owner, function.__name__)
        return self.made(result) if isinstance(result, CONTAINERS) else result

    def steps(self, optimizer: Optimizer) -> bool:
        """Whether this capture has to make a step of an optimizer that begins now."""
        return self.is_active() and not self.stepping.is_under_way(optimizer)

    def call_optimizer(
        self,
        optimizer: Optimizer,
        function: FunctionType,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """A method of an optimizer."""
        return self.stepping.call(optimizer, function, args, kwargs)


def _with(
    old: Any, new: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with something in the place of something else."""
    changed: Any = trees.map_leaves(lambda x: new if x is old else x, (args, kwargs))
    return changed
