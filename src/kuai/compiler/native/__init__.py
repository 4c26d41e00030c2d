"""LLVM text → machine code that Python enters: assembled, cached on disk, linked, called."""
