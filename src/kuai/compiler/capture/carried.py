"""What a loop carries from round to round: variables and places, leaf by leaf."""

from __future__ import annotations

from typing import Any

from kuai import dtypes
from kuai.compiler.capture import numbers, trees
from kuai.compiler.capture.aliases import CHANGE_A_CLONE, CHANGE_A_COPY, nodes
from kuai.compiler.capture.branches import _equal, _nothing_like, described
from kuai.compiler.capture.numbers import is_number, number
from kuai.compiler.capture.places import Differing, is_tensor
from kuai.compiler.capture.recorder import Recorder
from kuai.compiler.capture.undecided import UNDEFINED, Choice, Maybe, is_known, is_same, place_of
from kuai.core.base import TensorBase
from kuai.core.primitive import Meta, is_floating, meta_of
from kuai.core.tape import mode
from kuai.tensor import Tensor

_NOTHING: Any = object()


class Slot:
    """One leaf of a carried variable or place.

    Attributes:
        initial: what it is before the loop.
        kind: "static" while no round changes it, else "tensor", "number" or "choice".
        optional: whether it may have no value; it is `otherwise` then.
        missing: whether it has none before the loop.
        options: of a choice: the objects that it may be.
    """

    def __init__(self, initial: Any, name: str) -> None:
        self.name = name
        self.original = initial
        self.kind = "static"
        self.optional = isinstance(initial, Maybe)
        self.defined: Any = initial.defined if self.optional else True
        self.otherwise: Any = initial.otherwise if self.optional else _NOTHING
        self.initial = initial.value if self.optional else initial
        self.missing = False
        self.meta: Any = None
        self.options: list[Any] = []
        self.requires_grad = False
        self.widens = is_number(self.initial)
        if initial is UNDEFINED or initial is None:
            self._miss()
        elif is_tensor(self.initial):
            self.meta = meta_of(self.initial)

    def _miss(self) -> None:
        """Let what it is before the loop be no value."""
        self.missing, self.defined, self.otherwise = True, False, self.initial

    def start(self, recorder: Recorder) -> list[Tensor]:
        """The first carried tensors."""
        if self.kind == "static":
            return []
        if self.missing and self.kind != "choice":
            blank = _nothing_like(self.like)
            value = blank if is_tensor(blank) else numbers.as_tensor(blank, self.meta.dtype)
        elif self.kind == "choice":
            value = numbers.as_tensor(place_of(self.original, self.options), self.meta.dtype)
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
        if self.kind == "choice":
            return Choice(number(x), self.options)
        result = number(x) if self.kind == "number" else x
        return Maybe(result, number(tensors.pop(0)), self.otherwise) if self.optional else result

    def yielded(self, new: Any) -> list[Tensor]:
        """The carried tensors where the variable holds `new`."""
        if self.kind == "static":
            return []
        if self.kind == "choice":
            return [numbers.as_tensor(place_of(new, self.options), self.meta.dtype)]
        defined: Any = True
        if isinstance(new, Maybe):
            new, defined = new.value, new.defined
        elif self.optional and is_same(new, self.otherwise):
            new, defined = _nothing_like(self.like), False
        value = new if is_tensor(new) else numbers.as_tensor(new, self.meta.dtype)
        return [value, numbers.as_tensor(defined, dtypes.bool_)] if self.optional else [value]

    def widen(self, new: Any, recorder: Recorder) -> bool:
        """Become what can also hold `new`; whether that was a change.

        Raises:
            CompileError: it cannot.
        """
        before = self._state()
        if new is self.original and self.kind == "static":
            return False
        if isinstance(new, Maybe):
            self._may_be(new.otherwise, new, recorder)
            new = new.value
        elif new is UNDEFINED or new is None or (self.optional and is_same(new, self.otherwise)):
            if self.kind == "choice":
                self._hold_choice(new, recorder)
            else:
                self._may_be(new, new, recorder)
            return before != self._state()
        if self.kind != "choice" and self.missing and not is_known(new):
            self.optional = True
            self.like = new
        if is_tensor(new):
            self._hold_tensor(new, recorder)
        elif is_number(new):
            self._hold_number(new, recorder)
        elif self.kind != "static" or not (
            type(new) is type(self.initial) and _equal(new, self.initial)
        ):
            self._hold_choice(new, recorder)
        return before != self._state()

    def _state(self) -> tuple[Any, ...]:
        return self.kind, self.optional, self.meta, self.requires_grad, len(self.options)

    def _may_be(self, otherwise: Any, new: Any, recorder: Recorder) -> None:
        """Become what may have no value, and is `otherwise` then."""
        if self.otherwise is _NOTHING:
            self.otherwise = otherwise
        elif not is_same(self.otherwise, otherwise):
            self._refuse(new, recorder)
        if is_tensor(self.initial):
            self._hold_tensor(self.initial, recorder)
        elif is_number(self.initial) and not self.missing and self.kind == "static":
            self.kind, self.meta = "number", Meta((), numbers.dtype_of(self.initial))
        elif self.kind == "static" and not self.missing:
            self._refuse(new, recorder)
        if self.like is None:
            self.like = self.initial
        self.optional = True

    def _hold_choice(self, new: Any, recorder: Recorder) -> None:
        known = self.options or [self.original]
        if self.kind not in ("static", "choice") or self.optional:
            self._refuse(new, recorder)
        for x in (self.original, new):
            for option in x.options if isinstance(x, Choice) else (x,):
                if option is not None and not is_known(option):
                    self._refuse(new, recorder)
                if not any(is_same(option, other) for other in known):
                    known = [*known, option]
        self.options = [x for x in known if not isinstance(x, Choice)]
        self.kind, self.meta = "choice", Meta((), dtypes.int64)

    def _hold_tensor(self, new: Any, recorder: Recorder) -> None:
        meta = meta_of(new)
        if self.kind == "choice":
            self._refuse(new, recorder)
        if self.kind == "static" and type(self.initial) in (bool, int, float) and meta.shape:
            self._miss()  # it is a number only where no round was run
            self.optional, self.like = True, new
        if self.kind != "tensor" and (self.missing or is_number(self.initial)):
            if is_number(self.initial) and meta.shape and not self.missing:
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
        if self.kind == "choice":
            self._refuse(new, recorder)
        if self.kind == "tensor" or is_tensor(self.initial):
            if self.meta.shape:
                self._refuse(new, recorder)
            self.kind = "tensor"
            return
        if self.missing:
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


