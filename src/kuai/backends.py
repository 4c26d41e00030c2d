"""PyTorch's switches for its backends: they can be set, and change nothing."""

from __future__ import annotations


class _Backend:
    deterministic = True
    benchmark = False
    enabled = False
    allow_tf32 = False

    def is_available(self) -> bool:
        """False."""
        return False

    def is_built(self) -> bool:
        """False."""
        return False


cuda, cudnn, mps, mkl, mkldnn, openmp = (_Backend() for _ in range(6))
