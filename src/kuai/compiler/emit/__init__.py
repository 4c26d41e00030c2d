"""From kernels to LLVM's language."""