class Shape:
    """How a value is made of parts at one time, whatever becomes of its containers later.

    Attributes:
        parts: of a container, its kind and its parts with their names, as `trees.parts`.
        inner: the shapes of these.
    """

    def __init__(self, x: Any, recorder: Recorder) -> None:
        self.parts = trees.parts(recorder.opened(x.value if isinstance(x, Maybe) else x))
        self.inner = [Shape(item, recorder) for _, item in self.parts[1]] if self.parts else []


class Carried:
    """A variable or place that the rounds change, as slots in the structure of its value.

    Args:
        shape: of the initial value.

    Attributes:
        content: its one slot, or what it has for each part of a container.
        like: the container, as a pattern.
        flag: whether the container is there, where it may be missing; it is `otherwise` then.
        skipped: has no value when a round starts.
        needed: a round reads it before it assigns it.
    """

    def __init__(
        self, initial: Any, name: str, recorder: Recorder, shape: Shape | None = None
    ) -> None:
        self.name = name
        self.initial = initial
        self.recorder = recorder
        self.shape = Shape(initial, recorder) if shape is None else shape
        self.content: Slot | list[Carried] = Slot(initial, name)
        self.like: Any = None
        self.flag: Slot | None = None
        self.otherwise: Any = UNDEFINED
        self.skipped = self.needed = False

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
        for leaf in trees.leaves(new.value if isinstance(new, Maybe) else new):
            if isinstance(leaf, Differing):
                recorder.refuse(leaf.message, leaf.advice)
        for _, x in nodes(new, recorder.opened):
            reason = recorder.aliases.why_unreadable(x)
            if reason:
                recorder.refuse(reason, CHANGE_A_CLONE if is_tensor(x) else CHANGE_A_COPY)
        inner = recorder.opened(new.value if isinstance(new, Maybe) else new)
        changed = False
        if isinstance(self.content, Slot):
            slot = self.content
            have = self.initial.value if isinstance(self.initial, Maybe) else self.initial
            pattern = have if inner is UNDEFINED or inner is None else inner
            if slot.kind != "static" or trees.parts(pattern) is None:
                return slot.widen(new, recorder)
            self._take_apart(pattern, recorder)
            changed = True
        assert not isinstance(self.content, Slot)
        if isinstance(new, Maybe) or new is UNDEFINED or new is None:
            otherwise = new.otherwise if isinstance(new, Maybe) else new
            changed |= self._may_miss(True, otherwise)
            if otherwise is not self.otherwise:
                self._refuse(new, recorder)
        if new is UNDEFINED or new is None:
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
        have = recorder.opened(have)
        shape = self.shape
        if have is UNDEFINED or have is None:
            have = trees.map_leaves(_nothing_like, new)
            shape = Shape(have, recorder)
        found, wanted = shape.parts, trees.parts(new)
        if found is None or wanted is None or found[0] != wanted[0]:
            self._refuse(new, recorder)
        assert found is not None
        self.like = have
        self.content = [
            Carried(item, self.name + label, recorder, inner)
            for (label, item), inner in zip(found[1], shape.inner, strict=True)
        ]
        if isinstance(self.initial, Maybe):
            self._may_miss(self.initial.defined, self.initial.otherwise)
        elif self.initial is UNDEFINED or self.initial is None:
            self._may_miss(False, self.initial)

    def _may_miss(self, at_first: Any, otherwise: Any) -> bool:
        """Have a flag that tells whether the container is there; whether that is new."""
        if self.flag is not None:
            return False
        self.otherwise = otherwise
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
        found = self.recorder.rebuilt(self.like, [part.value(tensors) for part in self.content])
        if self.flag is None:
            return found
        return Maybe(found, number(tensors.pop(0)), self.otherwise)

    def yielded(self, new: Any) -> list[Tensor]:
        """The carried tensors where it holds `new`."""
        if self.skipped:
            return []
        if isinstance(self.content, Slot):
            return self.content.yielded(new)
        defined: Any = True
        if isinstance(new, Maybe):
            new, defined = new.value, new.defined
        elif new is UNDEFINED or new is None:
            new, defined = self.like, False
        found = trees.parts(self.recorder.opened(new))
        assert found is not None
        tensors = [
            t
            for part, (_, item) in zip(self.content, found[1], strict=True)
            for t in part.yielded(item)
        ]
        if self.flag is not None:
            tensors.append(numbers.as_tensor(defined, dtypes.bool_))
        return tensors
