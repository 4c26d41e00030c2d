"""The layers: what they begin with, what they are called, and what they say of wrong input."""

from __future__ import annotations

import math

import pytest

import kuai
from kuai import nn
from kuai.errors import DtypeError, ShapeError
from kuai.nn import functional as F


def test_a_linear_layer_begins_within_its_bounds() -> None:
    layer = nn.Linear(400, 300)
    bound = 1 / math.sqrt(400)
    for parameter in layer.parameters():
        assert parameter.abs().max().item() <= bound
        assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_normalising_layers_begin_with_ones_and_zeros() -> None:
    for layer in (nn.LayerNorm(3), nn.GroupNorm(1, 3)):
        assert layer.weight.tolist() == [1, 1, 1]
        assert layer.bias.tolist() == [0, 0, 0]
    assert nn.RMSNorm(2).weight.tolist() == [1, 1]
    assert list(dict(nn.LayerNorm(3, bias=False).named_parameters())) == ["weight"]
    assert not list(nn.LayerNorm(3, elementwise_affine=False).parameters())


def test_an_embedding_begins_standard_normal_with_zeros_for_the_padding() -> None:
    layer = nn.Embedding(100, 50, padding_idx=-1)
    assert layer.padding_idx == 99
    assert layer.weight[99].abs().sum().item() == 0
    assert layer.weight[:99].std().item() == pytest.approx(1, rel=0.05)


def test_a_lazy_linear_layer_becomes_a_linear_one() -> None:
    layer = nn.LazyLinear(3)
    assert layer(kuai.ones(2, 5)).shape == (2, 3)
    assert type(layer) is nn.Linear
    assert layer.in_features == 5
    assert layer.weight.shape == (3, 5)


def test_a_pretrained_embedding_is_frozen_unless_asked() -> None:
    table = kuai.rand(4, 2)
    assert not nn.Embedding.from_pretrained(table).weight.requires_grad
    assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad
    assert nn.EmbeddingBag.from_pretrained(table)(kuai.tensor([[1, 3]])).shape == (1, 2)


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.3), nn.AlphaDropout(0.3), nn.FeatureAlphaDropout(0.3), nn.Dropout1d(0.3)]
)
def test_dropout_does_nothing_in_evaluation(layer: nn.Module) -> None:
    x = kuai.rand(4, 5, 6)
    assert layer.eval()(x) is x


def test_dropout_keeps_the_expected_value_and_drops_as_often_as_asked() -> None:
    kuai.manual_seed(0)
    y = F.dropout(kuai.ones(200, 200), 0.3)
    assert set(y.unique().tolist()) == {0.0, kuai.tensor(1 / 0.7).item()}
    assert (y == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert F.dropout(kuai.ones(3), 1.0).tolist() == [0, 0, 0]


def test_the_gradient_of_dropout_is_its_mask() -> None:
    x = kuai.ones(50, requires_grad=True)
    y = F.dropout(x, 0.5)
    y.sum().backward()
    assert x.grad.tolist() == y.tolist()


@pytest.mark.parametrize("function", [F.dropout1d, F.dropout2d, F.dropout3d])
def test_channel_dropout_drops_whole_channels(function: object) -> None:
    kuai.manual_seed(0)
    ndim = {F.dropout1d: 3, F.dropout2d: 4, F.dropout3d: 5}[function]
    y = function(kuai.ones(20, 10, *(3,) * (ndim - 2)), 0.5).reshape(200, -1)
    assert ((y == 0).all(1) | (y == 2).all(1)).all()
    assert 50 < (y[:, 0] == 0).sum().item() < 150


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    kuai.manual_seed(0)
    y = F.alpha_dropout(kuai.randn(300, 300), 0.2, training=True)
    assert y.mean().item() == pytest.approx(0, abs=0.02)
    assert y.std().item() == pytest.approx(1, abs=0.02)


def test_inplace_dropout_changes_its_input() -> None:
    x = kuai.ones(20)
    assert F.dropout(x, 0.5, inplace=True) is x
    assert set(x.tolist()) <= {0.0, 2.0}


def test_gumbel_softmax_chooses_one_class_and_passes_a_gradient() -> None:
    kuai.manual_seed(0)
    logits = kuai.tensor([[0.0, 3.0, 0.0]]).expand(500, 3).clone().requires_grad_()
    chosen = F.gumbel_softmax(logits, hard=True)
    assert chosen.sum(-1).tolist() == pytest.approx([1] * 500)
    assert chosen[:, 1].mean().item() == pytest.approx(math.e**3 / (math.e**3 + 2), abs=0.05)
    chosen[:, 0].sum().backward()
    assert logits.grad.abs().sum().item() > 0


def test_randomised_relu_draws_its_slopes_from_the_range() -> None:
    y = F.rrelu(-kuai.ones(1000), 0.1, 0.3, training=True)
    assert -0.3 <= y.min().item() < -0.28
    assert -0.12 < y.max().item() <= -0.1


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.Linear(4, 2)(kuai.ones(3, 5)), ShapeError, "last dimension is 5"),
        (lambda: nn.Linear(4, 2)(kuai.ones(3, 4).long()), DtypeError, "int64"),
        (lambda: nn.Embedding(3, 2)(kuai.ones(2)), DtypeError, "float32"),
        (lambda: nn.Embedding(3, 2)(kuai.tensor([0, 3])), IndexError, "3 is not among the 3 rows"),
        (lambda: nn.Embedding(3, 2)(kuai.tensor([-1])), IndexError, "-1 is not among"),
        (lambda: nn.LayerNorm(4)(kuai.ones(3, 5)), ShapeError, r"\[\*, 4\]"),
        (
            lambda: nn.CrossEntropyLoss()(kuai.ones(1, 3), kuai.tensor([3])),
            IndexError,
            "Target 3 is out of bounds",
        ),
        (
            lambda: nn.CrossEntropyLoss()(kuai.ones(1, 3), kuai.tensor([1.0])),
            DtypeError,
            "float32",
        ),
        (lambda: nn.GELU()(kuai.tensor([1])), DtypeError, "floating-point"),
        (lambda: nn.Softmax2d()(kuai.ones(2, 2)), ShapeError, "3D or 4D"),
        (lambda: nn.Unflatten(1, 4), TypeError, "tuple of ints"),
        (lambda: nn.Dropout(1.5), ValueError, "between 0 and 1"),
        (lambda: nn.GroupNorm(2, 3), ValueError, "divisible"),
        (lambda: nn.TripletMarginLoss(margin=0), ValueError, "greater than 0"),
    ],
)
def test_wrong_input_says_what_is_wrong(call: object, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()  # type: ignore[operator]


def test_losses_of_different_shapes_warn() -> None:
    with pytest.warns(UserWarning, match="different to the input size"):
        F.mse_loss(kuai.ones(3, 1), kuai.ones(3))


def test_weights_of_a_loss_are_buffers() -> None:
    loss = nn.CrossEntropyLoss(weight=kuai.ones(3))
    assert list(loss.state_dict()) == ["weight"]
    assert not list(loss.parameters())
