"""Plain data: classes whose constructor fills their attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


class _Field:
    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory


def field(*, factory: Callable[[], T]) -> T:
    """The default of an attribute: what `factory` gives for each object."""
    made: Any = _Field(factory)
    return made


@dataclass_transform(eq_default=False, field_specifiers=(field,))
class Struct:
    """A class whose annotated attributes are the arguments of its constructor, in this order.

    It is as a dataclass of which two objects are never equal. To define a dataclass takes half a
    millisecond, which every first call of a compiled function would wait for.
    """

    _names: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._names = (*cls._names, *cls.__annotations__)

    def __init__(self, *values: Any, **named: Any) -> None:
        names = self._names
        if len(values) > len(names):
            raise TypeError(f"{type(self).__name__}() takes {len(names)} values, not {len(values)}")
        given = dict(zip(names, values, strict=False))
        for name in names[len(values) :]:
            default = getattr(type(self), name, _MISSING)
            if name in named:
                given[name] = named.pop(name)
            elif default is _MISSING:
                raise TypeError(f"{type(self).__name__}() needs a value for {name!r}")
            else:
                given[name] = default.factory() if type(default) is _Field else default
        if named:
            raise TypeError(f"{type(self).__name__}() knows no {next(iter(named))!r}")
        self.__dict__.update(given)


_MISSING: Any = object()
