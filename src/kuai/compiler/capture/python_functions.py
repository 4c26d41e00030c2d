"""What a capture does in the place of functions of Python's."""

from __future__ import annotations

import copy
import functools
import itertools
import operator
from typing import TYPE_CHECKING, Any

from kuai import config, debug
from kuai import ops as operations
from kuai.compiler.capture import numbers
from kuai.compiler.capture.numbers import KINDS, Number
from kuai.compiler.capture.operators import OPERATORS, SIGNS, operate, sign
from kuai.compiler.capture.whole import look_through
from kuai.core.base import TensorBase

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session
from kuai.compiler.capture.special import SPECIAL, is_captured, special

ops: Any = operations


# -- types and conversions ------------------------------------------------------------------------


@special(isinstance)
def _isinstance(session: Session, x: Any, kinds: Any) -> bool:
    if isinstance(x, Number):
        return issubclass(KINDS[x.dtype], kinds)
    for kind in (*type(x).__mro__, *(kinds if isinstance(kinds, tuple) else (kinds,))):
        session.ancestry(kind)
    session.reads.kind_of(x)
    return isinstance(x, kinds)


@special(issubclass)
def _issubclass(session: Session, cls: Any, kinds: Any) -> bool:
    session.ancestry(cls)
    return issubclass(cls, kinds)


@special(type)
def _type(session: Session, *args: Any, **kwargs: Any) -> Any:
    if len(args) == 1 and isinstance(args[0], Number):
        return KINDS[args[0].dtype]
    return type(*args, **kwargs)


def _conversion(kind: Any) -> None:
    def convert(session: Session, *args: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], TensorBase) and is_captured(session, args[0]):
            return numbers.to_kind(args[0], kind)
        for name in (f"__{kind.__name__}__", "__len__" if kind is bool else "__index__"):
            method = session.method_of(args[0], name) if len(args) == 1 else None
            if method is not None:
                return convert(session, method())
        for x in args:
            look_through(session, x, objects=False)
        return kind(*args)

    SPECIAL[kind] = convert


for _kind in (int, float, bool):
    _conversion(_kind)


# -- functions of Python's ------------------------------------------------------------------------


@special(range)
def _range(session: Session, *bounds: Any) -> Any:
    from kuai.compiler.capture.hooks import Range

    return Range(*bounds) if is_captured(session, *bounds) else range(*bounds)


def _quantifier(plain: Any, name: str) -> None:
    def decide(session: Session, items: Any) -> Any:
        items = session.iterable(items)
        if isinstance(items, TensorBase) and not is_captured(session, items):
            return plain(items)
        found = list(items)
        if not is_captured(session, *found):
            return plain(found)
        from kuai.compiler.capture.hooks import Hooks

        hooks = Hooks(session, _range)
        chain = getattr(hooks, name)
        return chain(None, *[lambda x=x: x for x in found]) if found else plain(())

    SPECIAL[plain] = decide


_quantifier(any, "any_")
_quantifier(all, "all_")


def _walking(plain: Any) -> None:
    def walk(session: Session, *args: Any, **kwargs: Any) -> Any:
        args = tuple([session.iterable(x) for x in args])
        args, kwargs = session._prepared(args, kwargs)
        result = plain(*args, **kwargs)
        return session.made(result) if isinstance(result, (list, dict, set)) else result

    SPECIAL[plain] = walk


for _function in (
    list,
    tuple,
    dict,
    set,
    frozenset,
    len,
    sum,
    iter,
    enumerate,
    zip,
    reversed,
    map,
    filter,
    itertools.chain,
    itertools.islice,
    itertools.product,
    itertools.accumulate,
):
    _walking(_function)


@special(functools.reduce)
def _reduce(session: Session, function: Any, items: Any, *initial: Any) -> Any:
    found = [*initial, *session.iterable(items)]
    if not found:
        raise TypeError("reduce() of empty iterable with no initial value")
    total = found[0]
    for item in found[1:]:
        total = session.call(function, (total, item), {})
    return total


@special(config.get_num_threads)
def _threads(session: Session) -> int:
    session.reads.buffer(session.reads.outside(config.threads))
    return config.get_num_threads()


@special(getattr)
def _getattr(session: Session, owner: Any, name: str, *default: Any) -> Any:
    return session.attribute(owner, name, *default)


