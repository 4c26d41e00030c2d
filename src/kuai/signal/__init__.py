"""Signal processing, as in `torch.signal`."""

from kuai.signal import windows

__all__ = ["windows"]
