"""What a loop carries from round to round: variables and places, leaf by leaf."""

from __future__ import annotations

from typing import Any

from kuai import dtypes
from kuai.compiler.capture import numbers, trees
from kuai.compiler.capture.branches import _equal, _nothing_like, described
from kuai.compiler.capture.numbers import is_number, number
from kuai.compiler.capture.places import UNDEFINED, Maybe, is_tensor
from kuai.compiler.capture.recorder import Recorder
from kuai.core.base import TensorBase
from kuai.core.primitive import Meta, is_floating, meta_of
from kuai.core.tape import mode
from kuai.tensor import Tensor


class Slot:
    """One leaf of a carried variable or place.

    Attributes:
        initial: what it is before the loop.
        kind: "static" while no round changes it, else "tensor" or "number".
        optional: whether it may have no value.
    """

    def __init__(self, initial: Any, name: str) -> None:
        self.name = name
        self.original = initial
        self.kind = "static"
        self.optional = isinstance(initial, Maybe)
        self.defined: Any = initial.defined if self.optional else True
        self.initial = initial.value if self.optional else initial
        self.meta: Any = None
        self.requires_grad = False
        self.widens = is_number(self.initial)
        if initial is UNDEFINED:
            self.defined = False
        elif is_tensor(self.initial):
            self.meta = meta_of(self.initial)

    def start(self, recorder: Recorder) -> list[Tensor]:
        """The first carried tensors."""
        if self.kind == "static":
            return []
        if self.initial is UNDEFINED:
            blank = _nothing_like(self.like)
            value = blank if is_tensor(blank) else numbers.as_tensor(blank, self.meta.dtype)
        elif self.kind == "number" or is_number(self.initial):
            value = numbers.as_tensor(self.initial, self.meta.dtype)
        else:
            value = self.initial
        return [value, numbers.as_tensor(self.defined, dtypes.bool_)] if self.optional else [value]

    like: Any = None

    def metas(self) -> list[tuple[Meta, bool]]:
        """Shapes, types and whether gradients flow, of its carried tensors."""
        if self.kind == "static":
            return []
        flags: list[tuple[Meta, bool]] = [(self.meta, self.requires_grad)]
        return [*flags, (Meta((), dtypes.bool_), False)] if self.optional else flags

    def value(self, tensors: list[Tensor]) -> Any:
        """What the variable holds where its carried tensors are these; takes them off the list."""
        if self.kind == "static":
            return self.original
        x = tensors.pop(0)
        result = number(x) if self.kind == "number" else x
        return Maybe(result, number(tensors.pop(0))) if self.optional else result

    def yielded(self, new: Any) -> list[Tensor]:
        """The carried tensors where the variable holds `new`."""
        if self.kind == "static":
            return []
        defined: Any = True
        if isinstance(new, Maybe):
            new, defined = new.value, new.defined
        elif new is UNDEFINED:
            new, defined = _nothing_like(self.like), False
        value = new if is_tensor(new) else numbers.as_tensor(new, self.meta.dtype)
        return [value, numbers.as_tensor(defined, dtypes.bool_)] if self.optional else [value]

    def widen(self, new: Any, recorder: Recorder) -> bool:
        """Become what can also hold `new`; whether that was a change.

        Raises:
            CompileError: it cannot.
        """
        before = (self.kind, self.optional, self.meta, self.requires_grad)
        if new is self.original and self.kind == "static":
            return False
        if new is UNDEFINED:
            self.optional = True
            if self.kind == "static" and self.initial is not UNDEFINED:
                self._hold(self.initial, recorder)
            return before[1] is False
        if isinstance(new, Maybe):
            self.optional = True
            new = new.value
        if self.initial is UNDEFINED:
            self.optional = True
            self.like = new
        self._hold(new, recorder)
        return before != (self.kind, self.optional, self.meta, self.requires_grad)

    def _hold(self, new: Any, recorder: Recorder) -> None:
        if is_tensor(new):
            self._hold_tensor(new, recorder)
        elif is_number(new):
            self._hold_number(new, recorder)
        elif self.kind != "static" or not (
            type(new) is type(self.initial) and _equal(new, self.initial)
        ):
            self._refuse(new, recorder)

    def _hold_tensor(self, new: Any, recorder: Recorder) -> None:
        meta = meta_of(new)
        if self.kind != "tensor" and (self.initial is UNDEFINED or is_number(self.initial)):
            if is_number(self.initial) and meta.shape:
                self._refuse(new, recorder)
            self.meta = meta
        elif (self.kind == "static" and not is_tensor(self.initial)) or meta != self.meta:
            self._refuse(new, recorder)
        self.kind = "tensor"
        if mode.grad and new._requires_grad and is_floating(new._payload):
            self.requires_grad = True
        if is_tensor(self.initial) and self.initial._requires_grad and mode.grad:
            self.requires_grad = True

    def _hold_number(self, new: Any, recorder: Recorder) -> None:
        if self.kind == "tensor" or is_tensor(self.initial):
            if self.meta.shape:
                self._refuse(new, recorder)
            self.kind = "tensor"
            return
        if self.initial is UNDEFINED:
            dtype = numbers.dtype_of(new)
        elif is_number(self.initial):
            if (
                self.kind == "static"
                and type(new) is type(self.initial)
                and _same(new, self.initial)
            ):
                return
            dtype = numbers.common_dtype(new, self.initial)
        else:
            self._refuse(new, recorder)
        if self.meta is not None and self.kind == "number":
            dtype = max(dtype, self.meta.dtype, key=lambda d: numbers._RANK[d])
        self.kind, self.meta = "number", Meta((), dtype)

    def _refuse(self, new: Any, recorder: Recorder) -> None:
        recorder.refuse(
            f"a round of this loop changes {self.name} from {described(self.initial)} to "
            f"{described(new)}",
            "give it the same structure, shape and type before the loop and after each round",
        )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, TensorBase) or isinstance(b, TensorBase):
        return a is b
    return bool(a == b or (a != a and b != b))


