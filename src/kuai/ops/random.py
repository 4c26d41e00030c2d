"""Random numbers: the counter-based generator Philox 4x32-10, and what is drawn from it.

Each draw takes a block of the counter, so that the numbers depend on the seed and on how many
were drawn before, and not on who computes them. The generator: J. K. Salmon et al., "Parallel
random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core import base
from kuai.core import primitive as primitives
from kuai.core.base import TensorBase, wrap
from kuai.core.inplace import assign, check_writable
from kuai.core.primitive import Meta, Primitive, checked_when_run, primitive
from kuai.errors import DataDependentError
from kuai.ops import movement
from kuai.ops.elementwise import clamp_below, exp, lt, quotient, sqrt
from kuai.ops.joining import stack
from kuai.ops.movement import as_shape
from kuai.ops.out import takes_out
from kuai.ops.pointwise import broadcast_shapes, to_dtype
from kuai.ops.rounding import ceil
from kuai.ops.transcendental import cos, log1p, sin, tan

if TYPE_CHECKING:
    from kuai.tensor import Tensor

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def philox(seed: int, offset: int, count: int) -> np.ndarray:
    """`count` random 32-bit words, four from each value of the counter from `offset` on."""
    blocks = -(-count // 4)
    counter = np.arange(blocks, dtype=np.uint64) + np.uint64(offset & 0xFFFFFFFFFFFFFFFF)
    c0, c1 = counter & _LOW, counter >> _32
    c2, c3 = np.zeros_like(c0), np.zeros_like(c0)
    k0, k1 = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (
            (p1 >> _32) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _32) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], -1).astype(np.uint32).reshape(-1)[:count]


_AHEAD = 1024  # blocks that are computed at once, where few are asked for: the cost is the same
_ahead: dict[int, tuple[int, np.ndarray]] = {}  # for a seed: from which block on, and the words


def words_at(seed: int, offset: int, count: int) -> np.ndarray:
    """What `philox` gives, with words kept for the next draws where this one is small."""
    if count > 2 * _AHEAD:
        return philox(seed, offset, count)
    start, words = _ahead.get(seed, (0, _NONE))
    first = 4 * (offset - start)
    if not 0 <= first <= len(words) - count:
        if len(_ahead) > 8:
            _ahead.clear()
        words = philox(seed, offset, 4 * _AHEAD)
        _ahead[seed] = (offset, words)
        first = 0
    return words[first : first + count]


_NONE = np.empty(0, np.uint32)


@primitive
class random_bits(Primitive):
    """`count` random 32-bit words (as int64) for the state `[seed, offset]`."""

    inputs = ("state",)
    differentiable = False

    def kernel(self, state: np.ndarray, count: int) -> np.ndarray:
        seed, offset = state.tolist()
        return words_at(seed, offset, count).astype(np.int64)

    def pull(self, emit, at, state, count):
        return emit.random_word(state.at(0), state.at(1), at[0])

    def infer(self, state: Meta, count: int) -> Meta:
        return Meta((count,), dtypes.int64)


class Generator:
    """A stream of random numbers of its own.

    Args:
        device: must name the CPU, where given.
    """

    def __init__(self, device: Any = None) -> None:
        from kuai.device import CPU, check_device

        check_device(device)
        self.device = CPU
        if base.tensor_class is not TensorBase:
            self._state  # noqa: B018  # it exists before any capture that draws from it

    @functools.cached_property
    def _state(self) -> Any:
        """`[seed, offset]`: made on first use, for the common generator is older than `Tensor`."""
        return wrap(np.array([67280421310721, 0], np.int64))

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to `seed`."""
        seed = int(seed)
        if not -(1 << 63) <= seed < 1 << 64:
            raise RuntimeError(f"Overflow when unpacking long: the seed {seed} needs over 64 bits")
        state = (seed - (1 << 64) if seed >= 1 << 63 else seed, 0)
        if primitives.intercept is not None:
            self._state.copy_(wrap(np.array(state, np.int64)))
        else:
            self._state._payload[:] = state
        return self

    def seed(self) -> int:
        """Start a stream that cannot be foretold; returns its seed."""
        if primitives.intercept is not None:
            raise DataDependentError("seed() takes its seed from the system, once, while capturing")
        seed = int.from_bytes(os.urandom(7), "little")
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed of the stream."""
        if primitives.intercept is not None:
            return int(self._state[0]) & 0xFFFFFFFFFFFFFFFF
        return int(self._state._payload[0]) & 0xFFFFFFFFFFFFFFFF

    def get_state(self) -> Tensor:
        """The place in the stream, as a tensor of bytes."""
        if primitives.intercept is not None:
            place: Tensor = self._state.clone().view(dtypes.uint8)
            return place
        return wrap(self._state._payload.copy().view(np.uint8))

    def set_state(self, new_state: Tensor) -> Generator:
        """Go to a place in a stream that `get_state` told.

        Raises:
            TypeError, RuntimeError: not such a tensor.
        """
        if not isinstance(new_state, TensorBase) or new_state.dtype is not dtypes.uint8:
            raise TypeError(f"expected a state as a tensor of uint8, got {new_state!r:.80}")
        if new_state._payload.shape != (16,):
            raise RuntimeError(
                f"RNG state is wrong size: expected 16 bytes, got {list(new_state._payload.shape)}"
            )
        if primitives.intercept is not None:
            self._state.copy_(new_state.clone().view(dtypes.int64))
        else:
            self._state._payload[:] = np.ascontiguousarray(new_state._payload).view(np.int64)
        return self

    def clone_state(self) -> Generator:
        """Another generator at the same place."""
        return Generator().set_state(self.get_state())

    def words(self, count: int) -> Any:
        """The next `count` words of 32 bits: an array of uint32, not to be changed; while
        primitives are intercepted, a tensor of int64.
        """
        state = self._state
        blocks = -(-count // 4)
        if primitives.intercept is not None:
            words = random_bits(state, count=count)
            state[1].add_(blocks)  # an update of the state, which a capture notes as any other
            return words
        seed, offset = state._payload.tolist()
        state._payload[1] += blocks
        return words_at(seed, offset, count)

    def bits(self, count: int) -> np.ndarray:
        """The next `count` words of 32 bits, as an array.

        Raises:
            DataDependentError: while a graph is captured.
        """
        words = self.words(count)
        return np.asarray(words._payload if isinstance(words, TensorBase) else words, np.uint32)

    def __getstate__(self) -> Any:
        return self._state._payload.tolist()

    def __setstate__(self, state: Any) -> None:
        self.__init__()  # type: ignore[misc]
        self._state._payload[:] = state

    def __repr__(self) -> str:
        return f"<kuai.Generator seed={self.initial_seed()} offset={self._state._payload[1]}>"


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Start the common stream that belongs to `seed`."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Start a common stream that cannot be foretold; returns its seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the common stream."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The place in the common stream, as a tensor of bytes."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Go to a place in the common stream that `get_rng_state` told."""
    default_generator.set_state(new_state)


