"""Layers that PyTorch's own samples leave out, against PyTorch's."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import kuai  # noqa: E402
from tests.parity.compare import assert_same, tolerances  # noqa: E402
from tests.parity.convert import Converter  # noqa: E402


def test_an_adaptive_softmax_gives_the_log_probabilities_and_gradients_of_pytorch() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], div_value=2.0).double()
    ours = kuai.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10], div_value=2.0).double()
    convert = Converter(kuai)
    ours.load_state_dict(convert(dict(theirs.state_dict())))
    x, y = torch.randn(6, 8, dtype=torch.float64), torch.tensor([0, 3, 5, 11, 19, 4])
    table = tolerances()
    expected, actual = theirs(x, y), ours(convert(x), convert(y))
    assert_same(actual.output, expected.output, table)
    assert_same(ours.log_prob(convert(x)), theirs.log_prob(x), table)
    assert_same(ours.predict(convert(x)), theirs.predict(x), table)
    expected.loss.backward()
    actual.loss.backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_same(mine.grad, other.grad, table)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Linear", (4, 3)),
        ("Bilinear", (4, 3, 2)),
        ("Embedding", (5, 3, 1)),
        ("EmbeddingBag", (5, 3)),
        ("LayerNorm", ((2, 3),)),
        ("RMSNorm", (3,)),
        ("GroupNorm", (2, 4)),
        ("PReLU", (3,)),
        ("RReLU", ()),
        ("Hardtanh", (0, 2, True)),
        ("ReLU6", (True,)),
        ("GELU", ("tanh",)),
        ("Threshold", (1, 2.0)),
        ("Softplus", ()),
        ("Dropout", (0.2, True)),
        ("Flatten", ()),
        ("Unflatten", (1, (2, 3))),
        ("CosineSimilarity", ()),
        ("PairwiseDistance", ()),
        ("PixelShuffle", (2,)),
        ("ChannelShuffle", (2,)),
        ("ConstantPad1d", (2, 1.5)),
        ("ZeroPad2d", (1,)),
        ("CircularPad2d", ((1, 2, 3, 4),)),
        ("MultiheadAttention", (4, 2)),
        ("Transformer", (4, 2, 1, 1, 8)),
        ("LazyLinear", (3,)),
        ("Softmax", (1,)),
        ("LocalResponseNorm", (2,)),
        ("Upsample", (None, 2, "bilinear")),
        ("UpsamplingNearest2d", (3,)),
        ("Fold", ((4, 5), 3, 1, 0, 2)),
        ("Unfold", ((2, 3),)),
        ("MaxUnpool1d", (2,)),
        ("MaxUnpool2d", (2, 1, 1)),
        ("LPPool2d", (2, 3)),
        ("FractionalMaxPool2d", (2, None, 0.5)),
        ("CTCLoss", (1,)),
    ],
)
def test_a_layer_has_the_text_and_the_attributes_of_pytorch(
    name: str, arguments: tuple[object, ...]
) -> None:
    theirs, ours = getattr(torch.nn, name)(*arguments), getattr(kuai.nn, name)(*arguments)
    assert repr(ours) == repr(theirs)
    assert list(dict(ours.named_parameters())) == list(dict(theirs.named_parameters()))
    for attribute, value in vars(theirs).items():
        if not attribute.startswith("_"):
            assert getattr(ours, attribute) == value
