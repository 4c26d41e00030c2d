"""Products of matrices, as code: a file for each strategy, and one that chooses."""

from kuai.compiler.emit.products.choose import (
    blocks,
    emit_product,
    variants,
    workspace_bytes,
)
from kuai.compiler.emit.products.product import Part, Product, Store

__all__ = [
    "Part",
    "Product",
    "Store",
    "blocks",
    "emit_product",
    "variants",
    "workspace_bytes",
]
