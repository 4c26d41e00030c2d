"""One capture of Python code: calls, attributes and items as the rewritten code asks for them.

Functions of the user's are rewritten when they are called; everything read from outside is noted;
changes of what lives outside, and calls of functions that nobody can look into with tensors that
have no values yet, are refused.
"""

from __future__ import annotations

import functools
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

from kuai import ops
from kuai.compiler.capture import trees
from kuai.compiler.capture.arrivals import as_grad, as_variable
from kuai.compiler.capture.calls import GETTERS, SPECIAL, know_custom_functions, refuse_impure
from kuai.compiler.capture.choosing import chosen
from kuai.compiler.capture.held import Held, HeldAttributes
from kuai.compiler.capture.hooks import Hooks, Range
from kuai.compiler.capture.loops import Rolled
from kuai.compiler.capture.numbers import Number, number
from kuai.compiler.capture.places import Attribute, Contents, Item
from kuai.compiler.capture.reads import BUFFERS, MISSING, Reads
from kuai.compiler.capture.recorder import Recorder, user_place
from kuai.compiler.capture.stepping import Stepping
from kuai.compiler.capture.undecided import Maybe, is_open, lifted
from kuai.compiler.capture.whole import look_through
from kuai.compiler.rewrite.functions import is_library, is_own, is_rewritten, rewritten
from kuai.compiler.rewrite.source import SourceError
from kuai.compiler.run.uncompiled import uncompiled
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, wrap
from kuai.core.inplace import assign
from kuai.core.tape import no_grad
from kuai.nn.block_path import name_within
from kuai.nn.hooks import call_with_hooks
from kuai.nn.module import Module
from kuai.optim.optimizer import Optimizer
from kuai.tensor import Tensor

_CHANGING: list[tuple[type, set[str]]] = [
    (list, {"append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse"}),
    (dict, {"update", "pop", "popitem", "clear", "setdefault"}),
    (set, {"add", "discard", "remove", "pop", "clear", "update"}),
    (deque, {"append", "appendleft", "extend", "pop", "popleft", "clear", "rotate"}),
]
_CONTAINERS = (list, dict, set, deque)
_FUNCTIONS = (FunctionType, MethodType, functools.partial)
_MISSING: Any = object()
_CALL = "__call__"


