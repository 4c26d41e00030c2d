"""What a program depends on, checked before each call: in native code where it can be.

Python checks a record of `kuai.compiler.capture.records` by value; native code compares addresses.
Where an address differs, Python looks: if the value is the same after all, native code learns the
new address, and asks no more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Sequence
from typing import Any

from kuai import dtypes
from kuai.compiler.capture import records as r
from kuai.compiler.capture.sameness import is_any
from kuai.compiler.native import descriptor as d
from kuai.compiler.native import objects
from kuai.compiler.native.descriptor import Memory
from kuai.core.base import TensorBase
from kuai.nn.registry import epoch

Row = dict[str, int]


class Guards:
    """The records of one capture.

    Args:
        records: what was read.
        grads: by their address, the arrays of gradients that the program takes from the tensor
            that has them at the call.

    Attributes:
        needs_python: whether some of them only Python can check, at every call.
    """

    def __init__(
        self,
        records: Sequence[r.Read],
        grads: Container[int] = (),
    ) -> None:
        self.records = [
            x for x in records if not (isinstance(x, r.OfTensor) and id(x.tensor._payload) in grads)
        ]
        self._payloads = {
            id(x.tensor): x.tensor._payload for x in self.records if isinstance(x, r.OfTensor)
        }
        self._captured: set[int] = set()
        self._blocks = [x for x in self.records if isinstance(x, r.OfBlock)]
        self._others = [x for x in self.records if not isinstance(x, r.OfBlock)]
        self._epoch = epoch[0]
        self._pairs: dict[int, Memory] = {}
        # What addresses in native records stand for: as long as it lives, nothing else can
        # have its address.
        self._kept: list[Any] = []
        self.needs_python = False

    def stale(self) -> list[r.Read]:
        """The records that do not hold any more."""
        found = [x for x in self._others if not (x.check() and self._has_its_array(x))]
        now = epoch[0]
        if now != self._epoch:
            found += [x for x in self._blocks if not x.check()]
            if not found:
                self._epoch = now
        return found

    def keep_up(self, before: int) -> None:
        """Nothing that is watched has changed since the epoch was `before`."""
        if self._epoch == before:
            self._epoch = epoch[0]

    def _has_its_array(self, record: r.Read) -> bool:
        """Whether a tensor has kept its memory, which may be bound under another name."""
        if not isinstance(record, r.OfTensor) or id(record.tensor) in self._captured:
            return True
        return record.tensor._payload is self._payloads[id(record.tensor)]

    def bind(self, captured: Sequence[TensorBase]) -> list[Row]:
        """The native records for a program that is bound to these tensors.

        They are checked as what the program uses, and need no record.
        """
        self._captured = {id(x) for x in captured}
        return self.rows()

    # -- native records ---------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """The native records, with the addresses of now."""
        rows: list[Row] = []
        before, self._kept = self._kept, []
        items: dict[int, tuple[Any, list[tuple[Any, Any]]]] = {}
        versions: dict[int, Any] = {}
        for record in self._others:
            if is_any(getattr(record, "value", None)):
                continue  # the program looks at its numbers itself
            if isinstance(record, r.FromItem):
                if isinstance(record.container, dict) and _is_simple_key(record.index):
                    entry = items.setdefault(id(record.container), (record.container, []))
                    entry[1].append((record.index, record.fetch()))
                else:
                    versions[id(record.container)] = record.container
            elif isinstance(record, r.OfModes):
                fields = vars(dtypes)
                entry = items.setdefault(id(fields), (fields, []))
                entry[1].append(("_default", fields["_default"]))
            else:
                self._add(record, rows)
        for container, pairs in items.values():
            rows.append(self._dictionary(container, pairs))
        rows += [self._version(container) for container in versions.values()]
        del before
        return rows

    def _walked_dictionary(self, container: dict[Any, Any]) -> list[Row]:
        """That a dictionary has the same items in the same order."""
        if len(container) < 2 and all(map(_is_simple_key, container)):
            size = _word(id(container) + objects.SIZE)
            return [size, self._dictionary(container, list(container.items()))]
        if isinstance(container, OrderedDict):
            self.needs_python = True  # which keeps an order of its own
        return [self._version(container)]

    def _version(self, container: Any) -> Row:
        """That nothing in a dictionary has changed."""
        if not isinstance(container, dict) or not objects.dict_versions():
            self.needs_python = True
            return _word(id(container) + objects.TYPE)
        version = objects.word(id(container) + objects.DICT_VERSION)
        return {"kind": d.VERSION, "container": id(container), "version": version}

    def _add(self, record: r.Read, rows: list[Row]) -> None:
        if isinstance(record, r.FromCell):
            rows.append(_word(id(record.cell) + objects.CELL_CONTENTS))
            self._kept.append(record.fetch())
        elif isinstance(record, r.FromAttribute) and isinstance(record.owner, type):
            version = objects.type_version(record.owner, record.attribute)
            if not version or not objects.types_hold():
                self.needs_python = True
            address = id(record.owner) + objects.TYPE_VERSION
            rows.append({"kind": d.HALF_WORD, "container": address, "expected": version})
        elif isinstance(record, r.OfFunction) and objects.functions_hold():
            for name, offset in objects.FUNCTION.items():
                rows.append(_word(id(record.function) + offset))
                self._kept.append(getattr(record.function, name))
            if record.kwdefaults:
                defaults = record.function.__kwdefaults__ or {}
                rows.append(self._dictionary(defaults, list(defaults.items())))
        elif isinstance(record, r.OfTensor):
            self._tensor(record, rows)
        elif isinstance(record, r.Walked) and type(record.container) is list:
            items = record.container
            rows.append(_word(id(items) + objects.SIZE))
            self._kept += items
            for i, x in enumerate(items):
                row = {"kind": d.ITEM, "container": id(items), "key": i, "expected": id(x)}
                rows.append(row)
        elif isinstance(record, r.Walked) and isinstance(record.container, dict):
            rows += self._walked_dictionary(record.container)
        elif isinstance(record, r.OfClass):
            self._kept.append(record.owner)
            rows.append(_word(id(record.owner) + objects.TYPE))
        else:
            self.needs_python = True

    def _tensor(self, record: r.OfTensor, rows: list[Row]) -> None:
        x, slots = record.tensor, objects.tensor_slots()
        rows.append(_none(id(x) + slots["_node"], record.leaf))
        if record.grad is not r.MISSING:
            rows.append(_none(id(x) + slots["_grad"], record.grad))
        if id(x) not in self._captured:
            self._kept.append(x._payload)
            rows.append(_word(id(x) + slots["_payload"]))
            rows.append(_word(id(x) + slots["_requires_grad"]))

    def _dictionary(self, container: dict[Any, Any], pairs: list[tuple[Any, Any]]) -> Row:
        words = []
        self._kept += pairs
        for key, value in pairs:
            words += [id(key), 0 if value is r.MISSING else id(value)]
        memory = self._pairs.get(id(container))
        if memory is None or len(memory.words) != max(len(words), 1):
            memory = self._pairs[id(container)] = Memory(words)
        memory.write(words)
        return {
            "kind": d.DICTIONARY,
            "container": id(container),
            "key": memory.address,
            "expected": len(pairs),
        }


def _is_simple_key(key: Any) -> bool:
    """Whether looking it up in a dictionary runs no Python code."""
    hashing: Any = type(key).__hash__
    return type(key) in (str, int) or hashing is object.__hash__


def _word(address: int) -> Row:
    """That a word stays what it is."""
    return {"kind": d.WORD, "container": address, "expected": objects.word(address)}


def _none(address: int, wanted: bool) -> Row:
    """That a slot holds None, or something else."""
    kind = d.WORD if wanted else d.OTHER_WORD
    return {"kind": kind, "container": address, "expected": id(None)}