# -- the common forms ----------------------------------------------------------------------------
#
# Eagerly the numbers are NumPy arrays, quick to make. While primitives are intercepted (a capture),
# the same formulas work on tensors, so that the program draws anew each time that it runs.

Numbers = Any  # an array, or a tensor while primitives are intercepted


def as_tensor(x: Numbers) -> Any:
    """The numbers as a tensor."""
    return x if isinstance(x, TensorBase) else wrap(np.asarray(x))


def _as(x: Numbers, dtype: dtypes.dtype) -> Numbers:
    return to_dtype(x, dtype) if isinstance(x, TensorBase) else x.astype(dtype.numpy, copy=False)  # type: ignore[arg-type]


def _apply(function: Any, *operands: Numbers) -> Numbers:
    """An elementwise primitive of arrays or tensors."""
    if any(isinstance(x, TensorBase) for x in operands):
        return function(*operands)
    return function.kernel(*operands)


def some_words(generator: Generator | None = None) -> Tensor:
    """Four words, as a tensor of int64: what NumPy's own generators can start from."""
    return as_tensor(_as((generator or default_generator).words(4), dtypes.int64))


def _shaped(x: Numbers, shape: Sequence[int]) -> Numbers:
    return movement.reshape(x, shape) if isinstance(x, TensorBase) else x.reshape(shape)  # type: ignore[arg-type]


def _wide_words(count: int, generator: Generator | None) -> tuple[Numbers, Numbers]:
    """`count` pairs of words of 32 bits, as int64."""
    words = _as((generator or default_generator).words(2 * count), dtypes.int64)
    return words[0::2], words[1::2]


