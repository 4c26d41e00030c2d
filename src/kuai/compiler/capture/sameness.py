"""Whether what was read while capturing is still the same, and which numbers have changed."""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any

COMPARED = (bool, int, float, str, bytes, complex)
Key = tuple[Any, ...]


class AnyNumber:
    """What a record has in the place of a number that is an input of the program.

    Args:
        kind: the number's type.
        sign: 1 or -1 where the program holds for numbers of that sign only, else 0.
    """

    def __init__(self, kind: type, sign: int = 0) -> None:
        self.kind, self.sign = kind, sign

    def fits(self, now: Any) -> bool:
        """Whether a number is such a one."""
        if type(now) is not self.kind:
            return False
        return not self.sign or sign_of(now) == self.sign


def sign_of(x: Any) -> int:
    """1, 0 or -1."""
    return int(x > 0) - int(x < 0)


def same(value: Any, now: Any) -> bool:
    """Whether a value read again is what it was: numbers and texts by value, others by identity."""
    if value is now:
        return True
    kind = type(value)
    if kind is AnyNumber:
        return bool(value.fits(now))
    if kind is not type(now):
        return False
    if kind in COMPARED:
        return bool(value == now) or (value != value and now != now)
    if kind is tuple and len(value) == len(now):
        return all(map(same, value, now))
    if kind is MethodType:
        return value.__self__ is now.__self__ and value.__func__ is now.__func__
    return False


def is_any(value: Any) -> bool:
    """Whether a record holds for all numbers of their kinds, which the program looks at itself."""
    if type(value) is tuple:
        return bool(value) and all(type(item) is AnyNumber for item in value)
    return type(value) is AnyNumber


def changed_floats(records: Sequence[Any]) -> set[Key]:
    """Of records that do not hold any more, the numbers that became others and can be inputs."""
    found: set[Key] = set()
    for record in records:
        if record.kind == "block":
            found |= _changed_in_block(record)
        elif hasattr(record, "fetch"):
            found |= _changed(record.key, record.value, record.fetch(), record.signed)
        elif record.kind == "walked" and record.signed is not None:
            for i, (before, now) in enumerate(zip(record.items, record.container, strict=False)):
                found |= _changed(("item", id(record.container), i), before, now, record.signed)
    return found


def _changed(key: Key, before: Any, now: Any, signed: bool | None) -> set[Key]:
    if type(before) is tuple and type(now) is tuple and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return {k for i, (x, y) in pairs for k in _changed((*key, i), x, y, signed)}
    if type(before) is not type(now) or same(before, now):
        return set()
    if type(before) is int and signed is not None:
        pass  # a hyperparameter counts as a number, whichever way it is written
    elif type(before) is not float:
        return set()
    return set() if signed and sign_of(before) != sign_of(now) else {key}


def _changed_in_block(record: Any) -> set[Key]:
    fields = record.block.__dict__
    names, values = record.state[1:3]
    return {
        ("item", id(fields), name)
        for name, value in zip(names, values, strict=True)
        if type(value) is float
        and type(fields.get(name)) is float
        and not same(value, fields[name])
    }