class Carried:
    """A variable or place that the rounds change, as slots in the structure of its value.

    Attributes:
        content: its one slot, or what it has for each part of a container.
        like: the container, as a pattern.
        flag: whether the container is there, where it may be missing.
        skipped: has no value when a round starts.
    """

    def __init__(self, initial: Any, name: str) -> None:
        self.name = name
        self.initial = initial
        self.content: Slot | list[Carried] = Slot(initial, name)
        self.like: Any = None
        self.flag: Slot | None = None
        self.skipped = False

    def slots(self) -> list[Slot]:
        """All slots, in order."""
        if isinstance(self.content, Slot):
            return [self.content]
        found = [slot for part in self.content for slot in part.slots()]
        return found if self.flag is None else [*found, self.flag]

    def widen(self, new: Any, recorder: Recorder) -> bool:
        """Become what can also hold `new`; whether that was a change."""
        if self.skipped or new is self.initial:
            return False
        inner = new.value if isinstance(new, Maybe) else new
        changed = False
        if isinstance(self.content, Slot):
            slot = self.content
            if slot.kind != "static" or inner is UNDEFINED or trees.parts(inner) is None:
                return slot.widen(new, recorder)
            self._take_apart(inner, recorder)
            changed = True
        assert not isinstance(self.content, Slot)
        if isinstance(new, Maybe) or new is UNDEFINED:
            changed |= self._may_miss(True)
        if inner is UNDEFINED:
            return changed
        found, mine = trees.parts(inner), trees.parts(self.like)
        if found is None or mine is None or found[0] != mine[0]:
            self._refuse(inner, recorder)
        assert found is not None
        for part, (_, item) in zip(self.content, found[1], strict=True):
            changed |= part.widen(item, recorder)
        return changed

    def _take_apart(self, new: Any, recorder: Recorder) -> None:
        """Become a container, as `new` is."""
        have = self.initial.value if isinstance(self.initial, Maybe) else self.initial
        if have is UNDEFINED:
            have = trees.map_leaves(_nothing_like, new)
        found, wanted = trees.parts(have), trees.parts(new)
        if found is None or wanted is None or found[0] != wanted[0]:
            self._refuse(new, recorder)
        assert found is not None
        self.like = have
        self.content = [Carried(item, self.name + label) for label, item in found[1]]
        if isinstance(self.initial, Maybe):
            self._may_miss(self.initial.defined)
        elif self.initial is UNDEFINED:
            self._may_miss(False)

    def _may_miss(self, at_first: Any) -> bool:
        """Have a flag that tells whether the container is there; whether that is new."""
        if self.flag is not None:
            return False
        self.flag = Slot(at_first, self.name)
        self.flag.kind, self.flag.meta = "number", Meta((), dtypes.bool_)
        return True

    def _refuse(self, new: Any, recorder: Recorder) -> None:
        Slot(self.initial, self.name)._refuse(new, recorder)

    def value(self, tensors: list[Tensor]) -> Any:
        """What it holds where its carried tensors are these; takes them off the list."""
        if self.skipped:
            return UNDEFINED
        if isinstance(self.content, Slot):
            return self.content.value(tensors)
        found = trees.rebuild(self.like, [part.value(tensors) for part in self.content])
        return found if self.flag is None else Maybe(found, number(tensors.pop(0)))

    def yielded(self, new: Any) -> list[Tensor]:
        """The carried tensors where it holds `new`."""
        if self.skipped:
            return []
        if isinstance(self.content, Slot):
            return self.content.yielded(new)
        defined: Any = True
        if isinstance(new, Maybe):
            new, defined = new.value, new.defined
        elif new is UNDEFINED:
            new, defined = self.like, False
        found = trees.parts(new)
        assert found is not None
        tensors = [
            t
            for part, (_, item) in zip(self.content, found[1], strict=True)
            for t in part.yielded(item)
        ]
        if self.flag is not None:
            tensors.append(numbers.as_tensor(defined, dtypes.bool_))
        return tensors
