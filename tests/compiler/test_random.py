"""Random words of compiled programs are those of eager."""

import ctypes

import numpy as np
import pytest

from kuai.compiler.emit import random
from kuai.compiler.emit.builder import Module
from kuai.compiler.native import jit
from kuai.ops.random import philox

SEEDS = [0, 1, 67280421310721, -5, (1 << 63) - 1]
OFFSETS = [0, 3, (1 << 32) - 3, (1 << 62) + 7]


@pytest.mark.parametrize("lanes", [0, 4, 8])
@pytest.mark.parametrize("count", [1, 3, 4, 31, 32, 257])
def test_a_draw_has_the_words_of_eager(lanes, count):
    module = Module()
    f = module.function("draw", "void", [("ptr", "state"), ("ptr", "to")], internal=False)
    random.fill(f, *f.arguments, count, lanes)
    f.ret()
    library = jit.load(jit.assemble(str(module), verify=True), ["draw"])
    draw = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(library["draw"])
    for seed in SEEDS:
        for offset in OFFSETS:
            state = np.array([seed, offset], np.int64)
            got = np.zeros(count + 1, np.int64)
            draw(state.ctypes.data, got.ctypes.data)
            np.testing.assert_array_equal(got[:-1], philox(seed, offset, count).astype(np.int64))
            assert got[-1] == 0


@pytest.mark.parametrize("lanes", [0, 4, 8, 16])
def test_words_are_computed_from_their_index(lanes):
    module = Module()
    f = module.function("word", "void", [("i64", "index"), ("ptr", "to")], internal=False)
    index, to = f.arguments
    seed, offset = f.const(12345, "i64"), f.const(99, "i64")
    f.store(random.words(f, seed, offset, index, lanes), to)
    f.ret()
    library = jit.load(jit.assemble(str(module), verify=True), ["word"])
    word = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(library["word"])
    expected = philox(12345, 99, 64).astype(np.int64)
    got = np.zeros(max(lanes, 1), np.int64)
    for at in range(0, 32, 4 if lanes else 1):
        word(at, got.ctypes.data)
        np.testing.assert_array_equal(got, expected[at : at + len(got)])


def test_vectors_hold_whole_blocks():
    f = Module().function("f", "void", [])
    one = f.const(1, "i64")
    with pytest.raises(ValueError, match="fours"):
        random.words(f, one, one, one, 6)
