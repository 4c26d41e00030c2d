"""Random numbers: the counter-based generator Philox 4x32-10, and what is drawn from it.

Each draw takes a block of the counter, so that the numbers depend on the seed and on how many
were drawn before, and not on who computes them. The generator: J. K. Salmon et al., "Parallel
random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kuai import dtypes
from kuai.core.base import TensorBase, wrap
from kuai.core.inplace import assign, check_writable
from kuai.core.primitive import Meta, Primitive, primitive
from kuai.ops.movement import as_shape
from kuai.ops.out import takes_out
from kuai.ops.pointwise import broadcast_shapes

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


@primitive
class random_bits(Primitive):
    """`count` random 32-bit words (as int64) for the state `[seed, offset]`."""

    inputs = ("state",)
    differentiable = False

    def kernel(self, state: np.ndarray, count: int) -> np.ndarray:
        seed, offset = state.tolist()
        return philox(seed, offset, count).astype(np.int64)

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
        self._state = wrap(np.zeros(2, np.int64))
        self.manual_seed(67280421310721)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to `seed`."""
        seed = int(seed)
        if not -(1 << 63) <= seed < 1 << 64:
            raise RuntimeError(f"Overflow when unpacking long: the seed {seed} needs over 64 bits")
        self._state._payload[:] = (seed - (1 << 64) if seed >= 1 << 63 else seed, 0)
        return self

    def seed(self) -> int:
        """Start a stream that cannot be foretold; returns its seed."""
        seed = int.from_bytes(os.urandom(7), "little")
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return int(self._state._payload[0]) & 0xFFFFFFFFFFFFFFFF

    def get_state(self) -> Tensor:
        """The place in the stream, as a tensor of bytes."""
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
        self._state._payload[:] = np.ascontiguousarray(new_state._payload).view(np.int64)
        return self

    def clone_state(self) -> Generator:
        """Another generator at the same place."""
        return Generator().set_state(self.get_state())

    def bits(self, count: int) -> np.ndarray:
        """The next `count` words of 32 bits."""
        words = random_bits(self._state, count=count)
        self._state._payload[1] += -(-count // 4)
        return words._payload.astype(np.uint32)

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


# -- distributions -------------------------------------------------------------------------------


def uniform_array(
    shape: Sequence[int], numpy_dtype: np.dtype, generator: Generator | None
) -> np.ndarray:
    """Uniform numbers from [0, 1): 24 random bits a float32, 53 a float64."""
    count = math.prod(shape)
    source = generator or default_generator
    if numpy_dtype == np.float64:
        words = source.bits(2 * count).astype(np.uint64)
        wide = (words[0::2] << np.uint64(21)) ^ (words[1::2] >> np.uint64(11))
        return (wide * 2.0**-53).reshape(shape)
    words = source.bits(count)
    if numpy_dtype.itemsize == 2:
        bits = 11 if numpy_dtype.kind == "f" else 8
        return (
            ((words >> np.uint32(32 - bits)) * np.float32(2.0**-bits))
            .astype(numpy_dtype)
            .reshape(shape)
        )
    return ((words >> np.uint32(8)) * np.float32(2.0**-24)).astype(np.float32).reshape(shape)


def normal_array(
    shape: Sequence[int], numpy_dtype: np.dtype, generator: Generator | None
) -> np.ndarray:
    """Standard normal numbers, by the method of G. E. P. Box and M. E. Muller (1958)."""
    count = math.prod(shape)
    half = -(-count // 2)
    wide = np.dtype(np.float64 if numpy_dtype == np.float64 else np.float32)
    u = uniform_array((2, half), wide, generator)
    radius = np.sqrt(-2 * np.log1p(-u[0]))
    angle = wide.type(2 * math.pi) * u[1]
    both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(-1)[:count]
    return both.astype(numpy_dtype).reshape(shape)


def _finish(array: np.ndarray, requires_grad: bool, options: dict[str, Any]) -> Tensor:
    from kuai.ops.creation import finish

    return finish(array, requires_grad, options)


def _float_dtype(
    dtype: dtypes.dtype | None, name: str, options: dict[str, Any] | None = None
) -> np.dtype:
    out = options.get("out") if options else None
    d = dtypes.named(dtype) or (dtypes.get_default_dtype() if out is None else out.dtype)
    if not d.is_floating_point:
        raise RuntimeError(f"\"{name}\" not implemented for '{d.name}'")
    return d.numpy


def rand(
    *size: Any,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Uniform numbers from [0, 1)."""
    array = uniform_array(_size(size, options), _float_dtype(dtype, "rand", options), generator)
    return _finish(array, requires_grad, options)


def randn(
    *size: Any,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    requires_grad: bool = False,
    **options: Any,
) -> Tensor:
    """Standard normal numbers."""
    array = normal_array(_size(size, options), _float_dtype(dtype, "normal", options), generator)
    return _finish(array, requires_grad, options)


def _size(size: Sequence[Any], options: dict[str, Any]) -> tuple[int, ...]:
    if "size" in options:
        size = (options.pop("size"),)
    return as_shape(size)


def _integers(low: int, high: int, shape: Sequence[int], generator: Generator | None) -> np.ndarray:
    span = high - low
    if span <= 0:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    source = generator or default_generator
    count = math.prod(shape)
    if span < 1 << 32:
        words = source.bits(count).astype(np.uint64)
        values = (words * np.uint64(span)) >> _32
    else:
        words = source.bits(2 * count).astype(np.uint64)
        values = ((words[0::2] << _32) | words[1::2]) % np.uint64(span)
    return (values.astype(np.int64) + low).reshape(shape)


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
    values = _integers(int(low), int(high), as_shape((size,)), generator)
    return _finish(values.astype(d.numpy), requires_grad, options)


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
    words = (generator or default_generator).bits(2 * n).astype(np.uint64)
    order = np.argsort((words[0::2] << _32) | words[1::2], kind="stable")
    array = order.astype((dtypes.named(dtype) or dtypes.int64).numpy)
    return _finish(array, requires_grad, options)


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
    if (deviations < 0).any():
        raise RuntimeError("normal expects all elements of std >= 0.0")
    if size is not None:
        shape, d = as_shape((size,)), _float_dtype(dtype, "normal", options)
    else:
        given = [x for x in (mean, std) if isinstance(x, TensorBase)]
        shape = broadcast_shapes(*[x._payload.shape for x in given])
        d = given[0]._payload.dtype if given else _float_dtype(dtype, "normal")
    noise = wrap(normal_array(shape, d, generator))
    result = noise * (std.detach() if isinstance(std, TensorBase) else std)
    result = result + (mean.detach() if isinstance(mean, TensorBase) else mean)
    return _finish(result._payload, requires_grad, options)


@takes_out
def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Generator | None = None
) -> Tensor:
    """1 with the probability that stands in `input` (or `p` everywhere), else 0.

    Raises:
        RuntimeError: a probability outside [0, 1].
    """
    from kuai.ops.creation import overwrite

    chance = np.asarray(p) if p is not None else input._payload
    if chance.dtype.kind == "V":
        chance = chance.astype(np.float32)
    if not ((chance >= 0) & (chance <= 1)).all():
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1 to be true, but got false.")
    wide = np.dtype(np.float64 if chance.dtype == np.float64 and p is None else np.float32)
    drawn = uniform_array(input._payload.shape, wide, generator)
    return overwrite(input, wrap((drawn < chance).astype(input._payload.dtype)))


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers from the Poisson distributions whose rates stand in `input`."""
    state = (generator or default_generator).bits(4).astype(np.uint32)
    source = np.random.Generator(np.random.Philox(state))
    return wrap(source.poisson(input._payload).astype(input._payload.dtype))


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
    weights = input._payload.astype(np.float64)
    if weights.ndim not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
    if (weights.sum(-1) <= 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    if not replacement and num_samples > weights.shape[-1]:
        raise RuntimeError(
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
        )
    rows = weights.reshape(-1, weights.shape[-1])
    if replacement:
        u = uniform_array((len(rows), num_samples), np.dtype(np.float64), generator)
        totals = np.cumsum(rows, -1)
        totals /= totals[:, -1:]
        drawn = np.stack([np.searchsorted(t, v, "right") for t, v in zip(totals, u, strict=True)])
    else:
        # The order of exponential variables divided by the weights is that of drawing one by one.
        u = uniform_array(rows.shape, np.dtype(np.float64), generator)
        with np.errstate(divide="ignore"):
            keys = -np.log1p(-u) / rows
        drawn = np.argsort(keys, -1, kind="stable")[:, :num_samples]
    return wrap(drawn.reshape(*weights.shape[:-1], num_samples).astype(np.int64))


# -- in place --------------------------------------------------------------------------------------


def _fill(x: Tensor, array: np.ndarray) -> Tensor:
    from kuai.ops.creation import overwrite

    check_writable(x)
    if x.requires_grad:
        from kuai.core.inplace import inplace

        result: Tensor = inplace(x, overwrite, wrap(array.astype(x._payload.dtype)))
        return result
    assign(x, wrap(np.asarray(array).astype(x._payload.dtype)))
    return x


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
    x = self._payload
    return _fill(self, uniform_array(x.shape, x.dtype, generator) * (b - a) + a)


def normal_(
    self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with normal numbers."""
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    x = self._payload
    return _fill(self, normal_array(x.shape, x.dtype, generator) * std + mean)


def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability `p`, else 0."""
    chance = p._payload if isinstance(p, TensorBase) else p
    drawn = uniform_array(self._payload.shape, np.dtype(np.float64), generator)
    return _fill(self, drawn < chance)


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers from the exponential distribution of rate `lambd`."""
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    drawn = uniform_array(self._payload.shape, np.dtype(np.float64), generator)
    return _fill(self, -np.log1p(-drawn) / lambd)


def log_normal_(
    self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers whose logarithm is normal."""
    if std <= 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    drawn = normal_array(self._payload.shape, np.dtype(np.float64), generator)
    return _fill(self, np.exp(drawn * std + mean))


def cauchy_(
    self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers from the Cauchy distribution."""
    if sigma <= 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    drawn = uniform_array(self._payload.shape, np.dtype(np.float64), generator)
    return _fill(self, median + sigma * np.tan(math.pi * (drawn - 0.5)))


def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with the number of trials up to the first success, of probability `p`."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    drawn = uniform_array(self._payload.shape, np.dtype(np.float64), generator)
    return _fill(self, np.maximum(np.ceil(np.log1p(-drawn) / math.log1p(-p)), 1))


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
    return _fill(self, _integers(int(low), int(high), self._payload.shape, generator))


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
