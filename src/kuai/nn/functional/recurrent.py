"""Recurrent cells, and the networks that repeat them over a sequence.

A cell is one formula, from an input and a state to the next state. A network goes over the
sequence, layer by layer, and in both directions where that is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kuai import ops
from kuai.core.fused import compute
from kuai.errors import ShapeError
from kuai.nn.functional.dropout import dropout as drop
from kuai.nn.functional.fused_cells import fused_gru, fused_lstm

if TYPE_CHECKING:
    from kuai.tensor import Tensor

State = tuple[Any, ...]  # (h,), or of an LSTM (h, c)
Weights = tuple[Any, ...]  # of the state: weight_hh, bias_hh, weight_hr
Step = Callable[[Any, State, Weights], State]

# -- the formulas: from the input's part of the gates and the state to the next state -------------


def _rnn_tanh(gates: Tensor, state: State, weights: Weights) -> State:
    (h,), (weight, bias, _) = state, weights
    return (ops.tanh(gates + ops.linear(h, weight, bias)),)


def _rnn_relu(gates: Tensor, state: State, weights: Weights) -> State:
    (h,), (weight, bias, _) = state, weights
    return (ops.relu(gates + ops.linear(h, weight, bias)),)


def _lstm(gates: Tensor, state: State, weights: Weights) -> State:
    (h, c), (weight, bias, projection) = state, weights
    both = compute(fused_lstm, gates + ops.linear(h, weight, bias), c)
    h, c = ops.chunk(both, 2, -1)
    return (h if projection is None else ops.linear(h, projection)), c


def _gru(gates: Tensor, state: State, weights: Weights) -> State:
    (h,), (weight, bias, _) = state, weights
    return (compute(fused_gru, gates, ops.linear(h, weight, bias), h),)


# -- cells -------------------------------------------------------------------------------------


def rnn_tanh_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """`h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`.

    Args:
        input: x, `(N, input_size)`.
        hx: h, `(N, hidden_size)`.
        w_ih: `(hidden_size, input_size)`.
        w_hh: `(hidden_size, hidden_size)`.
        b_ih: `(hidden_size,)`.
        b_hh: `(hidden_size,)`.

    Raises:
        ShapeError: the sizes do not fit.
    """
    return _cell(_rnn_tanh, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def rnn_relu_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """`h' = relu(W_ih x + b_ih + W_hh h + b_hh)`; arguments as of `rnn_tanh_cell`."""
    return _cell(_rnn_relu, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def lstm_cell(
    input: Tensor,
    hx: Sequence[Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`c' = σ(f) c + σ(i) tanh(g)`, `h' = σ(o) tanh(c')`.

    The gates i, f, g and o are the four parts of `W_ih x + b_ih + W_hh h + b_hh`.

    Args:
        input: x, `(N, input_size)`.
        hx: h and c, `(N, hidden_size)` each.
        w_ih: `(4 hidden_size, input_size)`.
        w_hh: `(4 hidden_size, hidden_size)`.
        b_ih: `(4 hidden_size,)`.
        b_hh: `(4 hidden_size,)`.

    Returns:
        h' and c'.

    Raises:
        ShapeError: the sizes do not fit.

    Source: Hochreiter and Schmidhuber (1997), Long Short-Term Memory; with the forget gate of Gers
    et al. (1999), Learning to Forget.
    """
    if len(hx) != 2:
        raise RuntimeError("lstm_cell expects two hidden states")
    h, c = _cell(_lstm, input, tuple(hx), w_ih, w_hh, b_ih, b_hh)
    return h, c


