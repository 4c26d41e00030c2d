"""What a capture does in the place of some functions of Python's and kuai's own."""

from __future__ import annotations

import builtins
import copy
import functools
import itertools
import math
import operator
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import kuai
from kuai import ops as operations
from kuai.compiler.capture import numbers, trees
from kuai.compiler.capture.numbers import KINDS, Number, as_tensor, is_number, number
from kuai.compiler.capture.whole import look_through
from kuai.core.base import TensorBase, wrap
from kuai.dtypes import float64, int64
from kuai.tensor import Tensor

if TYPE_CHECKING:
    from kuai.compiler.capture.session import Session

ops: Any = operations
SPECIAL: dict[Any, Callable[..., Any]] = {}


def special(*functions: Any) -> Callable[[Any], Any]:
    """Decorator: call this, with the session first, in the place of these functions."""

    def register(replacement: Any) -> Any:
        for function in functions:
            SPECIAL[function] = replacement
        return replacement

    return register


def _captured(session: Session, *values: Any) -> bool:
    return any(session.recorder.is_captured(x) for x in values)


# -- types and conversions ------------------------------------------------------------------------


@special(isinstance)
def _isinstance(session: Session, x: Any, kinds: Any) -> bool:
    if isinstance(x, Number):
        return issubclass(KINDS[x.dtype], kinds)
    for kind in kinds if isinstance(kinds, tuple) else (kinds,):
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
        if len(args) == 1 and isinstance(args[0], TensorBase) and _captured(session, args[0]):
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


@special(ops.equal, kuai.equal)
def _equal(session: Session, input: Any, other: Any) -> Any:
    if not _captured(session, input, other):
        return ops.equal(input, other)
    if input._payload.shape != other._payload.shape:
        return False
    return number(ops.all(ops.eq(input, other)))


@special(ops.allclose, kuai.allclose)
def _allclose(session: Session, input: Any, other: Any, *args: Any, **kwargs: Any) -> Any:
    if not _captured(session, input, other):
        return ops.allclose(input, other, *args, **kwargs)
    return number(ops.all(ops.isclose(input, other, *args, **kwargs)))


# -- functions of Python's ------------------------------------------------------------------------


@special(range)
def _range(session: Session, *bounds: Any) -> Any:
    from kuai.compiler.capture.hooks import Range

    return Range(*bounds) if _captured(session, *bounds) else range(*bounds)


def _extreme(better: Callable[[Any, Any], Any], plain: Any) -> None:
    def choose(session: Session, *args: Any, **kwargs: Any) -> Any:
        items = list(session.iterable(args[0])) if len(args) == 1 else list(args)
        if not _captured(session, *items):
            args, kwargs = session._prepared(args, kwargs)
            return plain(*args, **kwargs)
        if "key" in kwargs:
            session.recorder.refuse(
                f"{plain.__name__}() of tensors with a key", "use kuai.argmax or kuai.argmin"
            )
        if isinstance(args[0], TensorBase) and len(args) == 1:
            items = list(args[0])
        best = items[0]
        for item in items[1:]:
            best = _one_of(better(item, best), item, best)
        return best

    SPECIAL[plain] = choose


def _one_of(condition: Any, a: Any, b: Any) -> Any:
    """`a if condition else b` for scalars, without a branch."""
    if not isinstance(condition, TensorBase):
        return a if condition else b
    if is_number(a) and is_number(b):
        dtype = numbers.common_dtype(a, b)
        flag = wrap(condition._payload)
        return number(ops.where(flag, as_tensor(a, dtype), as_tensor(b, dtype)))
    like = a if not is_number(a) else b
    a = as_tensor(a, like.dtype) if is_number(a) else a
    b = as_tensor(b, like.dtype) if is_number(b) else b
    return ops.where(wrap(condition._payload), a, b)


_extreme(lambda a, b: a < b, min)
_extreme(lambda a, b: a > b, max)


def _quantifier(plain: Any, name: str) -> None:
    def decide(session: Session, items: Any) -> Any:
        items = session.iterable(items)
        if isinstance(items, TensorBase) and not _captured(session, items):
            return plain(items)
        found = list(items)
        if not _captured(session, *found):
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


