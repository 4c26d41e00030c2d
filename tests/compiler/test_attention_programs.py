"""Programs with attention: what they compute is what eager computes, without any scores stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import kuai
from kuai import nn
from kuai.compiler import layout
from kuai.compiler.layout import Layout
from kuai.compiler.run.explain import text
from kuai.nn import functional as F
from kuai.ops.attention import attention, attention_weights
from tests.compiler.comparing import agrees, gradients, near, trained

sdpa = F.scaled_dot_product_attention


def leaves(*shapes: tuple[int, ...], dtype: Any = kuai.float32) -> list[Any]:
    """Random tensors that want a gradient."""
    kuai.manual_seed(3)
    return [kuai.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


def heads(*lead: int, queries: int = 9, keys: int = 13, width: int = 6, columns: int = 5) -> Any:
    """The shapes of queries, keys and values."""
    return (*lead, queries, width), (*lead, keys, width), (*lead, keys, columns)


def assert_native(f: Callable[..., Any], arguments: list[Any], tolerance: float = 2e-5) -> str:
    """`f` compiled does what it does eagerly, without NumPy; returns the text of its kernels."""
    compiled = kuai.compile(f)
    agrees(f, arguments, tolerance=tolerance, compiled=compiled)
    found = text(compiled._compiled, "kernels")
    assert "host call" not in found
    return found


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 1, 3), (24,)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_heads_and_their_gradients(lead: tuple[int, ...], is_causal: bool) -> None:
    found = assert_native(lambda *x: sdpa(*x, is_causal=is_causal), leaves(*heads(*lead)))
    assert "softmax" not in found
    assert "attention_gradient" in found


def test_without_a_gradient_no_denominators_are_kept() -> None:
    compiled = kuai.compile(lambda *x: sdpa(*x))
    arguments = [x.detach() for x in leaves(*heads(2, 3))]
    near(compiled(*arguments), sdpa(*arguments))
    memory = text(compiled._compiled, "memory")
    assert "float32[2, 3, 9]" not in memory


def test_double_precision() -> None:
    assert_native(sdpa, leaves(*heads(2, 3), dtype=kuai.float64), 1e-13)


@pytest.mark.parametrize("dtype", [kuai.float16, kuai.bfloat16])
def test_sixteen_bits_are_computed_in_float32(dtype: Any) -> None:
    assert_native(sdpa, [x.detach().to(dtype) for x in leaves(*heads(2, 3))], 0.01)


@pytest.mark.parametrize("shape", [(9, 13), (13,), (9, 1), (2, 1, 9, 13), (1, 3, 1, 13), ()])
def test_masks(shape: tuple[int, ...]) -> None:
    kuai.manual_seed(1)
    added = kuai.randn(*shape)
    allowed = kuai.rand(*shape) < 0.7
    for mask in (added, allowed):
        assert_native(lambda q, k, v, m: sdpa(q, k, v, m), [*leaves(*heads(2, 3)), mask])


def test_masks_may_lie_anyhow() -> None:
    kuai.manual_seed(1)
    mask = kuai.rand(13, 9) < 0.7
    assert_native(lambda q, k, v, m: sdpa(q, k, v, m.t().flip(1)), [*leaves(*heads(2, 3)), mask])


def test_a_query_that_attends_to_nothing_gives_zero() -> None:
    mask = kuai.ones(9, 13, dtype=kuai.bool)
    mask[4] = False
    added = kuai.zeros(9, 13)
    added[4] = -float("inf")
    for m in (mask, added):
        arguments = [*leaves(*heads(2)), m]
        assert (sdpa(*arguments)[:, 4] == 0).all()
        assert_native(lambda q, k, v, m: sdpa(q, k, v, m), arguments)


def test_a_mask_that_wants_a_gradient() -> None:
    assert_native(lambda *x: sdpa(*x), leaves(*heads(2, 3), (9, 13)))


def test_other_heads_for_keys() -> None:
    shapes = (2, 4, 9, 6), (2, 2, 9, 6), (2, 2, 9, 6)
    assert_native(lambda *x: sdpa(*x, enable_gqa=True), leaves(*shapes))


def test_leading_dimensions_that_broadcast() -> None:
    assert_native(sdpa, leaves((2, 3, 9, 6), (3, 13, 6), (2, 1, 13, 5)))


def test_operands_may_lie_anyhow() -> None:
    def f(x: Any, w: Any) -> Any:
        q, k, v = F.linear(x, w).split(12, dim=2)
        q, k, v = (t.view(2, 9, 3, 4).transpose(1, 2) for t in (q, k, v))
        return sdpa(q, k, v, is_causal=True).transpose(1, 2).reshape(2, 9, 12)

    found = assert_native(f, leaves((2, 9, 12), (36, 12)))
    assert "reshape" not in found.split("backward:")[1]
    assert_native(
        lambda q, k, v: sdpa(q.mT, k.flip(1), v.mT), leaves((2, 6, 9), (2, 13, 6), (2, 5, 13))
    )


def test_what_follows_is_computed_of_each_element_before_it_is_stored() -> None:
    def f(q: Any, k: Any, v: Any, other: Any, row: Any) -> Any:
        return (sdpa(q, k, v) + other).tanh() * row

    with kuai.no_grad():
        compiled = kuai.compile(f)
        compiled(*leaves(*heads(2, 3), (2, 3, 9, 5), (5,)))
    assert "nest" not in text(compiled._compiled, "kernels")
    assert_native(f, leaves(*heads(2, 3), (2, 3, 9, 5), (5,)))


def test_gradients_of_gradients() -> None:
    def f(q: Any, k: Any, v: Any) -> Any:
        y = sdpa(q, k, v, is_causal=True).sin().sum()
        return sum((g**2).sum() for g in kuai.autograd.grad(y, [q, k, v], create_graph=True))

    arguments = leaves(*heads(2, queries=4, keys=5, width=3, columns=2), dtype=kuai.float64)
    agrees(f, arguments, tolerance=1e-12)
    assert kuai.autograd.gradgradcheck(sdpa, arguments)


def test_attention_in_a_loop() -> None:
    def f(x: Any, n: Any) -> Any:
        i = kuai.tensor(0)
        while i < n:
            x = x + sdpa(x, x, x, is_causal=True)
            i = i + 1
        return x

    assert_native(f, [*leaves((2, 5, 4)), kuai.tensor(3)])

    def slopes(x: Any, n: Any) -> Any:
        (g,) = kuai.autograd.grad((f(x, n) ** 2).sum(), [x], create_graph=True)
        return g.sin()

    agrees(slopes, [*leaves((2, 4, 3), dtype=kuai.float64), kuai.tensor(2)], tolerance=1e-11)


def test_one_operation_and_its_composition_agree_where_numbers_are_none() -> None:
    q, k, v = (x.detach() for x in leaves(*heads(2)))
    q[0, 2, 1], k[1, 4, 0], v[1, 3, 2] = float("nan"), float("inf"), float("nan")
    for is_causal in (False, True):
        how = {"scale": 0.5, "is_causal": is_causal}
        found = attention(q, k, v, **how)[0]
        wanted = attention_weights(q, k, None, **how) @ v
        assert kuai.allclose(found, wanted, atol=1e-6, equal_nan=True)
        compiled = kuai.compile(lambda q, k, v, c=is_causal: sdpa(q, k, v, scale=0.5, is_causal=c))
        assert kuai.allclose(compiled(q, k, v), wanted, atol=1e-5, equal_nan=True)


def test_gradients_eager_and_compiled_are_those_of_the_composition() -> None:
    arguments = leaves(*heads(2, 3), dtype=kuai.float64)
    mask = kuai.rand(9, 13) < 0.6

    def composed(q: Any, k: Any, v: Any) -> Any:
        return attention_weights(q, k, mask, 0.4, False) @ v

    def whole(q: Any, k: Any, v: Any) -> Any:
        return sdpa(q, k, v, mask, scale=0.4)

    wanted = gradients(composed(*arguments), arguments)
    for f in (whole, kuai.compile(whole)):
        for a, b in zip(gradients(f(*arguments), arguments), wanted, strict=True):
            near(a, b, 1e-12)


def test_heads_lie_where_they_are_parts_of_rows() -> None:
    rows = layout.contiguous((2, 9, 36), kuai.float32)
    heads = Layout((2, 3, 9, 4), (1296, 16, 144, 4), 48, kuai.float32)
    found = layout.ordered_like((2, 3, 9, 5), kuai.float32, heads)
    assert found.strides == (540, 20, 60, 4)
    whole = layout.ordered_like(heads.shape, kuai.float32, heads)
    part = rows._replace(shape=(2, 9, 12), offset=48)
    assert layout.within(part, whole) == heads
    six, nine = (layout.contiguous(shape, kuai.float32) for shape in ((6, 6), (4, 9)))
    assert layout.within(six, nine) is None


class Block(nn.Module):
    """Attention and a perceptron, each beside a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Any) -> Any:
        batch, length, width = x.shape
        parts = self.qkv(self.first(x)).split(width, dim=2)
        q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2) for t in parts)
        y = sdpa(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, length, width)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.second(x))))


