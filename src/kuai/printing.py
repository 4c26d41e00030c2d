"""How tensors are printed: PyTorch's format, with its rules for precision and abridging."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes

if TYPE_CHECKING:
    from kuai.tensor import Tensor

_DEFAULTS: dict[str, Any] = {
    "precision": 4,
    "threshold": 1000.0,
    "edgeitems": 3,
    "linewidth": 80,
    "sci_mode": None,
}
_PROFILES = {
    "default": _DEFAULTS,
    "short": {**_DEFAULTS, "precision": 2, "edgeitems": 2},
    "full": {**_DEFAULTS, "threshold": math.inf},
}
options: dict[str, Any] = dict(_DEFAULTS)


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How tensors are printed from now on.

    Args:
        precision: digits after the point.
        threshold: how many elements are printed before the middle is left out.
        edgeitems: how many are printed at each end then.
        linewidth: characters a line.
        profile: `"default"`, `"short"` or `"full"`.
        sci_mode: scientific notation always, never, or as needed.
    """
    if profile is not None:
        options.update(_PROFILES[profile])
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    options.update({k: v for k, v in given.items() if v is not None})
    options["sci_mode"] = sci_mode


class Format:
    """The one format that all the elements of a tensor are printed in."""

    def __init__(self, values: np.ndarray) -> None:
        self.floating = values.dtype.kind == "f"
        self.integral = True
        self.scientific = False
        self.width = 1
        if not self.floating:
            self.width = max((len(str(v)) for v in values.tolist()), default=1)
            return
        # As in PyTorch, zeros, infinities and NaN have no say in the width: they may stand out.
        counted = values[np.isfinite(values) & (values != 0)].astype(np.float64)
        if counted.size == 0:
            return
        sizes = np.abs(counted)
        least, most = float(sizes.min()), float(sizes.max())
        self.integral = bool((counted == np.ceil(counted)).all())
        self.scientific = most / least > 1000.0 or most > 1.0e8
        if not self.integral:
            self.scientific = self.scientific or least < 1.0e-4
        if options["sci_mode"] is not None:
            self.scientific = options["sci_mode"]
        self.width = max(len(self(v)) for v in np.unique(counted).tolist())

    def __call__(self, value: Any) -> str:
        if not self.floating:
            text = str(value)
        elif self.scientific:
            text = f"{value:.{options['precision']}e}"
        elif self.integral:
            text = f"{value:.0f}"
            if math.isfinite(value):
                text += "."
        else:
            text = f"{value:.{options['precision']}f}"
        return text.rjust(self.width)


def _vector(row: np.ndarray, indent: int, form: Format, summarize: bool) -> str:
    per_line = max(1, math.floor((options["linewidth"] - indent) / (form.width + 2)))
    edge = options["edgeitems"]
    values = row.tolist()
    if summarize and not edge:
        texts = ["..."]
    elif summarize and len(values) > 2 * edge:
        texts = [form(v) for v in values[:edge]] + [" ..."] + [form(v) for v in values[-edge:]]
    else:
        texts = [form(v) for v in values]
    lines = [texts[i : i + per_line] for i in range(0, len(texts), per_line)]
    joined = [", ".join(line) for line in lines]
    return "[" + ("," + "\n" + " " * (indent + 1)).join(joined) + "]"


def _nested(x: np.ndarray, indent: int, form: Format, summarize: bool) -> str:
    if x.ndim == 0:
        return form(x.item())
    if x.ndim == 1:
        return _vector(x, indent, form, summarize)
    edge = options["edgeitems"]
    if summarize and len(x) > 2 * edge:
        parts = [_nested(part, indent + 1, form, summarize) for part in x[:edge]]
        parts.append("...")
        parts += [_nested(x[i], indent + 1, form, summarize) for i in range(len(x) - edge, len(x))]
    else:
        parts = [_nested(part, indent + 1, form, summarize) for part in x]
    return "[" + ("," + "\n" * (x.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _summary(x: np.ndarray) -> np.ndarray:
    """What of the array is printed: its edges."""
    edge = options["edgeitems"]
    for dim in range(x.ndim):
        if x.shape[dim] > 2 * edge:
            ends = [np.take(x, range(edge), dim), np.take(x, range(-edge, 0), dim)]
            x = np.concatenate(ends, dim)
    return x


def format_tensor(x: Tensor, *, name: str = "tensor") -> str:
    """The text of a tensor: values, and what of type, shape and history is not evident."""
    payload: Any = x._payload
    prefix = name + "("
    indent = len(prefix)
    suffixes = []
    if not isinstance(payload, np.ndarray):
        return f"captured({payload!r})"
    dtype = x.dtype
    usual = dtype in (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool_)
    if payload.size == 0:
        if payload.ndim != 1:
            suffixes.append(f"size={tuple(payload.shape)}")
        if dtype is not dtypes.get_default_dtype():
            suffixes.append(f"dtype={dtype!r}")
        text = "[]"
    else:
        if not usual:
            suffixes.append(f"dtype={dtype!r}")
        values = payload.astype(np.float32) if payload.dtype.kind == "V" else payload
        summarize = payload.size > options["threshold"]
        form = Format((_summary(values) if summarize else values).reshape(-1))
        text = _nested(values, indent, form, summarize)
    function = x.grad_fn
    if function is not None:
        name = function.name()
        suffixes.append(f"grad_fn=<{name}>")
    elif x.requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + text, suffixes, indent)


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    length = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if length + len(suffix) + 2 > options["linewidth"]:
            text += ",\n" + " " * indent + suffix
            length = indent + len(suffix)
        else:
            text += ", " + suffix
            length += len(suffix) + 2
    return text + ")"
