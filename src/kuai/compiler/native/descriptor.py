"""The tables in memory that tell the native entry what a program takes and gives.

Every field is one 64-bit word; the classes below name them in order. `kuai.compiler.native.entry`
reads them in native code, `kuai.compiler.native.binding` writes them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence


class Layout:
    """The names of the words of a record."""

    def __init__(self, names: str) -> None:
        self.names = names.split()
        self.index = {name: i for i, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def words(self, **values: int) -> list[int]:
        """A record with these values; 0 where none is given."""
        unknown = values.keys() - self.index.keys()
        if unknown:
            raise TypeError(f"no field {', '.join(sorted(unknown))}")
        return [values.get(name, 0) & 0xFFFFFFFFFFFFFFFF for name in self.names]


# One compiled function: what its builtin has for `self`.
FUNCTION = Layout("first slow")

# One program of a function. `keywords` is the tuple of the names of arguments that are given by
# name, whose values come after the positional ones; 0 where there are none. With an `epoch` of -1
# it may run whatever has changed.
PROGRAM = Layout(
    "next owner program fail finish"
    " block busy block_bytes head_bytes"  # table of buffers and numbers (the head), then arena
    " releases holds mode epoch"  # of the lock; of payloads during the call
    " arguments keywords objects object_specs"
    " tensors tensor_specs numbers number_specs guards guard_specs"
    " outputs output_specs gradients gradient_specs updates update_specs"
    " parts part_specs steps step_specs"
)

# An object among or inside the arguments: argument `item`, an item of the object `parent`, or the
# very object at the address `item`. An item of a dictionary that must have its place in the order
# of them (DICT_ITEM) has a `position`. It must be `same` itself, or have a type and, a container, a
# size (one more than that, 0 for any).
OBJECT = Layout("kind parent item position same type size")
ARGUMENT, TUPLE_ITEM, LIST_ITEM, DICT_VALUE, FIXED, DICT_ITEM = range(6)
MOST_OBJECTS = 1024  # of a native call

# A tensor that the program uses: `object`, or the one at `place` among the objects; with `grad`,
# the `grad` of that one. `payload` is the array that it must hold, or 0 where any will do that
# fits. Without `requires_grad` it does not matter whether gradients flow to it; `hooks`, `no_grad`
# and `no_node` are what its slots must hold, or 0; with a negative `nd`, the form of its array does
# not matter.
TENSOR = Layout(
    "object place grad payload requires_grad hooks no_grad no_node descr nd sizes strides alignment"
    " buffer written low high"  # whether it is changed; the extent in bytes around its data
)

# A Python number that the program reads: an object among the arguments, or a dictionary's item, or
# without a key, what stands at an address. With a `size`, it is the `item` of a tuple of that size
# which stands there. A `sign` of 1 or -1 is the one that it must have.
NUMBER = Layout("type place container key offset item size sign")

# Something read while capturing that must still be so: the word at an address (or that it is not
# the expected one), an item of a list, items of a dictionary (`key` is then the address of pairs
# of a key and what it stands for), all of a dictionary by its `version`, 32 bits at an address.
GUARD = Layout("kind container key expected version")
WORD, ITEM, DICTIONARY, OTHER_WORD, VERSION, HALF_WORD = range(6)

# An array that the program makes.
OUTPUT = Layout("descr nd sizes buffer")

# A place in the table of buffers for what lies `offset` bytes behind the address at place `base`.
PART = Layout("base offset buffer")

# A tensor whose `grad` the program writes; without a descr, it becomes None. The memory of the
# `grad` before may be used again unless it must be `fresh`. With `arrives`, one more than the place
# of a bool in the table of buffers, it becomes None where that is false.
GRADIENT = Layout("object place grad descr nd sizes strides buffer fresh arrives")

# A tensor that the program changes in place.
UPDATE = Layout("object place grad")

# How the result is put together: each step pushes something, or takes `number` things away and
# pushes what it makes of them. What is pushed last is the result. A tensor may come with a node of
# the tape, or be a result of the one node that was made before.
STEP = Layout("kind number pointer")
PUSH_TENSOR, PUSH_OBJECT, PUSH_ARGUMENT, PUSH_FLOAT, PUSH_INT, PUSH_BOOL = range(6)
PUSH_STACK = 6  # the memory at place `number` of the table, and the rounds behind it
PUSH_PAYLOAD, PUSH_VERSION = range(7, 9)  # of the tensor `pointer`, or of the argument `number`
PUSH_EDGE = 9  # where the gradient of such a tensor goes
PUSH_ARRAY = 10  # without a tensor around it
# A tensor computed by the node at the bottom; `pointer` is 0, or the address of the number, the
# shape and the dtype of one output of several.
PUSH_RESULT = 11
MAKE_TUPLE, MAKE_LIST, MAKE_DICT = range(12, 15)
MAKE_NODE = 15  # of the tuple of what it keeps
OF_TENSORS = (PUSH_PAYLOAD, PUSH_VERSION, PUSH_EDGE)


class Memory:
    """Words in memory, for native code to read, at an address that does not change."""

    def __init__(self, words: Sequence[int]) -> None:
        self.words = (ctypes.c_uint64 * max(len(words), 1))(*words)
        self.address = ctypes.addressof(self.words)

    def write(self, words: Sequence[int]) -> None:
        """Put these words in the place of the first ones."""
        for i, word in enumerate(words):
            self.words[i] = word


def records(layout: Layout, rows: Sequence[dict[str, int]]) -> Memory:
    """Several records, one after the other."""
    return Memory([word for row in rows for word in layout.words(**row)])