def gru_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """`h' = (1 - z) n + z h`, where r and z are sigmoids of `W_ih x + b_ih + W_hh h + b_hh`.

    The third part of both products gives the new state `n = tanh(W_in x + b_in + r (W_hn h +
    b_hn))`.

    Args:
        input: x, `(N, input_size)`.
        hx: h, `(N, hidden_size)`.
        w_ih: of r, z and n, `(3 hidden_size, input_size)`.
        w_hh: `(3 hidden_size, hidden_size)`.
        b_ih: `(3 hidden_size,)`.
        b_hh: `(3 hidden_size,)`.

    Raises:
        ShapeError: the sizes do not fit.

    Source: Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation.
    """
    return _cell(_gru, input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def _cell(
    step: Step,
    input: Tensor,
    state: State,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
) -> State:
    if input.shape[-1] != w_ih.shape[1]:
        raise ShapeError(
            f"input has inconsistent input_size: got {input.shape[-1]} expected {w_ih.shape[1]}"
        )
    for i, h in enumerate(state):
        if h.ndim == 2 and input.ndim == 2 and h.shape[0] != input.shape[0]:
            raise ShapeError(
                f"Input batch size {input.shape[0]} doesn't match hidden{i} batch size {h.shape[0]}"
            )
        if h.shape[-1] != w_hh.shape[1]:
            raise ShapeError(
                f"hidden{i} has inconsistent hidden_size: got {h.shape[-1]}, expected "
                f"{w_hh.shape[1]}"
            )
    return step(ops.linear(input, w_ih, b_ih), state, (w_hh, b_hh, None))


# -- networks ----------------------------------------------------------------------------------


def rnn_tanh(
    input: Tensor,
    hx: Tensor,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    batch_sizes: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """`rnn_tanh_cell` over a sequence.

    Args:
        input: `(L, N, input_size)`, or with `batch_first` `(N, L, input_size)`.
        hx: the first states, `(layers · directions, N, hidden_size)`.
        params: for each layer, and in it for each direction, `w_ih`, `w_hh` and, with
            `has_biases`, `b_ih` and `b_hh`.
        has_biases: whether there are biases.
        num_layers: how many layers stand on each other.
        dropout: the probability with which the values between two layers are dropped.
        train: whether they are.
        bidirectional: whether each layer also goes over the sequence from its end.
        batch_first: whether the batch dimension comes first.
        batch_sizes: of a packed input, `(rows, input_size)`: how many rows each position has.

    Returns:
        the states of the last layer at each position, `(L, N, directions · hidden_size)`, and the
        last states of all layers, in the form of `hx`.
    """
    form = (has_biases, num_layers, dropout, train, bidirectional, batch_first, batch_sizes)
    output, (h,) = _network(_rnn_tanh, input, (hx,), params, *form)
    return output, h


def rnn_relu(
    input: Tensor,
    hx: Tensor,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    batch_sizes: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """`rnn_relu_cell` over a sequence; arguments as of `rnn_tanh`."""
    form = (has_biases, num_layers, dropout, train, bidirectional, batch_first, batch_sizes)
    output, (h,) = _network(_rnn_relu, input, (hx,), params, *form)
    return output, h


def gru(
    input: Tensor,
    hx: Tensor,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    batch_sizes: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """`gru_cell` over a sequence; arguments as of `rnn_tanh`."""
    form = (has_biases, num_layers, dropout, train, bidirectional, batch_first, batch_sizes)
    output, (h,) = _network(_gru, input, (hx,), params, *form)
    return output, h


def lstm(
    input: Tensor,
    hx: Sequence[Tensor],
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    batch_sizes: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`lstm_cell` over a sequence; arguments as of `rnn_tanh`, but for the two states in `hx`.

    Where `params` have a projection `w_hr`, `(proj_size, hidden_size)`, after the others, h is the
    projected one, of `proj_size`.

    Returns:
        the states h of the last layer at each position, and the last h and c of all layers.
    """
    if len(hx) != 2:
        raise RuntimeError("lstm expects two hidden states")
    form = (has_biases, num_layers, dropout, train, bidirectional, batch_first, batch_sizes)
    output, (h, c) = _network(_lstm, input, tuple(hx), params, *form)
    return output, h, c


def _network(
    step: Step,
    input: Tensor,
    state: State,
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    batch_sizes: Sequence[int] | None,
) -> tuple[Tensor, State]:
    directions = 2 if bidirectional else 1
    each = len(params) // (num_layers * directions)
    turned = batch_first and batch_sizes is None
    x = ops.transpose(input, 0, 1) if turned else input
    last: list[State] = []
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            n = layer * directions + direction
            weights = _unpacked(params[n * each : (n + 1) * each], has_biases)
            first = tuple([s[n] for s in state])
            reverse = direction == 1
            if batch_sizes is None:
                output, final = _over_time(step, x, first, *weights, reverse)
            else:
                output, final = _over_packed(step, x, batch_sizes, first, *weights, reverse)
            outputs.append(output)
            last.append(final)
        x = outputs[0] if directions == 1 else ops.cat(outputs, -1)
        if dropout and train and layer < num_layers - 1:
            x = drop(x, dropout)
    finals = tuple([ops.stack(list(s)) for s in zip(*last, strict=True)])
    return (ops.transpose(x, 0, 1) if turned else x), finals


def _unpacked(params: Sequence[Any], has_biases: bool) -> tuple[Any, Any, Weights]:
    """`w_ih` and `b_ih`, and the weights of the state."""
    w_ih, w_hh, *rest = params
    b_ih, b_hh = (rest.pop(0), rest.pop(0)) if has_biases else (None, None)
    return w_ih, b_ih, (w_hh, b_hh, rest[0] if rest else None)


def _over_time(
    step: Step,
    x: Tensor,
    state: State,
    w_ih: Tensor,
    b_ih: Tensor | None,
    weights: Weights,
    reverse: bool,
) -> tuple[Tensor, State]:
    """The states at each position of one layer in one direction, and the last one."""
    gates = ops.linear(x, w_ih, b_ih)  # of all positions, in one product
    if reverse:
        gates = ops.flip(gates, (0,))
    outputs = []
    for position in gates:
        state = step(position, state, weights)
        outputs.append(state[0])
    output = ops.stack(outputs)
    return (ops.flip(output, (0,)) if reverse else output), state


def _over_packed(
    step: Step,
    x: Tensor,
    batch_sizes: Sequence[int],
    state: State,
    w_ih: Tensor,
    b_ih: Tensor | None,
    weights: Weights,
    reverse: bool,
) -> tuple[Tensor, State]:
    """As `_over_time`, where the batch has fewer sequences at each later position.

    The sequences stand in the order of their lengths: those that have ended are the last rows.
    """
    rows = list(ops.split(ops.linear(x, w_ih, b_ih), list(batch_sizes)))
    first, ended, outputs = state, [], []
    have = batch_sizes[-1] if reverse else batch_sizes[0]
    state = tuple([s[:have] for s in first])
    for gates in reversed(rows) if reverse else rows:
        wanted = gates.shape[0]
        if wanted < have:
            ended.append([s[wanted:] for s in state])
            state = tuple([s[:wanted] for s in state])
        elif wanted > have:
            begin = [s[have:wanted] for s in first]
            state = tuple([ops.cat([s, b]) for s, b in zip(state, begin, strict=True)])
        have = wanted
        state = step(gates, state, weights)
        outputs.append(state[0])
    if ended:
        parts = zip(state, *reversed(ended), strict=True)
        state = tuple([ops.cat(list(part)) for part in parts])
    return ops.cat(outputs[::-1] if reverse else outputs), state


__all__ = [
    "gru",
    "gru_cell",
    "lstm",
    "lstm_cell",
    "rnn_relu",
    "rnn_relu_cell",
    "rnn_tanh",
    "rnn_tanh_cell",
]
