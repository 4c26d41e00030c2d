"""The part of the pickle language that PyTorch's checkpoints need, interpreted without trust.

Python's own unpickler imports and calls what a file names. This one has a table of the few things
that tensors and state dicts are made of, and each of them is built by a function here, from
arguments that are checked; everything else in a file is refused.
"""

from __future__ import annotations

import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import IO, Any

from kuai import dtypes
from kuai.core.base import Size, TensorBase
from kuai.device import device
from kuai.errors import CheckpointError
from kuai.io.memory import Storage

ELEMENTS = {
    "Double": dtypes.float64,
    "Float": dtypes.float32,
    "Half": dtypes.float16,
    "BFloat16": dtypes.bfloat16,
    "Long": dtypes.int64,
    "Int": dtypes.int32,
    "Short": dtypes.int16,
    "Char": dtypes.int8,
    "Byte": dtypes.uint8,
    "Bool": dtypes.bool_,
}


class Name:
    """Something that a file names: it is only a name, and what may be built under it.

    Args:
        name: module and name.
        build: makes the object of its arguments; `None` if it is only passed around.
    """

    __slots__ = ("build", "name")

    def __init__(self, name: str, build: Callable[..., Any] | None = None) -> None:
        self.name = name
        self.build = build


class StorageType(Name):
    """A class of storages; `element` is `None` for untyped bytes."""

    __slots__ = ("element",)

    def __init__(self, name: str, element: dtypes.dtype | None) -> None:
        super().__init__(name)
        self.element = element


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, element: dtypes.dtype | None
) -> TensorBase:
    """A tensor on a storage; offset and strides count elements."""
    if not isinstance(storage, Storage):
        raise CheckpointError("a tensor's storage is no storage")
    if not isinstance(element, dtypes.dtype):
        raise CheckpointError("a tensor of a type that kuai lacks")
    if any(type(n) is not int for n in (offset, *shape, *strides)):
        raise CheckpointError("a tensor's offset, shape and strides must be integers")
    size = element.itemsize
    return storage.tensor(element, offset * size, shape, [n * size for n in strides])


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> TensorBase:
    return _tensor(storage, offset, shape, strides, getattr(storage, "element", None))


def _rebuild_tensor_v2(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    backward_hooks: Any,
    metadata: Any = None,
) -> TensorBase:
    tensor = _rebuild_tensor(storage, offset, shape, strides)
    return _requiring_grad(tensor, requires_grad)


def _rebuild_tensor_v3(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    backward_hooks: Any,
    element: Any,
    metadata: Any = None,
) -> TensorBase:
    return _requiring_grad(_tensor(storage, offset, shape, strides, element), requires_grad)


def _requiring_grad(tensor: TensorBase, requires_grad: Any) -> TensorBase:
    if type(requires_grad) is not bool or (requires_grad and not tensor.dtype.is_floating_point):
        raise CheckpointError("a tensor that cannot require gradients is marked so")
    tensor._requires_grad = requires_grad
    return tensor


def _rebuild_parameter(
    data: Any, requires_grad: Any, backward_hooks: Any = None, state: Any = None
) -> TensorBase:
    from kuai.nn.parameter import Parameter

    if not isinstance(data, TensorBase):
        raise CheckpointError("a parameter's data is no tensor")
    _requiring_grad(data, requires_grad)
    return Parameter(data, requires_grad)  # type: ignore[arg-type]