class Session:
    """A capture under way, as the hooks see it.

    Args:
        recorder: records the operations.
        reads: notes what is read.
        held: the attributes from outside that are arguments.
    """

    def __init__(self, recorder: Recorder, reads: Reads, held: Sequence[Held] = ()) -> None:
        know_custom_functions()
        self.recorder = recorder
        self.reads = reads
        self.held = HeldAttributes(recorder, reads, held)
        self.blocks: list[tuple[Module, str]] = []
        self.custom_functions: dict[type, type[Any]] = {}  # in their rewritten form
        self._describing = False
        self.rolled: Rolled | None = None
        self._rewritten: dict[int, tuple[Any, FunctionType]] = {}
        self._spent: dict[int, Iterator[Any]] = {}
        self.stepping = Stepping(self)
        self._paths: dict[tuple[int, int], str] = {}

    def is_active(self) -> bool:
        """Whether this capture is under way in this thread."""
        recorder = self.recorder
        return primitives.intercept is recorder and threading.get_ident() == recorder.thread

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
        try:
            special = SPECIAL.get(function)
        except TypeError:
            special = None
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
            takes = not (kuais or function in SPECIAL or is_library(function))
        else:
            takes = isinstance(getattr(function, "__self__", None), _CONTAINERS)
        return None if takes else found

    def _call_function(
        self, function: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if function in SPECIAL:
            return SPECIAL[function](self, *args, **kwargs)
        if self.stepping.rewrites(function):
            return self.function(function)(*args, **kwargs)
        if is_own(function) or is_library(function):
            refuse_impure(self, function, args)
            if is_library(function):
                look_through(self, (args, kwargs))
            args, kwargs = self._prepared(args, kwargs)
            result = self.function(function)(*args, **kwargs)
            return self.made(result) if isinstance(result, _CONTAINERS) else result
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
        if root != "kuai" and root not in _TRUSTED:
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
        return self.made(result) if isinstance(result, _CONTAINERS) else result

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
        if cls.__module__.split(".")[0] not in (*_TRUSTED, "kuai"):
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

    def touch_gradient(self, p: Any, overwritten: bool = False) -> None:
        """Note a leaf whose `grad` is about to be read, or written without being read."""
        # Where a condition decides whether it is written, what it was may stay.
        overwritten = overwritten and len(self.recorder.scopes) == 1
        if not isinstance(p._payload, (TensorBase, type(None))):
            known = id(p) in self.recorder.outer
            self.recorder.touch(p)
            outer = self.recorder.outer.get(id(p))
            if outer is not None and not (overwritten and not known):
                outer.reads_grad = outer.reads_grad or not outer.overwritten
            elif outer is not None:
                outer.overwritten = True

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

    # -- attributes and items -------------------------------------------------------------------

    def attribute(self, owner: Any, name: str, default: Any = _MISSING) -> Any:
        """`owner.name`, noted as read where it came from outside."""
        if isinstance(owner, TensorBase):
            return self._tensor_attribute(owner, name)
        if isinstance(owner, Module) or self.reads.is_outside(owner):
            found = self.held.find(owner, name)
            if found is not MISSING:
                return found
        if default is _MISSING:
            value = self._attribute(owner, name)
        else:
            value = getattr(owner, name, _MISSING)
            if value is _MISSING:
                if not isinstance(owner, (Module, type(None))):
                    self.reads.attribute(owner, name, MISSING)
                return default
        if isinstance(owner, Module):
            return self._block_attribute(owner, name, value)
        if isinstance(owner, ModuleType):
            root = owner.__name__.split(".")[0]
            if root == "kuai" or root in _TRUSTED or name not in owner.__dict__:
                return value
            return self.reads.item(owner.__dict__, name, value, f"{owner.__name__}.{name}")
        if isinstance(owner, type):
            return self._class_attribute(owner, name, value)
        if type(owner) in _QUIET or isinstance(owner, _CONTAINERS):
            return value
        fields = getattr(owner, "__dict__", None)
        if isinstance(fields, dict) and name in fields:
            if self.reads.is_outside(owner) or isinstance(owner, FunctionType):
                return self.reads.item(fields, name, value, f"{type(owner).__name__}.{name}")
            return value
        if hasattr(type(owner), name):
            self.reads.kind_of(owner)
            if isinstance(fields, dict) and self.reads.is_outside(owner):
                self.reads.missing(fields, name)
            if not isinstance(value, BuiltinFunctionType):
                self._class_attribute(type(owner), name, getattr(type(owner), name))
            if self.reads.is_outside(owner) and not callable(value):
                return self.reads.attribute(owner, name, value)
        return value

    def _attribute(self, owner: Any, name: str) -> Any:
        """`getattr`, with the user's properties captured."""
        found = getattr(type(owner), name, None)
        getter = found.fget if type(found) is property else None
        if isinstance(getter, FunctionType) and not is_own(getter) and not is_library(getter):
            return self.function(getter)(owner)
        fallback = None
        if not isinstance(owner, (type, ModuleType)):
            fallback = self.method_of(owner, "__getattr__")
        if fallback is not None:
            try:
                return object.__getattribute__(owner, name)
            except AttributeError:
                self.reads.attribute(type(owner), "__getattr__", type(owner).__getattr__)
                return fallback(name)
        return getattr(owner, name)

    def _block_attribute(self, block: Module, name: str, value: Any) -> Any:
        self.reads.block(block)
        if name in block.__dict__:
            return self.reads.block_item(block, name, value)
        self._class_attribute(type(block), name, getattr(type(block), name, None))
        return value

    def _class_attribute(self, cls: type, name: str, value: Any) -> Any:
        if cls.__module__.split(".")[0] in ("kuai", *_TRUSTED):
            return value
        if name.startswith("__"):
            return value
        return self.reads.attribute(cls, name, value)

    def _tensor_attribute(self, x: Any, name: str) -> Any:
        if name in ("grad", "requires_grad", "is_leaf", "grad_fn"):
            self.recorder.touch(x)
            if name == "grad":
                self.touch_gradient(x)
                return as_variable(x._grad)
        return getattr(x, name)

    def item(self, owner: Any, index: Any) -> Any:
        """`owner[index]`, noted as read where it came from outside."""
        if isinstance(owner, Tensor):
            found = owner[self.index(index)]
            if self.is_position(index) and found._view is None:
                self.stands_for_view(found, owner)
            return found
        if self.stepping.is_state(owner):
            return self._state_item(owner, index)
        if self.method_of(owner, "__getitem__") is None and self.recorder.is_captured(index):
            return chosen(self, owner, index)
        self.looks_at(owner)
        value = self._user_item(owner, index)
        if isinstance(owner, dict):
            if self.reads.is_outside(owner) and index in owner:
                return self.reads.item(owner, index, value, f"[{index!r}]")
        elif isinstance(owner, (list, tuple, deque)):
            self.walked(owner)
        elif not isinstance(owner, (str, bytes, Module)):
            look_through(self, owner)
        return value

    def stands_for_view(self, found: Any, owner: Any) -> None:
        """Note that a tensor, here of its own, would eagerly be a view of another one."""
        self.recorder.entangle(found, _root(owner))

    def negated(self, x: Any) -> Any:
        """`not x`, for a bool."""
        if not self.recorder.is_captured(x):
            return not x
        return number(self.recorder.negated(wrap(x._payload)))

    def _state_item(self, owner: Any, index: Any) -> Any:
        """An item of an optimizer's state, which a condition may have made."""
        value = owner[index]
        if not isinstance(value, Maybe):
            return value
        if isinstance(value.defined, TensorBase):
            self.recorder.check(wrap(value.defined._payload), KeyError, str(index))
        return value.value

    def _user_item(self, owner: Any, index: Any) -> Any:
        if isinstance(owner, defaultdict) and index not in owner:
            self.changes_container(owner, "a new key")
        if type(owner).__module__ == "os":
            refuse_impure(self, type(owner).__getitem__, (owner,))
        method = self.method_of(owner, "__getitem__")
        return owner[index] if method is None else method(index)

    def method_of(self, x: Any, name: str) -> Callable[..., Any] | None:
        """A method that Python looks up in the class, rewritten, where it is the user's."""
        found = getattr(type(x), name, None)
        if not isinstance(found, FunctionType) or is_own(found) or is_library(found):
            return None
        self.reads.kind_of(x)
        generated = found.__code__.co_filename.startswith("<")  # by a dataclass
        return functools.partial(found if generated else self.function(found), x)

    def is_position(self, index: Any) -> bool:
        """Whether an index is made of numbers and slices, and some number is captured."""
        items = index if type(index) is tuple else (index,)
        numbers = [i for i in items if self.recorder.is_captured(i)]
        return bool(numbers) and all(
            i is None or i is Ellipsis or isinstance(i, (int, slice)) or not i._payload.shape
            for i in items
            if not isinstance(i, (list, tuple, range))
        )

    def index(self, index: Any) -> Any:
        """An index in which captured numbers are tensors."""
        if isinstance(index, Number):
            return wrap(index._payload)
        if type(index) is tuple:
            return tuple([self.index(i) for i in index])
        look_through(self, index, objects=False)
        return index

    def spelled(self, x: Any) -> None:
        """Refuse to spell out the values of a tensor; note what else is spelled out."""
        look_through(self, x)
        if not self._describing and any(self.recorder.is_captured(v) for v in trees.leaves(x)):
            self.recorder.refuse(
                "the values of a tensor as text: they are known only when the program runs",
                "use its shape or type, or kuai.debug.print, which prints in each call",
            )

    @contextmanager
    def describing(self) -> Iterator[None]:
        """While a message for an error is made, captured tensors stand in it as such."""
        before, self._describing = self._describing, True
        try:
            yield
        finally:
            self._describing = before

    # -- changes --------------------------------------------------------------------------------

    def made(self, x: Any) -> Any:
        """Note an object that the captured code made itself."""
        self.recorder.note_made(x)
        return x

    @contextmanager
    def rolling(self, rolled: Rolled) -> Iterator[None]:
        """While a loop is captured whose rounds are known to be alike."""
        before, self.rolled = self.rolled, rolled
        try:
            yield
        finally:
            self.rolled = before

    def _is_rolled(self, target: Any, args: tuple[Any, ...]) -> bool:
        """Whether an append is one that each round of such a loop makes; notes it."""
        rolled = self.rolled
        if (
            rolled is None
            or len(self.recorder.scopes) != rolled.depth
            or type(target) is not list
            or self._is_local(target)
            or self.reads.is_outside(target)
            or id(target) in rolled.looked_at
            or not self.recorder.is_captured(args[0])
        ):
            return False
        rolled.appended.append((target, args[0]))
        return True

    def walked(self, x: Any) -> Any:
        """What is to be walked through, noted as read where it came from outside; returns it."""
        self.looks_at(x)
        self.advances(x)
        return x if self.stepping.is_state(x) else self.reads.walked(x)

    def iterable(self, x: Any) -> Any:
        """What is to be walked through by a function that is not captured."""
        method = self.method_of(x, "__iter__")
        if method is None:
            return self.walked(x)
        found = method()
        return self.made(found) if isinstance(found, Iterator) else found

    def ancestry(self, cls: Any) -> None:
        """Note what a class of the user's is derived from."""
        if isinstance(cls, type) and cls.__module__.split(".")[0] not in ("kuai", *_TRUSTED):
            self.reads.attribute(cls, "__bases__", cls.__bases__)

    def looks_at(self, x: Any) -> None:
        """Note that a container is looked at, which a loop may be appending to."""
        rolled = self.rolled
        if rolled is not None and isinstance(x, list):
            rolled.looked_at.add(id(x))
            if any(target is x for target, _ in rolled.appended):
                self.recorder.refuse("a list that is read and appended to in one loop")

    def advances(self, x: Any) -> None:
        """Refuse to take items of an iterator where values decide which ones they are."""
        if not isinstance(x, Iterator):
            return
        if not self.has_made(x):
            self.recorder.refuse(
                f"a {type(x).__name__} from outside of the compiled function: it would be advanced "
                "once, when the function is compiled, and not in each call",
                "take the next item outside, and pass it as an argument",
            )
        inner = len(self.recorder.scopes) > 1 and not self._is_local(x)
        if inner or self._spent.get(id(x)) is x:
            self.recorder.refuse(
                f"a {type(x).__name__} that is advanced in a loop or branch whose course depends "
                "on the values of tensors: how far it is would depend on them",
                "index a tensor or a list with a counter of your own",
            )

    def spends(self, x: Any) -> None:
        """Note that values decide how far an iterator is from now on."""
        if isinstance(x, Iterator):
            self._spent[id(x)] = x

    def has_made(self, x: Any) -> bool:
        """Whether the captured code made an object itself."""
        return self.recorder.has_made(x)

    def _is_local(self, x: Any) -> bool:
        """Whether an object was made in the innermost region that is being captured."""
        return self.recorder.made.get(id(x), (None, 0))[1] >= len(self.recorder.scopes)

    def changes_container(self, x: Any, how: str) -> None:
        """Note a change of a list or dict; refuse one that would be seen outside, or only once."""
        kind = type(x).__name__
        self.looks_at(x)
        if self.reads.is_outside(x):
            self.recorder.refuse(
                f"a change ({how}) of a {kind} that lives outside of the compiled function: it "
                "would happen once, when the function is compiled, and not in each call",
                "build a new one and return it, or keep the values in a buffer (register_buffer)",
            )
        if len(self.recorder.scopes) > 1 and not self._is_local(x):
            if isinstance(x, set):
                self.recorder.refuse(
                    f"a change ({how}) of a set in a loop or branch whose course depends on the "
                    "values of tensors: what is in it would depend on them",
                    "keep a tensor of bools, one for each element that may be in the set",
                )
            self._notes_contents(x, how)

    def _notes_contents(self, x: Any, how: str) -> None:
        self.recorder.note(("contents", id(x)), lambda: Contents(x, how, user_place()))

    def _is_shared(self, owner: Any) -> bool:
        """Whether an object lives on when the call is over."""
        return isinstance(owner, (Module, type, ModuleType)) or self.reads.is_outside(owner)

    def changes_object(self, owner: Any, name: str) -> None:
        """Refuse a change of an object from outside."""
        if self._is_shared(owner):
            self.held.refuse(owner, name)

    def set_attribute(self, owner: Any, name: str, value: Any) -> None:
        """`owner.name = value`."""
        if isinstance(owner, TensorBase):
            self._set_on_tensor(owner, name, value)
            return
        if isinstance(owner, Module):
            self.reads.block(owner)
            have = owner.__dict__.get("_buffers", {}).get(name)
            if isinstance(have, TensorBase) and isinstance(value, TensorBase):
                self._set_buffer(owner, name, have, value)
                return
        method = self._setter(owner, name)
        if method is not None:
            method(value)
            return
        self.set_plainly(owner, name, value)

    def set_plainly(self, owner: Any, name: str, value: Any) -> None:
        """As `object.__setattr__`."""
        if self._is_shared(owner):
            have = getattr(owner, name, _MISSING)
            if have is value or (type(have) is type(value) and _equal(have, value)):
                if not isinstance(owner, (Module, type)):
                    self.attribute(owner, name)  # it must still be so
                return
            self.held.set(owner, name, value)
            return
        if not self._is_local(owner):
            key = ("attribute", id(owner), name)
            self.recorder.note(key, lambda: Attribute(owner, name))
        object.__setattr__(owner, name, value)

    def _setter(self, owner: Any, name: str) -> Callable[[Any], object] | None:
        """What sets an attribute, where that is the user's."""
        own = self.method_of(owner, "__setattr__")
        if own is not None:
            return functools.partial(own, name)
        found = getattr(type(owner), name, None)
        setter = found.fset if type(found) is property else None
        if not isinstance(setter, FunctionType) or is_own(setter) or is_library(setter):
            return None
        return functools.partial(self.function(setter), owner)

    def _set_on_tensor(self, x: Any, name: str, value: Any) -> None:
        if name == "grad":
            self.touch_gradient(x, overwritten=True)
            value = as_grad(value)
        elif name == "data":
            if not isinstance(value, TensorBase) or value._payload.shape != x._payload.shape:
                self.recorder.refuse(
                    "an assignment to `data` that changes the shape of a tensor",
                    "make a new tensor",
                )
            with no_grad():
                assign(x, value)
            return
        elif name == "requires_grad":
            self.recorder.touch(x)
        setattr(x, name, value)

    def _set_buffer(self, block: Module, name: str, have: Any, value: Any) -> None:
        if have is value:
            return
        if have._payload.shape != value._payload.shape or have.dtype is not value.dtype:
            self.recorder.refuse(
                f"an assignment to the buffer `{name}` of a {block._get_name()} that changes its "
                f"shape or type from {have.dtype.name}{list(have._payload.shape)} to "
                f"{value.dtype.name}{list(value._payload.shape)}",
                "give the buffer that shape and type when it is registered",
            )
        assign(have, ops.clone(value))

    def set_item(self, owner: Any, index: Any, value: Any) -> None:
        """`owner[index] = value`."""
        if isinstance(owner, TensorBase):
            owner[self.index(index)] = value
            return
        if self.stepping.is_state(owner):
            self.recorder.note(("item", id(owner), index), lambda: Item(owner, index))
            owner[index] = value
            return
        if isinstance(owner, _CONTAINERS) and self.reads.is_outside(owner):
            if _has_item(owner, index, value):
                return  # `tensors[i] -= x` has changed the tensor, not the list
            self.changes_container(owner, "an assignment to an item")
        if self.recorder.is_captured(index):
            self.recorder.refuse(
                f"an assignment to an item of a {type(owner).__name__} that the value of a tensor "
                "chooses",
                "keep the items in one tensor",
            )
        method = self.method_of(owner, "__setitem__")
        if method is not None:
            method(index, value)
            return
        if isinstance(owner, (list, dict, deque)) and not self._is_local(owner):
            new = isinstance(owner, dict) and index not in owner
            self._notes_contents(owner, "a new key" if new else "an assignment to an item")
        owner[index] = value


def _with(
    old: Any, new: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments with something in the place of something else."""
    changed: Any = trees.map_leaves(lambda x: new if x is old else x, (args, kwargs))
    return changed


def _root(x: Any) -> Any:
    while x._view is not None:
        x = x._view.source
    return x


def _has_item(owner: Any, index: Any, value: Any) -> bool:
    """Whether an item is this very tensor already."""
    if not isinstance(value, TensorBase) or isinstance(index, TensorBase):
        return False
    try:
        return owner[index] is value
    except (LookupError, TypeError):
        return False


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, TensorBase):
        return False
    try:
        return bool(a == b)
    except Exception:
        return False


_TRUSTED = (
    "builtins",
    "math",
    "operator",
    "functools",
    "itertools",
    "collections",
    "typing",
    "dataclasses",
    "enum",
    "abc",
    "copy",
    "contextlib",
    "types",
    "warnings",
    "string",
    "re",
    "bisect",
    "heapq",
    "numbers",
    "inspect",
)
_QUIET = {str, int, float, bool, type(None), bytes, tuple, Range, super}
