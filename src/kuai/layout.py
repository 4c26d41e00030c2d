"""PyTorch's words for how elements lie in memory."""

from __future__ import annotations


class layout:
    """How a tensor is stored. There is one: `kuai.strided`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"kuai.{self.name}"

    def __reduce__(self) -> str:
        return self.name

    def __deepcopy__(self, memo: object) -> layout:
        return self


class memory_format:
    """The order of the dimensions in memory: `kuai.contiguous_format`, `kuai.channels_last`, ..."""

    __slots__ = ("name",)
    __init__ = layout.__init__
    __repr__ = layout.__repr__
    __reduce__ = layout.__reduce__

    def __deepcopy__(self, memo: object) -> memory_format:
        return self


strided = layout("strided")
contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