def _rebuild_from_type(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """A tensor that had attributes of its own in Python; they are left out."""
    if not isinstance(function, Name) or function.build is None or type(arguments) is not tuple:
        raise CheckpointError("a tensor is built by something that is no known function")
    if getattr(kind, "name", None) not in ("torch.Tensor", "torch.nn.parameter.Parameter"):
        raise CheckpointError("a tensor of a class that kuai does not know")
    tensor = function.build(*arguments)
    if kind.name == "torch.nn.parameter.Parameter" and isinstance(tensor, TensorBase):
        return _rebuild_parameter(tensor, tensor._requires_grad)
    return tensor


def _ordered_dict(pairs: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((key, value) for key, value in pairs)


def _counter(counts: Any = None) -> Counter[Any]:
    if counts is not None and type(counts) is not dict:
        raise CheckpointError("a Counter of something that is no dict")
    return Counter(counts)


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes, as pickle writes them for Python 2: text, and the encoding to undo."""
    if type(text) is not str or encoding not in ("latin1", "utf-8"):
        raise CheckpointError("bytes in an unknown encoding")
    return text.encode(encoding)


def _set(items: Any = ()) -> set[Any]:
    return set(_list(items))


def _list(items: Any) -> list[Any]:
    if type(items) not in (list, tuple):
        raise CheckpointError("a collection of something that is no list")
    return list(items)


FUNCTIONS: dict[str, Callable[..., Any] | None] = {
    "collections.OrderedDict": _ordered_dict,
    "collections.Counter": _counter,
    "builtins.set": _set,
    "builtins.frozenset": lambda items=(): frozenset(_list(items)),
    "builtins.complex": lambda real, imaginary: complex(float(real), float(imaginary)),
    "builtins.bytearray": lambda text="", encoding="latin1": bytearray(
        text if type(text) is bytes else _encoded(text, encoding)
    ),
    "_codecs.encode": _encoded,
    "torch.Size": lambda sizes: Size(int(n) for n in _list(sizes)),
    "torch.device": lambda kind, index=None: device(str(kind), index),
    "torch.serialization._get_layout": lambda name: str(name),
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.Tensor": None,
    "torch.nn.parameter.Parameter": None,
}


def named(module: str, name: str) -> Any:
    """What a file means by a name.

    Raises:
        CheckpointError: nothing that tensors and plain values need.
    """
    full = f"{module}.{name}".replace("__builtin__.", "builtins.", 1)
    if full in FUNCTIONS:
        return Name(full, FUNCTIONS[full])
    place, _, last = full.rpartition(".")
    if place == "torch":
        for element in dtypes.ALL:
            if element.name == last:
                return element
    if place in ("torch", "torch.cuda", "torch.storage") and last.endswith("Storage"):
        if last == "UntypedStorage":
            return StorageType(full, None)
        if last[: -len("Storage")] in ELEMENTS:
            return StorageType(full, ELEMENTS[last[: -len("Storage")]])
    if place in ("torch", "torch.cuda", "torch.storage", "torch._utils"):
        raise CheckpointError(
            f"the file holds a {full}, which kuai does not read; it reads tensors of "
            f"{', '.join(element.name for element in dtypes.ALL)} and plain values"
        )
    raise CheckpointError(
        f"the file holds a {full}, which only running its code could build, and kuai runs none "
        "from a file; save the state_dict() instead"
    )


MARK = object()
ARGUMENT_IS_VALUE = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"),
        *("BINSTRING", "SHORT_BINSTRING", "STRING"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}
SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
UNPICKLED_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RuntimeError,
    UnicodeError,
    AssertionError,
    EOFError,
)


class Interpreter:
    """Runs one pickle.

    Args:
        find_storage: the storage that a persistent id, a tuple, names.
    """

    def __init__(self, find_storage: Callable[[tuple[Any, ...]], Storage]) -> None:
        self.find_storage = find_storage
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: IO[bytes]) -> Any:
        """The object of the pickle that begins where the file stands.

        Raises:
            CheckpointError: it is corrupted, or holds what is not admitted.
        """
        try:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name == "STOP":
                    return self.stack.pop()
                self.step(opcode.name, argument)
        except CheckpointError:
            raise
        except UNPICKLED_ERRORS as error:
            raise CheckpointError(f"the pickled structure is corrupted: {error}") from error
        raise CheckpointError("the pickled structure is truncated")

    def step(self, operation: str, argument: Any) -> None:
        """Carry out one operation of the pickle language."""
        stack = self.stack
        if operation in ARGUMENT_IS_VALUE:
            stack.append(argument)
        elif operation in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif operation == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif operation in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif operation == "MARK":
            stack.append(MARK)
        elif operation in CONSTANTS:
            stack.append(CONSTANTS[operation])
        elif operation in EMPTY:
            stack.append(EMPTY[operation]())
        elif operation in SHORT_TUPLES:
            count = SHORT_TUPLES[operation]
            last = tuple(stack[-count:])
            if len(last) < count:
                raise CheckpointError("the pickled structure is corrupted: a tuple of too few")
            stack[-count:] = [last]
        elif operation in MARKED:
            items = self.pop_to_mark()
            MARKED[operation](stack, items)
        elif operation == "APPEND":
            item = stack.pop()
            _append(stack, [item])
        elif operation == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _set_items(stack, [key, value])
        elif operation == "GLOBAL":
            module, _, name = argument.partition(" ")
            stack.append(named(module, name))
        elif operation == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            stack.append(named(str(module), str(name)))
        elif operation in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(_build(function, arguments))
        elif operation == "BUILD":
            state = stack.pop()
            _set_state(stack[-1], state)
        elif operation == "BINPERSID":
            identity = stack.pop()
            if type(identity) is not tuple or not identity or identity[0] != "storage":
                raise CheckpointError(
                    "the file refers to something that is no storage (a whole model?); save its "
                    "state_dict() instead"
                )
            stack.append(self.find_storage(identity))
        elif operation not in ("PROTO", "FRAME"):
            raise CheckpointError(
                f"the file uses the pickle operation {operation}, which is not needed for tensors"
            )

    def pop_to_mark(self) -> list[Any]:
        """Take everything above the last mark off the stack, and the mark."""
        stack = self.stack
        for i in range(len(stack) - 1, -1, -1):
            if stack[i] is MARK:
                items = stack[i + 1 :]
                del stack[i:]
                return items
        raise CheckpointError("the pickled structure is corrupted: a mark is missing")


def _append(stack: list[Any], items: list[Any]) -> None:
    if type(stack[-1]) is not list:
        raise CheckpointError("the pickled structure is corrupted: items for what is no list")
    stack[-1].extend(items)


def _set_items(stack: list[Any], items: list[Any]) -> None:
    if type(stack[-1]) not in (dict, OrderedDict, Counter) or len(items) % 2:
        raise CheckpointError("the pickled structure is corrupted: entries for what is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        stack[-1][key] = value


def _add_items(stack: list[Any], items: list[Any]) -> None:
    if type(stack[-1]) is not set:
        raise CheckpointError("the pickled structure is corrupted: members for what is no set")
    stack[-1].update(items)


MARKED: dict[str, Callable[[list[Any], list[Any]], Any]] = {
    "TUPLE": lambda stack, items: stack.append(tuple(items)),
    "LIST": lambda stack, items: stack.append(items),
    "DICT": lambda stack, items: stack.append(dict(zip(items[::2], items[1::2], strict=True))),
    "FROZENSET": lambda stack, items: stack.append(frozenset(items)),
    "APPENDS": _append,
    "SETITEMS": _set_items,
    "ADDITEMS": _add_items,
}


def _build(function: Any, arguments: Any) -> Any:
    """What a named function makes of its arguments."""
    if not isinstance(function, Name) or function.build is None or type(arguments) is not tuple:
        what = getattr(function, "name", type(function).__name__)
        raise CheckpointError(f"the file calls {what}, which is no function that tensors need")
    return function.build(*arguments)


def _set_state(target: Any, state: Any) -> None:
    """Give a state dict its attributes (`_metadata`)."""
    if type(target) is not OrderedDict or type(state) is not dict:
        raise CheckpointError(
            f"the file sets attributes of a {type(target).__name__}; only a state dict has any"
        )
    if any(type(name) is not str for name in state):
        raise CheckpointError("a state dict's attributes must have names")
    vars(target).update(state)