def uniform_numbers(
    shape: Sequence[int], dtype: dtypes.dtype, generator: Generator | None
) -> Numbers:
    """Uniform numbers from [0, 1): 24 random bits a float32, 53 a float64."""
    count = math.prod(shape)
    if dtype is dtypes.float64:
        first, second = _wide_words(count, generator)
        return _shaped(_as((first << 21) ^ (second >> 11), dtype) * 2.0**-53, shape)
    bits = {dtypes.float16: 11, dtypes.bfloat16: 8}.get(dtype, 24)
    words = (generator or default_generator).words(count)
    return _shaped(_as(_as(words >> (32 - bits), dtypes.float32) * 2.0**-bits, dtype), shape)


def normal_numbers(
    shape: Sequence[int], dtype: dtypes.dtype, generator: Generator | None
) -> Numbers:
    """Standard normal numbers, by the method of G. E. P. Box and M. E. Muller (1958)."""
    count = math.prod(shape)
    wide = dtypes.float64 if dtype is dtypes.float64 else dtypes.float32
    u = uniform_numbers((2, -(-count // 2)), wide, generator)
    radius = _apply(sqrt, _apply(log1p, -u[0]) * -2.0)
    angle = u[1] * (2 * math.pi)
    both = [radius * _apply(cos, angle), radius * _apply(sin, angle)]
    pairs = stack(both, -1) if isinstance(u, TensorBase) else np.stack(both, -1)
    return _shaped(_as(_shaped(pairs, (-1,))[:count], dtype), shape)


def whole_numbers(
    low: int, high: int, shape: Sequence[int], generator: Generator | None
) -> Numbers:
    """Uniform int64 from [low, high).

    Raises:
        RuntimeError: there is none.
    """
    span = high - low
    if span <= 0:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    count = math.prod(shape)
    if span < 1 << 32:
        words = _as((generator or default_generator).words(count), dtypes.int64)
        # (words * span) >> 32, in halves, for the product may take 64 bits.
        values = ((words >> 16) * span + (((words & 0xFFFF) * span) >> 16)) >> 16
    else:
        first, second = _wide_words(count, generator)
        values = ((first << 31) ^ (second >> 1)) % min(span, (1 << 63) - 1)
    return _shaped(values + low, shape)


def happens(chance: float, shape: Sequence[int], generator: Generator | None = None) -> Numbers:
    """Bools, each true with the given chance (in steps of 2 to the power -32)."""
    words = (generator or default_generator).words(math.prod(shape))
    return _shaped(words < round(chance * (1 << 32)), shape)


# -- distributions -------------------------------------------------------------------------------


def _finish(numbers: Numbers, requires_grad: bool, options: dict[str, Any]) -> Tensor:
    from kuai.ops.creation import finish

    return finish(numbers, requires_grad, options)


def _float_dtype(
    dtype: dtypes.dtype | None, name: str, options: dict[str, Any] | None = None
) -> dtypes.dtype:
    out = options.get("out") if options else None
    d = dtypes.named(dtype) or (dtypes.get_default_dtype() if out is None else out.dtype)
    if not d.is_floating_point:
        raise RuntimeError(f"\"{name}\" not implemented for '{d.name}'")
    return d


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Uniform numbers from [0, 1)."""
    d = _float_dtype(dtype, "rand", options)
    return _finish(uniform_numbers(_size(size, options), d, generator), requires_grad, options)


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Standard normal numbers."""
    d = _float_dtype(dtype, "normal", options)
    return _finish(normal_numbers(_size(size, options), d, generator), requires_grad, options)


def _size(size: Sequence[Any], options: dict[str, Any]) -> tuple[int, ...]:
    if "size" in options:
        size = (options.pop("size"),)
    shape = as_shape(size)
    if any(n < 0 for n in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(shape)}")
    return shape


def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Uniform integers from `low` (0 where not given) up to, and not including, `high`."""
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    d = dtypes.named(dtype) or dtypes.int64
    values = whole_numbers(int(low), int(high), as_shape((size,)), generator)
    return _finish(_as(values, d), requires_grad, options)


def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """The integers from 0 to `n - 1` in random order."""
    if n < 0:
        raise RuntimeError(f"n must be non-negative, got {n}")
    from kuai.ops.ordering import argsort

    first, second = _wide_words(n, generator)
    keys = (first << 31) ^ (second >> 1)
    order = (
        argsort(keys, stable=True)  # type: ignore[arg-type]
        if isinstance(keys, TensorBase)
        else np.argsort(keys, kind="stable")
    )
    return _finish(_as(order, dtypes.named(dtype) or dtypes.int64), requires_grad, options)


def _like(function: Any) -> Any:
    def like(
        input: Tensor, *args: Any, dtype: dtypes.dtype | None = None, **options: Any
    ) -> Tensor:
        shape = tuple(input._payload.shape)
        options.pop("memory_format", None)
        result: Tensor = function(*args, shape, dtype=dtype or input.dtype, **options)
        return result

    like.__name__ = function.__name__ + "_like"
    like.__doc__ = f"As `{function.__name__}`, in the shape and type of `input`."
    return like


rand_like, randn_like = _like(rand), _like(randn)


def randint_like(
    input: Tensor, low: int, high: int | None = None, *, dtype: Any = None, **options: Any
) -> Tensor:
    """Uniform integers in the shape and type of `input`."""
    if high is None:
        low, high = 0, low
    options.pop("memory_format", None)
    return randint(low, high, input._payload.shape, dtype=dtype or input.dtype, **options)


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Normal numbers, of one mean and standard deviation each.

    Raises:
        RuntimeError: a standard deviation is negative.
    """
    deviations = std._payload if isinstance(std, TensorBase) else np.asarray(std)
    message = "normal expects all elements of std >= 0.0"
    if type(deviations) is not np.ndarray:
        checked_when_run(lambda: _all(std >= 0), RuntimeError, message)
    elif (deviations < 0).any():
        raise RuntimeError(message)
    if size is not None:
        shape, d = as_shape((size,)), _float_dtype(dtype, "normal", options)
    else:
        given = [x for x in (mean, std) if isinstance(x, TensorBase)]
        shape = broadcast_shapes(*[x._payload.shape for x in given])
        d = given[0].dtype if given else _float_dtype(dtype, "normal")
    noise = as_tensor(normal_numbers(shape, d, generator))
    result = noise * (std.detach() if isinstance(std, TensorBase) else std)
    result = result + (mean.detach() if isinstance(mean, TensorBase) else mean)
    return _finish(result, requires_grad, options)


@takes_out
def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Generator | None = None
) -> Tensor:
    """1 with the probability that stands in `input` (or `p` everywhere), else 0.

    Raises:
        RuntimeError: a probability outside [0, 1].
    """
    from kuai.ops.creation import overwrite

    chance = p if p is not None else to_dtype(input.detach(), _chance_dtype(input))
    values = np.asarray(p) if p is not None else chance._payload  # type: ignore[union-attr]
    message = "Expected p_in >= 0 && p_in <= 1 to be true, but got false."
    if type(values) is not np.ndarray:
        checked_when_run(lambda: _all((chance >= 0) & (chance <= 1)), RuntimeError, message)
    elif not ((values >= 0) & (values <= 1)).all():
        raise RuntimeError(message)
    wide = dtypes.float32 if p is not None else _chance_dtype(input)
    drawn = as_tensor(uniform_numbers(input._payload.shape, wide, generator))
    return overwrite(input, lt(drawn, chance))


def _chance_dtype(input: Tensor) -> dtypes.dtype:
    return dtypes.float64 if input.dtype is dtypes.float64 else dtypes.float32


@primitive
class random_poisson(Primitive):
    """Numbers from the Poisson distributions of the given rates, for four random words."""

    inputs = ("words", "rate")
    differentiable = False

    def kernel(self, words: np.ndarray, rate: np.ndarray) -> np.ndarray:
        source = np.random.Generator(np.random.Philox(words.astype(np.uint32)))
        return source.poisson(rate).astype(rate.dtype)

    def infer(self, words: Meta, rate: Meta) -> Meta:
        return rate


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers from the Poisson distributions whose rates stand in `input`."""
    return random_poisson(some_words(generator), input.detach())


@takes_out
def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Indices drawn with the weights in each row.

    Shape:
        input `(*, n)` of one or two dimensions; the result `(*, num_samples)`, int64.

    Raises:
        RuntimeError: weights negative, not finite or all zero; more draws than weights without
            replacement.
    """
    if not input.is_floating_point():
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {input.dtype.name}"
        )
    shape = input._payload.shape
    if len(shape) not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    weights = to_dtype(input.detach(), dtypes.float64)
    if type(weights._payload) is np.ndarray:
        _check_weights(weights._payload)
    else:
        _check_captured_weights(weights)
    if not replacement and num_samples > shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    from kuai.ops.ordering import argsort, searchsorted
    from kuai.ops.reduce import cumsum

    rows = movement.reshape(weights, -1, shape[-1])
    drawn_shape = (rows._payload.shape[0], num_samples) if replacement else rows._payload.shape
    u = as_tensor(uniform_numbers(drawn_shape, dtypes.float64, generator))
    if replacement:
        totals = cumsum(rows, -1)
        drawn = searchsorted(quotient(totals, totals[:, -1:]), u, right=True)
    else:
        # The order of exponential variables divided by the weights is that of drawing one by one.
        drawn = argsort(quotient(-log1p(-u), rows), -1, stable=True)[:, :num_samples]
    return movement.reshape(drawn, *shape[:-1], num_samples).clone()


def _all(condition: Any) -> Tensor:
    from kuai.ops.reduce import all as all_

    return all_(condition)


def _check_captured_weights(weights: Tensor) -> None:
    """What `_check_weights` refuses, for weights that have no values yet."""
    from kuai.ops.reduce import sum as sum_

    checked_when_run(
        lambda: _all((weights >= 0) & (weights < math.inf)),
        RuntimeError,
        "probability tensor contains either `inf`, `nan` or element < 0",
    )
    checked_when_run(
        lambda: _all(sum_(weights, -1) > 0),
        RuntimeError,
        "invalid multinomial distribution (sum of probabilities <= 0)",
    )


def _check_weights(weights: np.ndarray) -> None:
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (weights.sum(-1) <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")


# -- in place --------------------------------------------------------------------------------------


def _fill(x: Tensor, numbers: Numbers) -> Tensor:
    from kuai.ops.creation import overwrite

    check_writable(x)
    new = as_tensor(_as(numbers, x.dtype))
    if x.requires_grad:
        from kuai.core.inplace import inplace

        result: Tensor = inplace(x, overwrite, new)
        return result
    assign(x, new)
    return x


def _wide_uniform(x: Tensor, generator: Generator | None) -> Numbers:
    return uniform_numbers(x._payload.shape, dtypes.float64, generator)


def uniform_(
    self: Tensor,
    a: float = 0.0,
    b: float = 1.0,
    *,
    generator: Generator | None = None,
    **names: float,
) -> Tensor:
    """Fill with uniform numbers from [a, b)."""
    a, b = names.get("from", a), names.get("to", b)
    if a > b:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={a} > to={b}"
        )
    drawn = uniform_numbers(self._payload.shape, self.dtype, generator)
    return _fill(self, drawn * (b - a) + a)


def normal_(
    self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with normal numbers."""
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    return _fill(self, normal_numbers(self._payload.shape, self.dtype, generator) * std + mean)


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability `p`, else 0."""
    if not isinstance(p, TensorBase):
        return _fill(self, happens(p, self._payload.shape, generator))
    drawn = _wide_uniform(self, generator)
    return _fill(self, drawn < (p.detach() if isinstance(drawn, TensorBase) else p._payload))


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers from the exponential distribution of rate `lambd`."""
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    drawn = _wide_uniform(self, generator)
    return _fill(self, _apply(log1p, -drawn) / -lambd)


def log_normal_(
    self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers whose logarithm is normal."""
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    drawn = normal_numbers(self._payload.shape, dtypes.float64, generator)
    return _fill(self, _apply(exp, drawn * std + mean))


def cauchy_(
    self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers from the Cauchy distribution."""
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    drawn = _wide_uniform(self, generator)
    return _fill(self, _apply(tan, (drawn - 0.5) * math.pi) * sigma + median)


def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with the number of trials up to the first success, of probability `p`."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    drawn = _wide_uniform(self, generator)
    trials = _apply(ceil, _apply(log1p, -drawn) / math.log1p(-p))
    return _fill(self, _apply(clamp_below, trials, 1.0))


def random_(self: Tensor, *limits: Any, generator: Generator | None = None) -> Tensor:
    """Fill with integers: from [low, high), [0, high), or what the type holds exactly."""
    if len(limits) == 2:
        low, high = limits if limits[1] is not None else (limits[0], None)
    else:
        low, high = 0, (limits[0] if limits else None)
    if high is None:
        d = self.dtype
        mantissa = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
        if d.is_floating_point:
            high = (1 << mantissa[d.name]) + 1
        else:
            high = 2 if d is dtypes.bool_ else dtypes.iinfo(d).max
    return _fill(self, whole_numbers(int(low), int(high), self._payload.shape, generator))


RANDOM_METHODS = (
    uniform_,
    normal_,
    bernoulli_,
    exponential_,
    log_normal_,
    cauchy_,
    geometric_,
    random_,
)

__all__ = [
    "Generator",
    "bernoulli",
    "default_generator",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "multinomial",
    "normal",
    "poisson",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "seed",
    "set_rng_state",
]
