"""Convolutions whose kernel has one element: products of matrices, one for each image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from kuai.compiler.emit.builder import Function, Ref, number
from kuai.compiler.emit.products.choose import blocks, emit_product, workspace_bytes
from kuai.compiler.emit.products.convolve import StoreImage
from kuai.compiler.emit.products.geometry import Convolution, Strides
from kuai.compiler.emit.products.product import Part, Product, index
from kuai.compiler.native.target import Target


def is_pointwise(c: Convolution, source: Strides) -> bool:
    """Whether each position of the output is that of the input, and planes lie in order."""
    plain = c.kernel == (1, 1) and c.stride == (1, 1) and c.padding == (0, 0)
    return plain and (c.sizes[0] == 1 or source[2] == source[3] * c.sizes[1])


@dataclass(frozen=True)
class Pointwise:
    """A matrix of weights times the planes of each image.

    Attributes:
        source, weight: the strides of the operands; `weight` those of a matrix with a row for each
            channel of the result.
        inner, outer: channels in a group of the source and of the result.
        first: the stride of the weight from group to group.
    """

    convolution: Convolution
    target: Target
    source: Strides
    weight: tuple[int, int]
    inner: int
    outer: int
    first: int

    @cached_property
    def product(self) -> Product:
        """The product for one image and group."""
        c = self.convolution
        size = c.sizes[0] * c.sizes[1]
        b = (self.source[1], self.source[3])
        return Product(self.outer, size, self.inner, self.weight, b, c.dtype)

    @property
    def workspace(self) -> int:
        """Bytes of scratch memory."""
        return workspace_bytes(self.product, self.target)

    @property
    def blocks(self) -> int:
        """Into how many blocks the work can be divided: images, or blocks of one product."""
        batch = self.convolution.batch
        return batch if batch > 1 else blocks(self.product, self.target)

    def emit(
        self,
        f: Function,
        source: Ref,
        weight: Ref,
        store: StoreImage,
        workspace: Ref,
        part: Part | None = None,
    ) -> None:
        """Build a loop over groups and images."""
        c, memory = self.convolution, self.product.numbers.memory
        several = c.batch > 1
        with f.loop(0, c.groups) as group:
            a = f.at(weight, index(f, group, self.first), memory)
            with f.loop(*(part if part and several else (number(0), number(c.batch)))) as image:
                b = f.at(source, index(f, image, self.source[0]), memory)
                b = f.at(b, index(f, group, self.inner * self.source[1]), memory)

                def put(
                    f: Function,
                    row: Ref,
                    column: Ref,
                    value: Ref,
                    lanes: int,
                    mask: Ref | None,
                    image: Ref = image,
                    group: Ref = group,
                ) -> None:
                    channel = f.add(index(f, group, self.outer), row)
                    store(f, image, channel, column, value, lanes, mask)

                own = None if several else part
                emit_product(f, self.product, a, b, put, self.target, workspace, own)
