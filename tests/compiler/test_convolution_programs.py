"""Programs with convolutions: what they compute is what eager computes, and NumPy runs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import kuai
from kuai import nn
from kuai.compiler.run.explain import text
from kuai.nn import functional as F
from tests.compiler.comparing import agrees, trained


def leaves(*shapes: tuple[int, ...], dtype: Any = kuai.float32) -> list[Any]:
    """Random tensors that want a gradient."""
    kuai.manual_seed(3)
    return [kuai.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


def assert_native(
    f: Callable[..., Any], *shapes: tuple[int, ...], dtype: Any = kuai.float32
) -> str:
    """`f` compiled does what it does eagerly, without NumPy; returns the text of its kernels."""
    compiled = kuai.compile(f)
    tolerance = 1e-13 if dtype is kuai.float64 else 2e-5
    agrees(f, leaves(*shapes, dtype=dtype), tolerance=tolerance, compiled=compiled)
    found = text(compiled._compiled, "kernels")
    assert "host call" not in found
    return found


GEOMETRIES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 9, 8), (4, 3, 3, 3), {}),
    "padded": ((3, 4, 7, 7), (5, 4, 3, 3), {"padding": 1}),
    "strided": ((2, 3, 11, 12), (4, 3, 3, 3), {"stride": 2, "padding": 1}),
    "two strides": ((2, 3, 11, 12), (4, 3, 3, 2), {"stride": (3, 1), "padding": (0, 2)}),
    "dilated": ((2, 3, 12, 11), (4, 3, 3, 3), {"dilation": 2, "padding": 2}),
    "groups": ((2, 6, 8, 8), (9, 2, 3, 3), {"groups": 3, "padding": 1}),
    "depthwise": ((2, 5, 8, 8), (5, 1, 3, 3), {"groups": 5}),
    "pointwise": ((2, 9, 6, 5), (17, 9, 1, 1), {}),
    "pointwise, of one image": ((1, 9, 6, 5), (17, 9, 1, 1), {}),
    "pointwise, strided": ((2, 9, 6, 5), (7, 9, 1, 1), {"stride": 2}),
    "one position": ((2, 3, 3, 3), (4, 3, 3, 3), {}),
    "a remainder": ((2, 3, 10, 10), (4, 3, 3, 3), {"stride": 4}),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_convolution_and_its_gradients(name: str) -> None:
    x, weight, geometry = GEOMETRIES[name]

    def f(x: Any, weight: Any, bias: Any) -> Any:
        return F.conv2d(x, weight, bias, **geometry)

    assert_native(f, x, weight, weight[:1])


@pytest.mark.parametrize("name", ["strided", "groups", "pointwise"])
def test_double_precision(name: str) -> None:
    x, weight, geometry = GEOMETRIES[name]
    assert_native(lambda x, w: F.conv2d(x, w, **geometry), x, weight, dtype=kuai.float64)


@pytest.mark.parametrize("geometry", [{}, {"stride": 2, "padding": 2}, {"dilation": 3}])
def test_one_dimension(geometry: dict[str, Any]) -> None:
    assert_native(lambda x, w, b: F.conv1d(x, w, b, **geometry), (2, 3, 20), (5, 3, 4), (5,))


@pytest.mark.parametrize(
    "geometry", [{}, {"stride": 2, "output_padding": 1}, {"padding": 1}, {"groups": 2}]
)
def test_transposed_convolutions(geometry: dict[str, Any]) -> None:
    def f(x: Any, weight: Any) -> Any:
        return F.conv_transpose2d(x, weight, **geometry)

    assert_native(f, (2, 4, 5, 6), (4, 3, 3, 3))


def test_a_pointwise_one_whose_result_is_larger_than_its_windows() -> None:
    def f(x: Any, weight: Any) -> Any:
        return F.conv_transpose2d(x, weight, output_padding=1, dilation=2)

    agrees(f, leaves((2, 4, 5, 6), (4, 3, 1, 1)))


def test_three_dimensions_are_left_to_numpy() -> None:
    agrees(lambda x, w: F.conv3d(x, w, padding=1), leaves((2, 2, 4, 5, 6), (3, 2, 3, 3, 3)))


def test_an_empty_batch() -> None:
    agrees(lambda x, w: F.conv2d(x, w).relu(), leaves((0, 2, 6, 6), (3, 2, 3, 3)))


def test_gradients_of_gradients() -> None:
    def f(x: Any, weight: Any) -> Any:
        y = F.conv2d(x, weight, stride=2, padding=1).tanh().sum()
        first, second = kuai.autograd.grad(y, [x, weight], create_graph=True)
        return (first**2).sum() + second.sin().sum()

    assert_native(f, (2, 3, 7, 7), (4, 3, 3, 3))


@pytest.mark.parametrize("size", [1, 3])
def test_what_follows_is_computed_of_each_element_before_it_is_stored(size: int) -> None:
    def f(x: Any, weight: Any, bias: Any, other: Any, row: Any, column: Any) -> Any:
        y = F.conv2d(x, weight, bias, padding=size // 2)
        return F.relu(y + other) * row + column

    shapes = [(2, 3, 6, 37), (20, 3, size, size), (20,), (2, 20, 6, 37), (37,), (6, 1)]
    with kuai.no_grad():
        found = text_of_one(f, leaves(*shapes))
    assert found.count("[2, 20, 6, 37] = ") == 6
    assert "nest" not in found
    assert_native(f, *shapes)


def text_of_one(f: Callable[..., Any], arguments: list[Any]) -> str:
    """The kernels of a call."""
    compiled = kuai.compile(f)
    compiled(*arguments)
    return text(compiled._compiled, "kernels")


@pytest.mark.parametrize("size", [1, 3])
def test_operands_may_lie_anyhow(size: int) -> None:
    def f(x: Any, weight: Any, other: Any) -> Any:
        y = F.conv2d(x.permute(0, 3, 1, 2), weight.transpose(0, 1), padding=size // 2)
        return y + other.permute(3, 2, 1, 0)

    assert_native(f, (2, 6, 19, 3), (3, 4, size, size), (19, 6, 4, 2))


def test_strides_below_zero() -> None:
    assert_native(lambda x, w: F.conv2d(x.flip(3), w.flip(2)), (2, 3, 6, 7), (4, 3, 3, 3))


@pytest.mark.parametrize("batch", [1, 11])
def test_work_for_several_threads(batch: int) -> None:
    def f(x: Any, weight: Any, bias: Any) -> Any:
        return F.conv2d(x, weight, bias, padding=1).relu()

    assert_native(f, (batch, 16, 40, 40), (24, 16, 3, 3), (24,))


def test_the_weight_is_changed_in_place() -> None:
    kuai.manual_seed(0)
    net, other = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)
    other.load_state_dict(net.state_dict())
    x = kuai.randn(4, 2, 7, 7)

    def make(net: Any) -> Any:
        def step(x: Any) -> Any:
            loss = (net(x) ** 2).mean()
            grads = kuai.autograd.grad(loss, [net.weight, net.bias])
            with kuai.no_grad():
                for p, g in zip((net.weight, net.bias), grads, strict=True):
                    p -= 0.1 * g
            return loss

        return step

    eager, compiled = make(net), kuai.compile(make(other))
    for _ in range(5):
        a, b = eager(x), compiled(x)
        assert abs(float(a) - float(b)) < 1e-5
    assert kuai.allclose(net.weight, other.weight, atol=1e-6)
    assert "host call" not in text(compiled._compiled, "kernels")


class Block(nn.Module):
    """Two convolutions beside a residual connection."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs) for _ in range(3)])

    def forward(self, x: Any) -> Any:
        first, second, third = self.norms
        y = F.relu(first(self.first(x)))
        return F.relu(second(self.second(y)) + third(self.short(x)))


