"""How long steps will take, by rule of thumb: for dividing work, and for letting others run."""

from __future__ import annotations

import math

from kuai.compiler.emit.builder import Function, Ref, number
from kuai.compiler.emit.cheap import CHEAP
from kuai.compiler.layout import Layout as Layout
from kuai.compiler.sizes import Batch, hint, varies
from kuai.compiler.steps import Item, Nest, Product, Step

PER_FLOP = 1 / 100  # nanoseconds
PER_ACCESS = 0.1
PER_OPERATION = 0.05
PER_FUNCTION = 0.5  # exp and the like, which take tens of instructions
PER_BYTE_AWAY = 0.2  # read by one core where another has written it
PER_PACKED = 0.2  # an element copied into panels of a product
PER_CALL = 5.0
WORTH_A_PART = 10_000.0  # nanoseconds for which waking another thread pays
PARTS = 16  # at most; several for each thread, so that none waits long for the last


def of_step(step: Step) -> float:
    """The nanoseconds that a step takes on one thread."""
    if isinstance(step, Nest):
        size = hint(math.prod(step.domain))
        work = sum(
            PER_OPERATION if op.primitive.name in CHEAP else PER_FUNCTION for op in step.operations
        )
        return PER_CALL + size * (work + 2 * PER_ACCESS)
    if isinstance(step, Product):
        depth = hint(step.kind.depth)
        size = hint(math.prod(step.domain))
        return PER_CALL + size * (2 * depth * PER_FLOP + PER_OPERATION * len(step.body))
    if isinstance(step, Item):
        return 0.0
    return PER_CALL + sum(hint(r.size) for op in step.operations for r in op.results)


def parts(nanoseconds: float) -> int:
    """Into how many parts work of this length is divided."""
    return max(1, min(PARTS, int(nanoseconds / WORTH_A_PART)))


def parts_of_blocks(step: Step, blocks: int) -> int:
    """Into how many parts a step is divided whose work comes in blocks; none of them is empty."""
    found = hint(blocks)
    wanted = max(1, min(parts(of_step(step)), found))
    return int(-(-found // -(-found // wanted)))


def count_of_parts(f: Function, parts: int) -> int | Ref:
    """How many parts there are when the program runs."""
    if not varies(parts):
        return parts
    most = f.intrinsic("smin", number(parts), number(PARTS))
    return f.intrinsic("smax", most, number(1))


def parts_of_nest(step: Nest, accesses: int, batch: Batch | None = None) -> int:
    """Into how many parts a nest is divided, along its outermost dimension that is kept."""
    kept = [n for d, n in enumerate(step.domain) if d not in (step.dims or ())]
    nanoseconds = of_step(step) + accesses * PER_ACCESS * hint(math.prod(step.domain))
    room = math.prod(kept) if kept else 1
    if hint(room) < 32 and not varies(room):
        return 1  # a part has a vector's width of what is kept, at the least
    if batch is not None and any(map(varies, step.domain)):
        return for_any_batch(nanoseconds, batch)
    return max(1, min(parts(nanoseconds), hint(room) // 16))


def for_any_batch(nanoseconds: float, batch: Batch, worth: float = WORTH_A_PART) -> int:
    """Into how many parts work is divided that takes so long with the batch as it is now.

    Work that is far from being worth two of them makes a program for batches for which it is not.

    Args:
        nanoseconds: the time.
        batch: the batch.
        worth: nanoseconds of a part at the least.
    """
    if nanoseconds < worth / 10:
        most = int(batch.value * 2 * worth / max(nanoseconds - PER_CALL, 1.0))
        _ = batch.size(1) <= most  # which notes it as a condition
        return 1
    return batch.size(int(nanoseconds)) // int(batch.value * worth)
