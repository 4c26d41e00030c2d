"""The functions that give views, as ones that give copies: `transpose_copy` and its kin."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kuai.ops import diagonals, joining, movement, windows
from kuai.ops.out import takes_out

if TYPE_CHECKING:
    from kuai.tensor import Tensor


def _copying(view: Callable[..., Any]) -> Callable[..., Any]:
    """A function that gives copies of what `view` gives."""

    @functools.wraps(view)
    def copy(*args: Any, **kwargs: Any) -> Any:
        result = view(*args, **kwargs)
        if isinstance(result, tuple):
            return tuple([movement.clone(part) for part in result])
        return movement.clone(result)

    copy.__name__ = copy.__qualname__ = f"{view.__name__}_copy"
    copy.__doc__ = f"A copy of what `{view.__name__}` shows."
    return takes_out(copy)


@takes_out
def alias_copy(input: Tensor) -> Tensor:
    """A copy."""
    return movement.clone(input)


as_strided_copy = _copying(windows.as_strided)
diagonal_copy = _copying(diagonals.diagonal)
expand_copy = _copying(movement.expand)
permute_copy = _copying(movement.permute)
split_with_sizes_copy = _copying(joining.split_with_sizes)
squeeze_copy = _copying(movement.squeeze)
t_copy = _copying(movement.t)
transpose_copy = _copying(movement.transpose)
unbind_copy = _copying(joining.unbind)
unfold_copy = _copying(windows.unfold)
unsqueeze_copy = _copying(movement.unsqueeze)
view_copy = _copying(movement.view)

__all__ = [
    "alias_copy",
    "as_strided_copy",
    "diagonal_copy",
    "expand_copy",
    "permute_copy",
    "split_with_sizes_copy",
    "squeeze_copy",
    "t_copy",
    "transpose_copy",
    "unbind_copy",
    "unfold_copy",
    "unsqueeze_copy",
    "view_copy",
]
