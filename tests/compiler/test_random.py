"""Random words of compiled programs are those of eager."""

import ctypes

import numpy as np
import pytest

from kuai import dtypes
from kuai.compiler.emit import random
from kuai.compiler.emit.builder import Module, Ref
from kuai.compiler.emit.scalars import Emit, Scalar
from kuai.compiler.native import jit
from kuai.core.primitive import PRIMITIVES
from kuai.ops.random import philox

SEEDS = [0, 1, 67280421310721, -5, (1 << 63) - 1]
OFFSETS = [0, 3, (1 << 32) - 3, (1 << 62) + 7]


class Places(Scalar):
    """Positions as a pull gets them: that of the first lane, and how far it is to the next."""

    __slots__ = ("base", "step")

    def __init__(self, emit: Emit, base: Ref, step: int) -> None:
        f, self.base, self.step = emit.function, base, step
        lanes = f.lanes([step * i for i in range(emit.lanes)], "i64") if step else None
        ref = f.add(f.splat(base, emit.lanes), lanes) if lanes else base
        super().__init__(ref, dtypes.int64)


def drawing(compute, lanes: int, step: int = 1):
    """A function `(state, index, to)` that stores what `compute(emit, state, index)` gives."""
    module = Module()
    arguments = [("ptr", "state"), ("i64", "index"), ("ptr", "to")]
    f = module.function("draw", "void", arguments, internal=False)
    state, index, to = f.arguments
    emit = Emit(f, lanes)
    f.store(compute(emit, state, Places(emit, index, step if lanes else 0)), to)
    f.ret()
    library = jit.load(jit.assemble(str(module), verify=True), ["draw"])
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    draw = kind(library["draw"])

    def call(seed: int, offset: int, index: int) -> np.ndarray:
        state, got = np.array([seed, offset]), np.zeros(max(lanes, 1), np.int64)
        draw(state.ctypes.data, index, got.ctypes.data)
        return got

    call.library = library  # type: ignore[attr-defined]
    return call


def state_of(emit: Emit, state: Ref) -> tuple[Ref, Ref]:
    f = emit.function
    return f.load("i64", state), f.load("i64", f.at(state, 1, "i64"))


@pytest.mark.parametrize("lanes", [0, 1, 4, 8, 16])
def test_each_word_is_that_of_eager(lanes):
    draw = drawing(
        lambda emit, state, index: random.word(emit.function, *state_of(emit, state), index.ref),
        lanes,
    )
    for seed in SEEDS:
        for offset in OFFSETS:
            expected = philox(seed, offset, 64)
            for index in (0, 1, 2, 3, 16, 33):
                got = draw(seed, offset, index)
                np.testing.assert_array_equal(got, expected[index : index + len(got)])


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_words_side_by_side_share_blocks_from_any_index_on(lanes):
    draw = drawing(
        lambda emit, state, index: random.words(
            emit.function, *state_of(emit, state), index.base, lanes
        ),
        lanes,
    )
    for seed in SEEDS:
        for offset in OFFSETS:
            expected = philox(seed, offset, 64)
            for index in (0, 1, 2, 3, 16, 33):
                got = draw(seed, offset, index)
                np.testing.assert_array_equal(got, expected[index : index + lanes])


class State:
    """What a pull reads the state from."""

    def __init__(self, emit: Emit, pointer: Ref) -> None:
        self.values = state_of(emit, pointer)

    def at(self, place: int) -> Scalar:
        return Scalar(self.values[place], dtypes.int64)


@pytest.mark.parametrize(("lanes", "step"), [(0, 0), (8, 1), (8, 3), (8, 0), (2, 1)])
def test_the_primitive_draws_at_any_positions(lanes, step):
    pull = PRIMITIVES["random_bits"].pull
    draw = drawing(
        lambda emit, state, index: emit.splat(pull(emit, (index,), State(emit, state), 64)).ref,
        lanes,
        step,
    )
    expected = philox(7, 9, 64)
    for index in range(30):
        places = index + step * np.arange(max(lanes, 1))
        np.testing.assert_array_equal(draw(7, 9, index), expected[places])
