"""Transforms of functions, as in `torch.func`: derivatives of any order, and batches."""

from __future__ import annotations

from kuai.func.batching import vmap
from kuai.func.blocks import (
    functional_call,
    replace_all_batch_norm_modules_,
    stack_module_state,
)
from kuai.func.gradients import grad, grad_and_value, value_and_grad, vjp
from kuai.func.jacobians import hessian, jacfwd, jacrev, jvp, linearize

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "replace_all_batch_norm_modules_",
    "stack_module_state",
    "value_and_grad",
    "vjp",
    "vmap",
]
