"""Random words in vector code: Philox 4x32-10, bit for bit the words of `kuai.ops.random`."""

from __future__ import annotations

from kuai.compiler.emit.builder import Function, Ref, vector
from kuai.compiler.emit.math.number import Number

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


def words(f: Function, seed: Ref, offset: Ref, index: Ref, lanes: int) -> Ref:
    """The words `index`, `index + 1`, ... (one in each lane) of a draw.

    Args:
        f: where instructions go.
        seed, offset: i64: the state from which it is drawn.
        index: i64; a multiple of 4 where there are lanes.
        lanes: a multiple of 4, or 0 for one word.

    Returns:
        i64 in each lane.
    """
    if lanes % 4:
        raise ValueError(f"words come in fours, not in vectors of {lanes}")
    start = f.add(offset, f.binary("lshr", index, f.const(2, "i64")))
    if not lanes:
        found = block(f, seed, start)
        which = f.binary("and", index, f.const(3, "i64"))
        result = found[0]
        for k in range(1, 4):
            chosen = f.compare("eq", which, f.const(k, "i64"))
            result = f.select(chosen, found[k], result)
        return result
    blocks = lanes // 4
    counter = f.splat(start, blocks) if blocks > 1 else start
    if blocks > 1:
        counter = f.add(counter, f.lanes(range(blocks), "i64"))
        c0, c1, c2, c3 = block(f, seed, counter)
        first, second = (f.shuffle(x, y, range(2 * blocks)) for x, y in ((c0, c1), (c2, c3)))
        order = [blocks * word + number for number in range(blocks) for word in range(4)]
        return f.shuffle(first, second, order)
    result = Ref("poison", vector("i64", 4))
    for k, word in enumerate(block(f, seed, counter)):
        result = f.insert(result, word, k)
    return result


def fill(f: Function, state: Ref, to: Ref, count: int, lanes: int) -> None:
    """Write the first `count` words (as i64) of a draw from `state`, `[seed, offset]`, to memory.

    Args:
        f: where instructions go.
        state, to: addresses.
        count: how many words.
        lanes: of i64 in a vector register; a multiple of 4 or 0.
    """
    seed, offset = f.load("i64", state), f.load("i64", f.at(state, 1, "i64"))
    width = 4 * max(lanes, 1) if lanes else 0  # each word of a block fills a register
    whole = count - count % width if width else 0
    if whole:
        with f.loop(0, whole, width) as i:
            f.store(words(f, seed, offset, i, width), f.at(to, i, "i64"))
    with f.loop(whole, count) as i:
        f.store(words(f, seed, offset, i, 0), f.at(to, i, "i64"))