@special(sorted)
def _sorted(session: Session, items: Any, **kwargs: Any) -> Any:
    found = list(session.iterable(items))
    _, kwargs = session._prepared((), kwargs)
    key = kwargs.get("key")
    keys = found if key is None else [key(x) for x in found]
    if _captured(session, *keys):
        session.recorder.refuse(
            "sorted() by the values of tensors", "use kuai.sort or kuai.argsort"
        )
    order = sorted(range(len(found)), key=keys.__getitem__, reverse=kwargs.get("reverse", False))
    return session.made([found[i] for i in order])


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
def _print(session: Session, *args: Any, **kwargs: Any) -> None:
    what = (
        "of the values of tensors "
        if any(session.recorder.is_captured(x) for x in trees.leaves(args))
        else ""
    )
    session.recorder.refuse(
        f"a print {what}in a compiled function: it would happen once, while compiling",
        "use kuai.debug.print, which prints in each call",
    )


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


@special(abs)
def _abs(session: Session, x: Any) -> Any:
    return abs(x)


@special(pow)
def _pow(session: Session, base: Any, exponent: Any, modulus: Any = None) -> Any:
    if modulus is None:
        return base**exponent
    return (
        pow(base, exponent, modulus) if not _captured(session, base) else base**exponent % modulus
    )


