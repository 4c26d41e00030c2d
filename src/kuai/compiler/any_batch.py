"""Programs for any batch: made of a function captured for two sizes, and verified for each other.

The function is captured for every batch size that it is called with: a capture costs milliseconds
and answers for everything that Python code may do with a size. What it gives is compared with
what a program was made of (`kuai.compiler.pairing`); where they agree, that program serves, and
none of the later stages is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from kuai.compiler.batches import HINT, Batches, resized
from kuai.compiler.run.program import Call, MakeCode, Program, Recorded

if TYPE_CHECKING:
    from kuai.compiler.templates import Template

MOST_MISSES = 4  # calls of one kind that all templates are wrong for
MOST_KINDS = 64  # of calls, that are remembered
USUAL = 64  # a program for a smaller batch is made with this one in mind, if it fits both
MOST_TEMPLATES = 8  # for calls of one kind; each serves a range of sizes


class AnyBatch:
    """The programs of a function that serve any batch.

    Args:
        wanted: whether they are made at once; after calls of several sizes otherwise.

    Attributes:
        templates: for each kind of call, those that there are; the one that served last is last.
        refused: for kinds of calls that have none, why.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.templates: dict[Hashable, list[Template]] = {}
        self.refused: dict[Hashable, str] = {}
        self._misses: dict[Hashable, int] = {}
        self._batches = Batches()

    def program(
        self,
        call: Call,
        capture: Callable[[Call], Recorded],
        make: Callable[[Recorded, MakeCode], Program],
    ) -> Program | None:
        """A program for a call; `None` where it needs one of its own.

        Args:
            call: the call.
            capture: captures it.
            make: makes a program of a capture.
        """
        batched = self._batches.of(call)
        if batched is None or not (self.wanted or batched.sizes >= HINT):
            return None
        kind, size = batched.kind, batched.size
        if kind in self.refused:
            return None
        from kuai.compiler.sizes import LEAST, Batch
        from kuai.compiler.templates import BESIDE, Attempt  # all stages of the compiler

        if size < LEAST:
            return None
        for known in (self.templates, self.refused, self._misses):
            if len(known) > MOST_KINDS:
                del known[next(iter(known))]
        templates = self.templates.setdefault(kind, [])
        attempt = Attempt(size, lambda: capture(call), make)
        for template in reversed(templates):
            if attempt.with_template(template):
                templates.remove(template)
                templates.append(template)
                return attempt.program
        for made_for in dict.fromkeys((max(size, USUAL), size)):
            if len(templates) >= MOST_TEMPLATES or made_for in [t.batch.value for t in templates]:
                continue
            calls = [resized(call, batched, n) for n in (made_for, made_for + BESIDE)]
            new = attempt.at_new(calls, Batch(made_for), capture)
            if new is not None:
                templates.append(new)
            if attempt.program is not None:
                return attempt.program
        self._misses[kind] = self._misses.get(kind, 0) + 1
        if not templates or self._misses[kind] >= MOST_MISSES:
            self.refused[kind] = attempt.why or "each size of the batch has kernels of its own"
        return None
