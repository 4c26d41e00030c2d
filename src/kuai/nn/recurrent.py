"""Recurrent layers: cells, and networks that repeat them over a sequence."""

from __future__ import annotations

import math
import warnings
from typing import Any, ClassVar

from kuai import dtypes, ops
from kuai.nn import init
from kuai.nn.functional import recurrent as F
from kuai.nn.module import Module
from kuai.nn.packed import PackedSequence, batch_sizes_of
from kuai.nn.parameter import Parameter
from kuai.tensor import Tensor

# -- cells -------------------------------------------------------------------------------------


class RNNCellBase(Module):
    """Weights and biases of a cell with so many gates."""

    gates: ClassVar[int]

    input_size: int
    hidden_size: int
    bias: bool
    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = self.gates * hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, hidden_size),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }
        for name, shape in shapes.items():
            wanted = bias or not name.startswith("bias")
            values = ops.empty(shape, device=device, dtype=dtype) if wanted else None
            self.register_parameter(name, None if values is None else Parameter(values))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw initial values anew: uniform up to `1 / √hidden_size`, both signs."""
        _draw(self)

    def _prepared(self, input: Tensor, hx: Any) -> tuple[Tensor, list[Tensor], bool]:
        """Input and states with a batch dimension, and whether they had it."""
        name = type(self).__name__
        if input.ndim not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        states = hx if isinstance(hx, (tuple, list)) else [] if hx is None else [hx]
        for i, h in enumerate(states):
            if h.ndim not in (1, 2):
                what = f"hx[{i}]" if isinstance(hx, (tuple, list)) else "hidden"
                raise ValueError(f"{name}: Expected {what} to be 1D or 2D, got {h.ndim}D instead")
        batched = input.ndim == 2
        if not batched:
            input, states = input.unsqueeze(0), [h.unsqueeze(0) for h in states]
        if hx is None:
            zeros = ops.zeros(input.shape[0], self.hidden_size, dtype=input.dtype)
            states = [zeros, zeros]
        return input, list(states), batched

    def _weights(self) -> tuple[Any, ...]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def extra_repr(self) -> str:
        """The sizes and options that are not the default."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text


def _draw(block: Any) -> None:
    bound = 1.0 / math.sqrt(block.hidden_size) if block.hidden_size > 0 else 0.0
    for parameter in block.parameters():
        init.uniform_(parameter, -bound, bound)


class RNNCell(RNNCellBase):
    """`h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`.

    Args:
        input_size: size of x.
        hidden_size: size of h.
        bias: whether there are `b_ih` and `b_hh`.
        nonlinearity: `"tanh"` or `"relu"`.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        input `(N, input_size)` or `(input_size,)`, state and output `(N, hidden_size)` or
        `(hidden_size,)`.
    """

    gates = 1
    nonlinearity: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state; from zeros without `hx`."""
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        x, states, batched = self._prepared(input, hx)
        cell = F.rnn_tanh_cell if self.nonlinearity == "tanh" else F.rnn_relu_cell
        h = cell(x, states[0], *self._weights())
        return h if batched else h.squeeze(0)


class LSTMCell(RNNCellBase):
    """`c' = σ(f) c + σ(i) tanh(g)`, `h' = σ(o) tanh(c')`.

    The gates i, f, g and o are the four parts of `W_ih x + b_ih + W_hh h + b_hh`.

    Args:
        input_size: size of x.
        hidden_size: size of h and c.
        bias: whether there are `b_ih` and `b_hh`.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        input `(N, input_size)` or `(input_size,)`, states `(N, hidden_size)` or `(hidden_size,)`.

    Source: Hochreiter and Schmidhuber (1997), Long Short-Term Memory.
    """

    gates = 4

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The next h and c; from zeros without `hx`."""
        x, states, batched = self._prepared(input, hx)
        h, c = F.lstm_cell(x, states, *self._weights())
        return (h, c) if batched else (h.squeeze(0), c.squeeze(0))


