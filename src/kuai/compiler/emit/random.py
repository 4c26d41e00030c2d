"""Random words in vector code: Philox 4x32-10, bit for bit the words of `kuai.ops.random`."""

from __future__ import annotations

from kuai.compiler.emit.builder import Function, Ref
from kuai.compiler.emit.math.number import Number, where

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
STEPS = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF


def block(f: Function, seed: Ref, counter: Ref) -> list[Ref]:
    """The four words of each value of the counter.

    Args:
        f: where instructions go.
        seed: i64.
        counter: i64, with or without lanes.

    Returns:
        Four values of the counter's type, whose upper 32 bits are zero.
    """
    zero = Number(f, f.const(0, counter.type))
    place = Number(f, counter)
    c0, c1, c2, c3 = place & LOW, place.logical_shift(32), zero, zero
    key = Number(f, seed)
    k0, k1 = key & LOW, key.logical_shift(32)
    lanes = counter.lanes
    for _ in range(10):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        first, second = (Number(f, f.splat(k.ref, lanes)) for k in (k0, k1))
        c0, c1, c2, c3 = (
            p1.logical_shift(32) ^ c1 ^ first,
            p1 & LOW,
            p0.logical_shift(32) ^ c3 ^ second,
            p0 & LOW,
        )
        k0, k1 = (k0 + STEPS[0]) & LOW, (k1 + STEPS[1]) & LOW
    return [c.ref for c in (c0, c1, c2, c3)]


def word(f: Function, seed: Ref, offset: Ref, index: Ref) -> Ref:
    """The word `index` of a draw.

    Args:
        f: where instructions go.
        seed, offset: i64: the state from which it is drawn.
        index: i64, with or without lanes.

    Returns:
        The word as i64, in each lane of the index.
    """
    place, lanes = Number(f, index), index.lanes
    found = block(f, seed, (place.logical_shift(2) + Number(f, f.splat(offset, lanes))).ref)
    which, result = place & 3, Number(f, found[0])
    for k in range(1, 4):
        result = where(which.equals(k), Number(f, found[k]), result)
    return result.ref


def words(f: Function, seed: Ref, offset: Ref, index: Ref, lanes: int) -> Ref:
    """The words `index`, `index + 1`, ..., one in each lane; `lanes` is a power of 2 from 4 on.

    A block serves four lanes, so that this takes a quarter of what `word` does; or a half, since
    a first block that begins before `index` leaves words over.
    """
    blocks = lanes // 2
    start = f.add(offset, f.binary("lshr", index, f.const(2, "i64")))
    counter = f.add(f.splat(start, blocks), f.lanes(range(blocks), "i64"))
    c0, c1, c2, c3 = block(f, seed, counter)
    first, second = (f.shuffle(x, y, range(2 * blocks)) for x, y in ((c0, c1), (c2, c3)))
    order = [blocks * word + number for number in range(blocks) for word in range(4)]
    beyond = f.binary("and", index, f.const(3, "i64"))
    result = f.shuffle(first, second, order[:lanes])
    for k in range(1, 4):
        moved = f.shuffle(first, second, order[k : k + lanes])
        result = f.select(f.compare("eq", beyond, f.const(k, "i64")), moved, result)
    return result
