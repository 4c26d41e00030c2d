"""`kuai.compile`: functions, methods and blocks as native programs."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from kuai.compiler.native.builtin import FunctionMemory
from kuai.compiler.run.compiled import Compiled
from kuai.nn.module import Module

MOST_INSTANCES = 64  # of one method


def compile(
    f: Any = None,
    *,
    fallback: bool = False,
    dynamic_batch: bool = False,
    fullgraph: bool = True,
    dynamic: bool | None = None,
    backend: Any = None,
    mode: str | None = None,
    options: Any = None,
    disable: bool = False,
) -> Any:
    """A function or block that runs as one native program.

    The program is made at the first call, for the shapes and types of its arguments, and again
    when they or anything else that it depends on change. Control flow on the values of tensors
    becomes control flow of the program. Works as a decorator too, with and without arguments.

    Args:
        f: a function, a method, a lambda, or a block. A compiled block is a block of the same
            class that shares the parameters and all other state of the given one.
        fallback: whether what cannot be compiled runs eagerly, with one warning.
        dynamic_batch: whether one program serves every size of the first dimension, which is
            the batch: that of the first tensor among the arguments, and of all that have as many
            rows. A function that is called with three sizes is given such a program unasked.
            Each size is captured anew, and has a program of its own where the function does
            something else for it.
        fullgraph, dynamic, backend, mode, options: accepted for PyTorch's sake.
        disable: return `f` as it is.

    Raises:
        CompileError: at the first call, where the function does something that cannot be
            compiled; it says where, why, and what to do.

    Examples:
        >>> net = kuai.compile(nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10)))
        >>> net(kuai.rand(2, 20)).shape
        kuai.Size([2, 10])
    """
    given: dict[str, Any] = {"fallback": fallback, "dynamic_batch": dynamic_batch}
    if f is None:
        return functools.partial(compile, **given, disable=disable)
    if disable:
        return f
    if isinstance(f, Module):
        from kuai.compiler.run.block import compiled_block

        return compiled_block(f, given)
    if isinstance(f, CompiledFunction) or _is_entry(getattr(f, "__func__", None)):
        return f
    if isinstance(f, (staticmethod, classmethod)):
        kind: Any = type(f)
        return kind(compile(f.__func__, **given))
    if isinstance(f, type) or not callable(f):
        raise TypeError(f"kuai.compile takes a function or a block, got {f!r}")
    return compiled_function(f, given)


def _is_entry(function: Any) -> bool:
    """Whether a function is the native entry of a compiled one."""
    return isinstance(getattr(function, "__self__", None), FunctionMemory)


class CompiledFunction:
    """What `kuai.compile` makes of a function.

    Each is the one instance of a class of its own, whose `__call__` is the native entry: a call
    does not pass through Python.

    Attributes:
        __wrapped__: the function that was compiled.
    """

    __wrapped__: Any
    _compiled: Compiled
    _options: dict[str, Any]

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        methods: dict[int, Any] = self.__dict__["_methods"]
        found = methods.get(id(instance))
        if found is None or found[0] is not instance:
            if len(methods) >= MOST_INSTANCES:
                methods.pop(next(iter(methods)), None)
            compiled = Compiled(self.__wrapped__, **_settings(self._options))
            found = methods[id(instance)] = (instance, compiled)
        return MethodType(found[1].entry, instance)

    def explain(self, stage: str = "") -> Any:
        """What became of the function: see `kuai.compiler.run.explain`."""
        return _explain(self._compiled, stage)

    def __repr__(self) -> str:
        return f"<compiled {self.__wrapped__!r}>"

    def __reduce__(self) -> Any:
        name = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(self.__module__)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is self:
            return name  # it stands in its module under this name, as functions do
        return _compile_again, (self.__wrapped__, self._options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if isinstance(self.__wrapped__, MethodType):
            import copy

            return _compile_again(copy.deepcopy(self.__wrapped__, memo), self._options)
        return self


def compiled_function(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """A function with a native entry."""
    compiled = Compiled(function, **_settings(options))
    fields = {
        "__call__": compiled.entry,
        "__module__": __name__,
        "_compiled_from": lambda self: function,
    }
    result: Any = object.__new__(type("CompiledFunction", (CompiledFunction,), fields))
    result._compiled, result._options = compiled, options
    result.__dict__["_methods"] = {}
    if isinstance(function, (FunctionType, MethodType)):
        functools.update_wrapper(result, function)
    result.__dict__["__wrapped__"] = function
    return result


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    return {"fallback": options["fallback"], "dynamic_batch": options["dynamic_batch"]}


def _compile_again(function: Any, options: dict[str, Any]) -> Any:
    return compile(function, **options)


def _explain(compiled: Compiled, stage: str) -> Any:
    from kuai.compiler.run.explain import explain

    return explain(compiled, stage)