@special(divmod)
def _divmod(session: Session, x: Any, y: Any) -> Any:
    return (x // y, x % y) if _captured(session, x, y) else divmod(x, y)


@special(round)
def _round(session: Session, x: Any, digits: Any = None) -> Any:
    if isinstance(x, Number):
        return x.__round__(digits)
    return round(x) if digits is None else round(x, digits)


# -- mathematics ----------------------------------------------------------------------------------


def _function_of_number(
    plain: Any,
    function: Callable[[Tensor], Tensor],
    domain: Callable[[Tensor], Tensor] | None = None,
) -> None:
    def compute(session: Session, *args: Any) -> Any:
        if not _captured(session, *args):
            return plain(*args)
        x = as_tensor(numbers.to_kind(args[0], float), float64)
        if domain is not None:
            session.recorder.check(domain(x), ValueError, "math domain error")
        return number(function(x))

    SPECIAL[plain] = compute


_function_of_number(math.sqrt, ops.sqrt, lambda x: ~(x < 0))
_function_of_number(math.log2, ops.log2, lambda x: ~(x <= 0))
_function_of_number(math.log10, ops.log10, lambda x: ~(x <= 0))
_function_of_number(math.log1p, ops.log1p, lambda x: ~(x <= -1))
for _name in ("exp", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh", "atan", "asinh", "erf"):
    _function_of_number(getattr(math, _name), getattr(ops, _name))
for _name in ("isnan", "isinf", "isfinite"):
    _function_of_number(getattr(math, _name), getattr(ops, _name))
_function_of_number(math.fabs, ops.abs)


@special(math.log)
def _log(session: Session, x: Any, *base: Any) -> Any:
    if not _captured(session, x, *base):
        return math.log(x, *base)
    terms = []
    for value in (x, *base):
        v = numbers.to_kind(value, float) if isinstance(value, TensorBase) else value
        t = as_tensor(v, float64)
        session.recorder.check(~(t <= 0), ValueError, "math domain error")
        terms.append(number(ops.log(t)))
    return terms[0] / terms[1] if base else terms[0]


@special(math.pow)
def _math_pow(session: Session, x: Any, y: Any) -> Any:
    if not _captured(session, x, y):
        return math.pow(x, y)
    return number(ops.pow(as_tensor(x, float64), as_tensor(y, float64)))


def _rounding(plain: Any, method: str) -> None:
    def rounded(session: Session, x: Any) -> Any:
        if not _captured(session, x):
            return plain(x)
        return getattr(numbers.to_kind(x, float), method)()

    SPECIAL[plain] = rounded


_rounding(math.floor, "__floor__")
_rounding(math.ceil, "__ceil__")
_rounding(math.trunc, "__trunc__")


# -- tensors --------------------------------------------------------------------------------------


def _values(name: str) -> None:
    method = getattr(Tensor, name)

    def refuse(session: Session, x: Any, *args: Any, **kwargs: Any) -> Any:
        if _captured(session, x):
            session.recorder.refuse(
                f".{name}() of a tensor whose values are known only when the program runs",
                "compute with the tensor itself; conditions and loops on it are compiled; or "
                f"return it, and call .{name}() on the result",
            )
        return method(x, *args, **kwargs)

    SPECIAL[method] = refuse


for _name in ("item", "numpy", "tolist", "__array__"):
    _values(_name)


@special(ops.tensor)
def _tensor(session: Session, data: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(data, np.ndarray) and session.reads.is_outside(data):
        shared = _sharing(data)
        data = data if shared is None else shared
    if not _captured(session, *trees.leaves(data)) and not isinstance(data, TensorBase):
        look_through(session, data, objects=False)
        return ops.tensor(data, *args, **kwargs)
    from kuai.compiler.capture.creation import captured_tensor

    return captured_tensor(session, data, *args, **kwargs)


def _sharing(data: np.ndarray) -> Any:
    """A tensor on the memory of an array, which programs then read; `None` if it can be none."""
    try:
        return ops.from_numpy(data) if data.flags.writeable else None
    except TypeError:
        return None


@special(ops.as_tensor, ops.asarray, kuai.as_tensor, kuai.asarray)
def _as_tensor(session: Session, data: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(data, np.ndarray) and session.reads.is_outside(data):
        shared = _sharing(data)
        data = data if shared is None else shared
    if isinstance(data, TensorBase) and not isinstance(data, Number):
        return ops.as_tensor(data, *args, **kwargs)
    return _tensor(session, data, *args, **kwargs)


@special(Tensor.new_tensor)
def _new_tensor(session: Session, x: Any, data: Any, *, dtype: Any = None, **options: Any) -> Any:
    return _tensor(session, data, dtype=dtype or x.dtype, **options)


@special(ops.select, kuai.select, vars(Tensor)["select"])
def _select(session: Session, x: Any, dim: int, index: Any) -> Any:
    if not _captured(session, index):
        return ops.select(x, dim, index)
    before = (slice(None),) * (dim % x.ndim)
    return session.item(x, (*before, index))


@special(ops.narrow, kuai.narrow, vars(Tensor)["narrow"])
def _narrow(session: Session, x: Any, dim: int, start: Any, length: int) -> Any:
    if not _captured(session, start):
        return ops.narrow(x, dim, start, length)
    places = as_tensor(start, int64) + ops.arange(length)
    found = session.item(x, (*(slice(None),) * (dim % x.ndim), places))
    session.stands_for_view(found, x)
    return found


@special(Tensor.register_hook)
def _register_hook(session: Session, x: Any, hook: Any) -> Any:
    recorder = session.recorder
    region = recorder.scopes[-1].region
    if len(recorder.scopes) > 1 and not (
        getattr(x._payload, "region", None) is region and recorder.edges.get(x._payload) is x._node
    ):
        recorder.refuse(
            "a hook in a loop or under a condition, for a tensor that was not computed there",
            "register it where the tensor is computed",
        )
    return x.register_hook(session.callable(hook))


def _apply(session: Session, function: Any, *args: Any) -> Any:
    from kuai.compiler.capture.custom_functions import applied

    return applied(session, function, args)


def know_custom_functions() -> None:
    """Take `Function.apply` for special, if there are such functions at all."""
    module = sys.modules.get("kuai.autograd.function")
    if module is not None:
        SPECIAL[vars(module.Function)["apply"].__func__] = _apply


# -- what gives another answer each time ----------------------------------------------------------

_IMPURE = {
    "os",
    "posix",
    "random",
    "time",
    "secrets",
    "uuid",
    "datetime",
    "numpy.random",
    "_random",
    "socket",
}


_SEEDED = {"default_rng", "RandomState", "Random", "Generator", "PCG64", "SeedSequence"}


def refuse_impure(session: Session, function: Any, args: tuple[Any, ...] = ()) -> None:
    """Refuse functions whose result would be baked in, though it differs from call to call."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", "function")
    module = getattr(function, "__module__", None) or getattr(owner, "__name__", None)
    kind = type(owner).__module__
    if kind in ("random", "numpy.random.mtrand", "numpy.random._generator"):
        shared = owner is getattr(sys.modules.get("random"), "_inst", None) or (
            owner is getattr(sys.modules.get("numpy.random.mtrand"), "_rand", None)
        )
        if not shared and not session.reads.is_outside(owner):
            return  # seeded, and used up, within the function
        module = "random"
    elif name in _SEEDED and args:
        return
    elif args and type(args[0]).__module__ == "os":  # the environment
        module = "os"
    if module in _IMPURE or function in (builtins.input, builtins.open):
        session.recorder.refuse(
            f"a call of {module}.{name}, whose result would be computed once, while compiling",
            "pass the result as an argument; random numbers come from kuai.rand and its relatives",
        )