class GRUCell(RNNCellBase):
    """`h' = (1 - z) n + z h`, with `n = tanh(W_in x + b_in + r (W_hn h + b_hn))`.

    The gates r and z are sigmoids of the first two parts of `W_ih x + b_ih + W_hh h + b_hh`.

    Args:
        input_size: size of x.
        hidden_size: size of h.
        bias: whether there are `b_ih` and `b_hh`.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        input `(N, input_size)` or `(input_size,)`, state and output `(N, hidden_size)` or
        `(hidden_size,)`.

    Source: Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation.
    """

    gates = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state; from zeros without `hx`."""
        x, states, batched = self._prepared(input, hx)
        h = F.gru_cell(x, states[0], *self._weights())
        return h if batched else h.squeeze(0)


# -- networks ----------------------------------------------------------------------------------


class RNNBase(Module):
    """Layers of cells, each with weights of its own in each direction.

    Args:
        mode: the cell: `"RNN_TANH"`, `"RNN_RELU"`, `"LSTM"` or `"GRU"`.
        input_size: size of the input at each position.
        hidden_size: size of the state.
        num_layers: how many layers stand on each other.
        bias: whether the cells have biases.
        batch_first: whether the batch dimension comes first.
        dropout: the probability with which values between two layers are dropped in training.
        bidirectional: whether each layer also goes over the sequence from its end.
        proj_size: of an LSTM: what the state h is projected to; 0 for no projection.
        device: of the parameters.
        dtype: of the parameters.
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_options()
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            for suffix in ("", "_reverse") if bidirectional else ("",):
                shapes = self._shapes(layer)
                for name, shape in shapes.items():
                    values = ops.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(f"{name}_l{layer}{suffix}", Parameter(values))
                self._all_weights.append([f"{name}_l{layer}{suffix}" for name in shapes])
        self.reset_parameters()

    def _check_options(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an "
                "element being zeroed"
            )
        if self.dropout > 0 and self.num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero "
                f"dropout expects num_layers greater than 1, but got dropout={self.dropout} and "
                f"num_layers={self.num_layers}",
                stacklevel=4,
            )
        for name in ("bias", "batch_first"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
        for name in ("input_size", "hidden_size", "num_layers"):
            value = getattr(self, name)
            if not isinstance(value, int):
                raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
            if value <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if self.proj_size < 0:
            raise ValueError(
                "proj_size should be a positive integer or zero to disable projections"
            )
        if self.proj_size >= self.hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if self.mode not in _GATES:
            raise ValueError(f"Unrecognized RNN mode: {self.mode}")

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The parameters of one layer in one direction, in their order."""
        rows = _GATES[self.mode] * self.hidden_size
        width = self.proj_size or self.hidden_size
        directions = 2 if self.bidirectional else 1
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, self.input_size if layer == 0 else width * directions),
            "weight_hh": (rows, width),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        return shapes

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Nothing: the parameters lie as they are needed."""

    def reset_parameters(self) -> None:
        """Draw initial values anew: uniform up to `1 / √hidden_size`, both signs."""
        _draw(self)

    def _run(self, function: Any, input: Any, hx: Any) -> tuple[Any, list[Tensor]]:
        """The output and the last states of `function` from the states `hx`, zeros by default."""
        if isinstance(input, PackedSequence):
            return self._run_packed(function, input, hx)
        name = self.mode.partition("_")[0]
        if input.ndim not in (2, 3):
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.ndim}D instead")
        batched = input.ndim == 3
        batch_dim = 0 if self.batch_first else 1
        states = list(hx) if isinstance(hx, (tuple, list)) else [] if hx is None else [hx]
        for h in states:
            if h.ndim != input.ndim:
                kind = "batched" if batched else "unbatched"
                raise RuntimeError(
                    f"For {kind} {input.ndim}-D input, hx should also be {input.ndim}-D but got "
                    f"{h.ndim}-D tensor"
                )
        if not batched:
            input, states = input.unsqueeze(batch_dim), [h.unsqueeze(1) for h in states]
        self._check_input(input)
        states = self._checked_states(states, input.shape[batch_dim], input.dtype)
        output, *last = self._called(function, input, states)
        if not batched:
            output, last = output.squeeze(batch_dim), [h.squeeze(1) for h in last]
        return output, last

    def _run_packed(
        self, function: Any, input: PackedSequence, hx: Any
    ) -> tuple[PackedSequence, list[Tensor]]:
        sizes = batch_sizes_of(input)
        self._check_input(input.data)
        states = list(hx) if isinstance(hx, (tuple, list)) else [] if hx is None else [hx]
        if input.sorted_indices is not None:
            states = [ops.index_select(h, 1, input.sorted_indices) for h in states]
        states = self._checked_states(states, sizes[0], input.data.dtype)
        output, *last = self._called(function, input.data, states, sizes)
        if input.unsorted_indices is not None:
            last = [ops.index_select(h, 1, input.unsorted_indices) for h in last]
        return input.with_data(output), last

    def _called(
        self, function: Any, input: Tensor, states: list[Tensor], sizes: list[int] | None = None
    ) -> Any:
        return function(
            input,
            states if self.mode == "LSTM" else states[0],
            [w for layer in self.all_weights for w in layer],
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
            self.batch_first,
            sizes,
        )

    def _check_input(self, input: Tensor) -> None:
        weight = self.weight_ih_l0
        if input.dtype is not weight.dtype:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: "
                f"model.to({input.dtype})"
            )
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {input.shape[-1]}"
            )

    def _checked_states(
        self, states: list[Tensor], batch: int, dtype: dtypes.dtype
    ) -> list[Tensor]:
        cells = self.num_layers * (2 if self.bidirectional else 1)
        widths = [self.proj_size or self.hidden_size]
        if self.mode == "LSTM":
            widths.append(self.hidden_size)
        if not states:
            return [ops.zeros(cells, batch, width, dtype=dtype) for width in widths]
        if len(states) != len(widths):
            raise RuntimeError(
                f"{self.mode} expects {len(widths)} hidden states, got {len(states)}"
            )
        for i, (h, width) in enumerate(zip(states, widths, strict=True)):
            if tuple(h.shape) != (cells, batch, width):
                what = f"hidden[{i}]" if self.mode == "LSTM" else "hidden"
                raise RuntimeError(
                    f"Expected {what} size {(cells, batch, width)}, got {list(h.shape)}"
                )
        return states

    def extra_repr(self) -> str:
        """The sizes and options that are not the default."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0,
            "bidirectional": False,
        }
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text


_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


class RNN(RNNBase):
    """`RNNCell` over a sequence: `h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)`.

    Args:
        input_size: size of the input at each position.
        hidden_size: size of the state, H.
        num_layers: how many layers stand on each other.
        nonlinearity: `"tanh"` or `"relu"`.
        bias: whether there are biases.
        batch_first: whether the batch dimension comes first.
        dropout: the probability with which values between two layers are dropped in training.
        bidirectional: whether each layer also goes over the sequence from its end (D = 2).
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        input `(L, N, input_size)` (`(N, L, input_size)` with `batch_first`) or `(L, input_size)`,
        states `(D num_layers, N, H)` or `(D num_layers, H)`; output `(L, N, D H)` and the last
        states.

    Raises:
        ValueError: an option is out of its range, or the input has not 2 or 3 dimensions.
        RuntimeError: the sizes do not fit.
    """

    nonlinearity: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(
            f"RNN_{nonlinearity.upper()}",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The last layer's states, and the last states of all layers."""
        function = F.rnn_tanh if self.mode == "RNN_TANH" else F.rnn_relu
        output, (h,) = self._run(function, input, hx)
        return output, h


