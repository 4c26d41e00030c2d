"""Products of matrices, as code: a file for each strategy, and one that chooses."""

from kuai.compiler.emit.products.choose import (
    Panels,
    blocks,
    emit_product,
    panels,
    variants,
    workspace_bytes,
)
from kuai.compiler.emit.products.packed import Shared
from kuai.compiler.emit.products.product import Part, Product, Store

__all__ = [
    "Panels",
    "Part",
    "Product",
    "Shared",
    "Store",
    "blocks",
    "emit_product",
    "panels",
    "variants",
    "workspace_bytes",
]