def residual() -> nn.Module:
    """A small residual network."""
    blocks = [Block(3, 8, 1), Block(8, 12, 2)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4))


def lenet() -> nn.Module:
    """LeNet, for images of 16 by 16."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 4),
    )  # fmt: skip


@pytest.mark.parametrize("how", ["block", "step"])
@pytest.mark.parametrize("make", [residual, lenet])
def test_networks_learn_as_they_do_eagerly(make: Callable[[], nn.Module], how: str) -> None:
    kuai.manual_seed(5)
    batches = [(kuai.randn(6, 3, 16, 16), kuai.randint(0, 4, (6,))) for _ in range(5)]

    def run(how: str) -> Any:
        return trained(
            make,
            lambda net: kuai.optim.SGD(net.parameters(), lr=0.05, momentum=0.9),
            lambda net, batch: F.cross_entropy(net(batch[0]), batch[1]),
            batches,
            how,
        )

    (net, losses), (other, found) = run("eager"), run(how)
    assert losses == pytest.approx(found, abs=1e-4)
    for name, x in net.state_dict().items():
        assert kuai.allclose(x, other.state_dict()[name], atol=2e-4), name


def test_one_program_for_batches_of_any_size() -> None:
    kuai.manual_seed(0)
    net = lenet()
    compiled = kuai.compile(net, dynamic_batch=True)
    for batch in (2, 5, 7, 33):
        x = kuai.randn(batch, 3, 16, 16)
        assert kuai.allclose(compiled(x), net(x), atol=1e-5)