class LSTM(RNNBase):
    """`LSTMCell` over a sequence.

    Args:
        input_size: size of the input at each position.
        hidden_size: size of the state c, H.
        num_layers: how many layers stand on each other.
        bias: whether there are biases.
        batch_first: whether the batch dimension comes first.
        dropout: the probability with which values between two layers are dropped in training.
        bidirectional: whether each layer also goes over the sequence from its end (D = 2).
        proj_size: size of the state h, to which it is projected; 0 for H, without projection.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        input `(L, N, input_size)` (`(N, L, input_size)` with `batch_first`) or `(L, input_size)`,
        states h and c `(D num_layers, N, H)` or `(D num_layers, H)`; output `(L, N, D H)` and the
        last states.

    Raises:
        ValueError: an option is out of its range, or the input has not 2 or 3 dimensions.
        RuntimeError: the sizes do not fit.

    Examples:
        >>> layer = nn.LSTM(8, 32, batch_first=True)
        >>> output, (h, c) = layer(kuai.rand(4, 10, 8))
        >>> output.shape, h.shape
        (kuai.Size([4, 10, 32]), kuai.Size([1, 4, 32]))

    Source: Hochreiter and Schmidhuber (1997), Long Short-Term Memory; the projection: Sak et al.
    (2014), Long Short-Term Memory Based Recurrent Neural Network Architectures.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The last layer's states h, and the last h and c of all layers."""
        output, (h, c) = self._run(F.lstm, input, hx)
        return output, (h, c)


class GRU(RNNBase):
    """`GRUCell` over a sequence.

    Args:
        input_size: size of the input at each position.
        hidden_size: size of the state, H.
        num_layers: how many layers stand on each other.
        bias: whether there are biases.
        batch_first: whether the batch dimension comes first.
        dropout: the probability with which values between two layers are dropped in training.
        bidirectional: whether each layer also goes over the sequence from its end (D = 2).
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        input `(L, N, input_size)` (`(N, L, input_size)` with `batch_first`) or `(L, input_size)`,
        states `(D num_layers, N, H)` or `(D num_layers, H)`; output `(L, N, D H)` and the last
        states.

    Raises:
        ValueError: an option is out of its range, or the input has not 2 or 3 dimensions.
        RuntimeError: the sizes do not fit.

    Source: Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: dtypes.dtype | None = None,
    ) -> None:
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The last layer's states, and the last states of all layers."""
        output, (h,) = self._run(F.gru, input, hx)
        return output, h


__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]