class Language(nn.Module):
    """A small language model."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(11, 16), nn.Embedding(12, 16)
        self.blocks = nn.Sequential(Block(16, 2), Block(16, 4))
        self.head = nn.Linear(16, 11)

    def forward(self, x: Any) -> Any:
        return self.head(self.blocks(self.token(x) + self.place(kuai.arange(x.shape[1]))))


@pytest.mark.parametrize("how", ["block", "step"])
def test_a_language_model_learns_as_it_does_eagerly(how: str) -> None:
    kuai.manual_seed(5)
    batches = [kuai.randint(0, 11, (3, 13)) for _ in range(6)]

    def run(how: str) -> Any:
        return trained(
            Language,
            lambda net: kuai.optim.AdamW(net.parameters(), lr=1e-3),
            lambda net, x: F.cross_entropy(net(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten()),
            batches,
            how,
        )

    (net, losses), (other, found) = run("eager"), run(how)
    assert losses == pytest.approx(found, abs=1e-4)
    for name, x in net.state_dict().items():
        assert kuai.allclose(x, other.state_dict()[name], atol=1e-3), name


def test_one_program_for_batches_of_any_size() -> None:
    kuai.manual_seed(0)
    net = Language()
    compiled = kuai.compile(net, dynamic_batch=True)
    for batch in (2, 3, 7, 20):
        x = kuai.randint(0, 11, (batch, 12))
        assert kuai.allclose(compiled(x), net(x), atol=1e-5)