@special(hasattr)
def _hasattr(session: Session, owner: Any, name: str) -> bool:
    missing = object()
    return session.attribute(owner, name, missing) is not missing


@special(vars)
def _vars(session: Session, x: Any) -> Any:
    return session.attribute(x, "__dict__")


def _gotten(session: Session, function: Any, x: Any) -> Any:
    """What an `operator.attrgetter` or `itemgetter` takes from `x`."""
    names = function.__reduce__()[1]
    found = [_gotten_one(session, type(function), name, x) for name in names]
    return found[0] if len(found) == 1 else tuple(found)


def _gotten_one(session: Session, kind: Any, name: Any, x: Any) -> Any:
    if kind is operator.itemgetter:
        return session.item(x, name)
    for part in name.split("."):
        x = session.attribute(x, part)
    return x


def _called(session: Session, function: Any, x: Any) -> Any:
    """What an `operator.methodcaller` gives for `x`."""
    (name, *args), kwargs = function.__reduce__()[1], {}
    if isinstance(function.__reduce__()[0], functools.partial):
        (name,), kwargs = function.__reduce__()[0].args, function.__reduce__()[0].keywords
        args = list(function.__reduce__()[1])
    return session.call(session.attribute(x, name), tuple(args), kwargs)


def _operator(function: Any, symbol: str) -> None:
    def compute(session: Session, *operands: Any) -> Any:
        if len(operands) == 1:
            return sign(session, symbol, *operands)
        return operate(session, symbol, *operands)

    SPECIAL[function] = compute


for _symbol, _plain in [*OPERATORS.items(), *SIGNS.items()]:
    _operator(_plain, _symbol)


@special(operator.getitem)
def _getitem(session: Session, owner: Any, index: Any) -> Any:
    return session.item(owner, index)


@special(operator.setitem)
def _setitem(session: Session, owner: Any, index: Any, value: Any) -> None:
    session.set_item(owner, index, value)


@special(operator.not_)
def _not(session: Session, x: Any) -> Any:
    return session.negated(SPECIAL[bool](session, x))


GETTERS = {
    operator.attrgetter: _gotten,
    operator.itemgetter: _gotten,
    operator.methodcaller: _called,
}


@special(next)
def _next(session: Session, iterator: Any, *default: Any) -> Any:
    session.advances(iterator)
    method = session.method_of(iterator, "__next__")
    return next(iterator, *default) if method is None or default else method()


@special(len)
def _len(session: Session, x: Any) -> Any:
    method = session.method_of(x, "__len__")
    return len(session.walked(x)) if method is None else method()


@special(setattr)
def _setattr(session: Session, owner: Any, name: str, value: Any) -> None:
    session.set_attribute(owner, name, value)


@special(object.__setattr__)
def _set_plainly(session: Session, owner: Any, name: str, value: Any) -> None:
    session.set_plainly(owner, name, value)


@special(delattr)
def _delattr(session: Session, owner: Any, name: str) -> None:
    session.changes_object(owner, name)
    delattr(owner, name)


@special(print)
def _print(
    session: Session,
    *values: Any,
    sep: str | None = " ",
    end: str | None = "\n",
    file: Any = None,
    flush: bool = False,
) -> None:
    if file is not None:
        session.recorder.refuse(
            "a print into a file, in a compiled function: it would happen once, while compiling",
            "use kuai.debug.print, which prints in each call",
        )
    session.spelled(list(values))
    debug.print(*values, sep=" " if sep is None else sep, end="\n" if end is None else end)


_SPELLED: dict[Any, tuple[str, ...]] = {str: ("__str__", "__repr__"), repr: ("__repr__",)}


def _spelling(plain: Any) -> None:
    def spell(session: Session, *args: Any, **kwargs: Any) -> Any:
        for name in _SPELLED.get(plain, ()):
            method = session.method_of(args[0], name) if len(args) == 1 else None
            if method is not None:
                return method()
        session.spelled(list(args))
        return plain(*args, **kwargs)

    SPECIAL[plain] = spell


for _spell in (str, repr, format, ascii):
    _spelling(_spell)


@special(copy.copy)
def _copy(session: Session, x: Any) -> Any:
    return session.made(copy.copy(session.walked(x)))
