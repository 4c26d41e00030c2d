"""The functions of `nn.functional` against PyTorch's: results, gradients, types and errors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import kuai  # noqa: E402
from tests.parity.compare import assert_same, tolerances  # noqa: E402
from tests.parity.convert import Converter  # noqa: E402

TF = torch.nn.functional
KF = kuai.nn.functional
INF, NAN = math.inf, math.nan
EDGES = [-INF, -200.0, -6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0, 200.0, INF, NAN]


def check(name: str, *args: Any, gradients: bool = True, **kwargs: Any) -> None:
    """Compares the result of one call, and the gradients of all floating arguments."""
    made = [
        x.detach().clone().requires_grad_(gradients and x.is_floating_point())
        if isinstance(x, torch.Tensor)
        else x
        for x in args
    ]
    convert = Converter(kuai)
    ours_in, ours_kw = convert(made), convert(kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(TF, name)(*made, **kwargs)
        ours = getattr(KF, name)(*ours_in, **ours_kw)
    table = tolerances()
    assert_same(ours, theirs, table)
    assert ours.requires_grad == theirs.requires_grad
    if not theirs.requires_grad:
        return
    seed = torch.linspace(0.5, 1.5, max(theirs.numel(), 1), dtype=theirs.dtype)
    seed = seed[: theirs.numel()].reshape(theirs.shape)
    theirs.backward(seed)
    ours.backward(Converter(kuai)(seed))
    for i, (x, y) in enumerate(zip(ours_in, made, strict=True)):
        if isinstance(y, torch.Tensor) and y.requires_grad:
            assert_same(x.grad, y.grad, table, where=f"gradient of argument {i}")


def randn(*shape: int, dtype: Any = torch.float64) -> Any:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape) + 7))


def rand(*shape: int, dtype: Any = torch.float64) -> Any:
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(sum(shape) + 3))


def classes(*shape: int, count: int = 4) -> Any:
    generator = torch.Generator().manual_seed(11)
    return torch.randint(0, count, shape, generator=generator)


ACTIVATIONS: list[tuple[str, dict[str, Any]]] = [
    ("relu", {}),
    ("relu6", {}),
    ("leaky_relu", {"negative_slope": 0.2}),
    ("rrelu", {}),
    ("threshold", {"threshold": 0.5, "value": 7.0}),
    ("hardtanh", {"min_val": -1.0, "max_val": 3.0}),
    ("hardsigmoid", {}),
    ("hardswish", {}),
    ("hardshrink", {"lambd": 1.0}),
    ("softshrink", {"lambd": 1.0}),
    ("tanhshrink", {}),
    ("softsign", {}),
    ("softplus", {"beta": 2.0, "threshold": 5.0}),
    ("softplus", {}),
    ("logsigmoid", {}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("elu", {"alpha": 1.5}),
    ("celu", {"alpha": 1.5}),
    ("selu", {}),
    ("gelu", {}),
    ("gelu", {"approximate": "tanh"}),
    ("silu", {}),
    ("mish", {}),
    ("glu", {}),
]


@pytest.mark.parametrize(("name", "options"), ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_an_activation_and_its_gradient(name: str, options: dict[str, Any], dtype: str) -> None:
    x = (randn(3, 4, 6) * 3).to(getattr(torch, dtype))
    check(name, x, gradients=x.dtype.itemsize > 2, **options)


# PyTorch's gelu by tanh has no limit at infinity, only the sign of a NaN; relu's is its own choice.
@pytest.mark.parametrize(
    ("name", "options"), [a for a in ACTIVATIONS if a[0] not in ("glu", "relu")]
)
def test_an_activation_at_its_bends_and_at_infinity(name: str, options: dict[str, Any]) -> None:
    check(name, torch.tensor(EDGES, dtype=torch.float64), **options)


@pytest.mark.parametrize(
    "name",
    [
        "relu",
        "relu6",
        "leaky_relu",
        "hardtanh",
        "hardsigmoid",
        "hardswish",
        "elu",
        "celu",
        "selu",
        "silu",
        "mish",
    ],
)
def test_an_activation_in_place_changes_its_input(name: str) -> None:
    x = randn(4, 5)
    theirs, ours = x.clone(), Converter(kuai)(x)
    getattr(TF, name)(theirs, inplace=True)
    assert getattr(KF, name)(ours, inplace=True) is ours
    assert_same(ours, theirs, tolerances())


@pytest.mark.parametrize("shape", [(1,), (3,)])
def test_prelu_with_one_weight_and_with_one_a_channel(shape: tuple[int, ...]) -> None:
    check("prelu", randn(2, 3, 4), rand(*shape))


@pytest.mark.parametrize("name", ["softmax", "softmin", "log_softmax"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_along_each_dimension(name: str, dim: int) -> None:
    check(name, randn(3, 4, 5) * 20, dim=dim)
    check(name, randn(3, 4, 5, dtype=torch.float32), dim=dim, dtype=torch.float64)
    check(name, randn(3, 4, 5).half(), dim=dim, gradients=False)
    check(name, randn(3, 0, 5), dim=dim)


@pytest.mark.parametrize("name", ["softmax", "softmin", "log_softmax"])
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_softmax_without_dim_warns_and_chooses_as_pytorch_does(name: str, ndim: int) -> None:
    x = randn(*range(2, 2 + ndim))
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        ours = getattr(KF, name)(Converter(kuai)(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same(ours, getattr(TF, name)(x), tolerances())


@pytest.mark.parametrize("batch", [(), (5,), (2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_bilinear_with_any_batch(batch: tuple[int, ...], bias: bool) -> None:
    check("linear", randn(*batch, 4), randn(3, 4), randn(3) if bias else None)
    check(
        "bilinear", randn(*batch, 4), randn(*batch, 2), randn(3, 4, 2), randn(3) if bias else None
    )


LOSSES: list[tuple[str, Callable[[], tuple[Any, ...]], dict[str, Any]]] = [
    ("mse_loss", lambda: (randn(3, 4), randn(3, 4) * 2), {}),
    ("mse_loss", lambda: (randn(3, 4), randn(3, 4) * 2), {"weight": rand(3, 4)}),
    ("l1_loss", lambda: (randn(3, 4), randn(3, 4) * 2), {}),
    ("smooth_l1_loss", lambda: (randn(3, 4), randn(3, 4) * 3), {"beta": 0.5}),
    ("smooth_l1_loss", lambda: (randn(3, 4), randn(3, 4) * 3), {"beta": 0.0}),
    ("huber_loss", lambda: (randn(3, 4), randn(3, 4) * 3), {"delta": 0.5}),
    ("kl_div", lambda: (randn(3, 4), rand(3, 4)), {}),
    ("kl_div", lambda: (randn(3, 4), randn(3, 4)), {"log_target": True}),
    ("poisson_nll_loss", lambda: (randn(3, 4), rand(3, 4) * 4), {"full": True}),
    ("poisson_nll_loss", lambda: (rand(3, 4), rand(3, 4) * 4), {"log_input": False}),
    ("gaussian_nll_loss", lambda: (randn(3, 4), randn(3, 4), rand(3, 4)), {"full": True}),
    ("gaussian_nll_loss", lambda: (randn(3, 4), randn(3, 4), rand(3)), {"eps": 0.5}),
    ("gaussian_nll_loss", lambda: (randn(3, 4), randn(3, 4), 0.5), {}),
    ("binary_cross_entropy", lambda: (rand(3, 4), rand(3, 4)), {"weight": rand(4)}),
    ("binary_cross_entropy_with_logits", lambda: (randn(3, 4) * 9, rand(3, 4)), {}),
    (
        "binary_cross_entropy_with_logits",
        lambda: (randn(3, 4), rand(3, 4)),
        {"pos_weight": rand(4) * 3, "weight": rand(3, 4)},
    ),
    ("soft_margin_loss", lambda: (randn(3, 4),), {"target": randn(3, 4).sign()}),
    ("multilabel_soft_margin_loss", lambda: (randn(3, 4), rand(3, 4)), {"weight": rand(4)}),
    (
        "multilabel_margin_loss",
        lambda: (randn(2, 4), torch.tensor([[3, 0, -1, 1], [-1, 2, 2, 2]])),
        {},
    ),
    ("multi_margin_loss", lambda: (randn(3, 4), classes(3)), {"p": 2, "weight": rand(4)}),
    ("multi_margin_loss", lambda: (randn(4), classes()), {"margin": 0.5}),
    ("hinge_embedding_loss", lambda: (randn(3, 4), randn(3, 4).sign()), {"margin": 0.5}),
    (
        "cosine_embedding_loss",
        lambda: (randn(3, 4), randn(3, 4) + 1, torch.tensor([1, -1, 1])),
        {"margin": 0.1},
    ),
    (
        "margin_ranking_loss",
        lambda: (randn(5), randn(5) * 2, torch.tensor([1.0, -1, 1, -1, 1])),
        {"margin": 0.1},
    ),
    ("triplet_margin_loss", lambda: (randn(3, 4), randn(3, 4) + 1, randn(3, 4) * 2), {}),
    (
        "triplet_margin_loss",
        lambda: (randn(3, 4), randn(3, 4) + 1, randn(3, 4) * 2),
        {"swap": True, "p": 1, "margin": 2.0},
    ),
    ("triplet_margin_with_distance_loss", lambda: (randn(4), randn(4) + 1, randn(4) * 2), {}),
    ("nll_loss", lambda: (randn(3, 4), classes(3)), {}),
    ("nll_loss", lambda: (randn(3, 4, 2), classes(3, 2)), {"weight": rand(4), "ignore_index": 1}),
    ("nll_loss", lambda: (randn(4), classes()), {}),
    ("cross_entropy", lambda: (randn(3, 4) * 30, classes(3)), {}),
    ("cross_entropy", lambda: (randn(3, 4), classes(3).byte()), {}),
    ("cross_entropy", lambda: (randn(4), classes()), {"label_smoothing": 0.2}),
    (
        "cross_entropy",
        lambda: (randn(3, 4, 2, 5), classes(3, 2, 5)),
        {"weight": rand(4), "ignore_index": 2, "label_smoothing": 0.3},
    ),
    ("cross_entropy", lambda: (randn(3, 4, 2), rand(3, 4, 2)), {"label_smoothing": 0.3}),
    ("cross_entropy", lambda: (randn(3, 4), rand(3, 4)), {"weight": rand(4)}),
    ("cross_entropy", lambda: (randn(4), rand(4)), {}),
    ("cross_entropy", lambda: (randn(3, 4), torch.tensor([-100, 1, -100])), {}),
    ("cross_entropy", lambda: (randn(0, 4), classes(0)), {}),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "arguments", "options"), LOSSES)
def test_a_loss_and_its_gradients(
    name: str, arguments: Callable[[], tuple[Any, ...]], options: dict[str, Any], reduction: str
) -> None:
    check(name, *arguments(), reduction=reduction, **options)


@pytest.mark.parametrize(
    ("average", "reduce"), [(True, None), (False, None), (None, False), (True, True)]
)
def test_the_deprecated_reduction_arguments_mean_what_they_did(
    average: bool | None, reduce: bool | None
) -> None:
    check("mse_loss", randn(3), randn(3) * 2, size_average=average, reduce=reduce)
    check("cross_entropy", randn(3, 4), classes(3), size_average=average, reduce=reduce)


def test_binary_cross_entropy_at_certainty() -> None:
    x = torch.tensor([0.0, 0.0, 1.0, 1.0, 1e-30])
    y = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])
    theirs, ours = x.clone().requires_grad_(), Converter(kuai)(x).requires_grad_()
    expected = TF.binary_cross_entropy(theirs, y, reduction="none")
    actual = KF.binary_cross_entropy(ours, Converter(kuai)(y), reduction="none")
    assert_same(actual, expected, tolerances())
    expected.sum().backward()
    actual.sum().backward()
    assert_same(ours.grad, theirs.grad, tolerances())


def test_an_ignored_element_counts_for_nothing_even_where_the_input_is_infinite() -> None:
    x = torch.tensor([[-INF, 0.0], [0.5, 0.5]], dtype=torch.float64)
    check("nll_loss", x, torch.tensor([0, 1]), ignore_index=0)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3)])
def test_layer_norm_and_rms_norm(shape: tuple[int, ...]) -> None:
    x = randn(5, *shape) * 3
    check("layer_norm", x, shape, rand(*shape), randn(*shape))
    check("layer_norm", x, shape[-1:], None, None, eps=0.1)
    check("rms_norm", x, shape, rand(*shape))
    check("rms_norm", x, shape, None, 0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norms_of_half_precision_round_once(dtype: Any) -> None:
    x = randn(5, 8).to(dtype)
    check("layer_norm", x, (8,), rand(8).to(dtype), randn(8).to(dtype), gradients=False)
    check("rms_norm", x, (8,), rand(8).to(dtype), gradients=False)


def test_group_norm_and_local_response_norm() -> None:
    check("group_norm", randn(2, 6, 4), 3, rand(6), randn(6))
    check("group_norm", randn(2, 6, 4, 3), 2)
    check("local_response_norm", randn(2, 6, 4), 3, 0.5, 0.75, 2.0)
    check("local_response_norm", randn(2, 6, 4, 3), 4)


def test_normalize_and_distances() -> None:
    check("normalize", randn(3, 4))
    check("normalize", randn(3, 4), p=1.0, dim=0)
    check("cosine_similarity", randn(3, 4), randn(3, 4) * 2)
    check("cosine_similarity", randn(3, 4), randn(1, 4), dim=0)
    check("pairwise_distance", randn(3, 4), randn(3, 4) * 2, keepdim=True)
    check("pairwise_distance", randn(3, 4), randn(4), p=1.0)
    check("pdist", randn(4, 3))


@pytest.mark.parametrize(
    ("shape", "padding", "mode"),
    [
        ((2, 3), (1, 2), "constant"),
        ((2, 3, 4), (1, -1, 0, 2, -1, 0), "constant"),
        ((2, 0, 3), (1, 1), "constant"),
        ((2, 3, 5), (2, 3), "reflect"),
        ((2, 3, 4, 5), (2, 3, 1, -1), "reflect"),
        ((3, 4, 5), (7, 0, 1, 2), "replicate"),
        ((1, 2, 3, 4, 5), (1, 2, 3, 0, 1, 1), "replicate"),
        ((2, 3, 5), (5, 2), "circular"),
        ((1, 2, 4, 4), (-1, 1, -2, 1), "circular"),
    ],
)
def test_padding_in_every_mode(shape: tuple[int, ...], padding: tuple[int, ...], mode: str) -> None:
    check("pad", randn(*shape), padding, mode)


def test_padding_keeps_the_type() -> None:
    check("pad", torch.arange(6).reshape(2, 3), (1, 1), value=7)
    check("pad", torch.tensor([True, False]), (1, 1), value=True)


def test_shuffles() -> None:
    check("pixel_shuffle", randn(2, 8, 3, 2), 2)
    check("pixel_unshuffle", randn(8, 4, 6), 2)
    check("channel_shuffle", randn(2, 6, 4), 3)


def test_embedding_and_the_gradient_of_its_table() -> None:
    indices = torch.tensor([[1, 2, 1], [0, 3, 3]])
    check("embedding", indices, randn(4, 3))
    check("embedding", indices.int(), randn(4, 3), padding_idx=1)
    check("embedding", indices, randn(4, 3), padding_idx=-1, scale_grad_by_freq=True)
    check("embedding", torch.tensor(2), randn(4, 3))
    check("embedding", indices, randn(4, 3) * 3, max_norm=1.0, gradients=False)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag_of_fixed_and_of_varying_size(mode: str) -> None:
    flat, offsets = torch.tensor([1, 2, 0, 3, 3, 1]), torch.tensor([0, 2, 2, 5])
    check("embedding_bag", flat.reshape(2, 3), randn(4, 3), mode=mode)
    check("embedding_bag", flat, randn(4, 3), offsets, mode=mode)
    check("embedding_bag", flat, randn(4, 3), offsets, mode=mode, padding_idx=3)
    check(
        "embedding_bag",
        flat,
        randn(4, 3),
        torch.tensor([0, 4, 6]),
        mode=mode,
        include_last_offset=True,
    )


def test_embedding_bag_with_weights() -> None:
    indices = torch.tensor([[1, 2], [3, 3]])
    check("embedding_bag", indices, randn(4, 3), mode="sum", per_sample_weights=rand(2, 2))


def test_one_hot() -> None:
    check("one_hot", torch.tensor([[0, 2], [1, 0]]))
    check("one_hot", torch.tensor([0, 2]), 5)
    check("one_hot", torch.tensor(1), 3)


def test_attention_with_every_kind_of_mask() -> None:
    q, k, v = randn(2, 3, 4, 8), randn(2, 3, 5, 8), randn(2, 3, 5, 6)
    allowed = rand(4, 5) > 0.5
    allowed[0] = False
    check("scaled_dot_product_attention", q, k, v)
    check("scaled_dot_product_attention", q, k, v, allowed)
    check("scaled_dot_product_attention", q, k, v, randn(2, 1, 4, 5), scale=0.5)
    check("scaled_dot_product_attention", q, k, v, is_causal=True)
    check("scaled_dot_product_attention", q, k[:, :1], v[:, :1], enable_gqa=True)


WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("linear", (torch.ones(2, 3), torch.ones(3, 2)), {}),
    ("linear", (torch.ones(2, 2, dtype=torch.int64), torch.ones(3, 2)), {}),
    ("embedding", (torch.tensor([1.0]), torch.ones(3, 2)), {}),
    ("embedding", (torch.tensor([3]), torch.ones(3, 2)), {}),
    ("embedding", (torch.tensor([-1]), torch.ones(3, 2)), {}),
    ("embedding", (torch.tensor([1]), torch.ones(3)), {}),
    ("embedding", (torch.tensor([1]), torch.ones(3, 2)), {"padding_idx": 3}),
    ("cross_entropy", (torch.ones(3, 4), torch.tensor([0, 1])), {}),
    ("cross_entropy", (torch.ones(3, 4), torch.tensor([0, 1, 7])), {}),
    ("cross_entropy", (torch.ones(3, 4), torch.tensor([0, 1, 1]).int()), {}),
    ("cross_entropy", (torch.ones(3, 4, 5), torch.zeros(3, 6).long()), {}),
    ("cross_entropy", (torch.ones(3, 4), torch.zeros(3, 4).long()), {}),
    ("cross_entropy", (torch.ones(3, 4), torch.zeros(3, 4)), {"ignore_index": 1}),
    ("cross_entropy", (torch.ones(3, 4), torch.zeros(3).long()), {"label_smoothing": 1.5}),
    ("cross_entropy", (torch.ones(3, 4), torch.zeros(3).long()), {"weight": torch.ones(3)}),
    ("cross_entropy", (torch.ones(3, 4), torch.zeros(3).long()), {"reduction": "foo"}),
    ("binary_cross_entropy", (torch.tensor([1.5]), torch.tensor([1.0])), {}),
    ("binary_cross_entropy", (torch.tensor([0.5]), torch.tensor([1])), {}),
    ("binary_cross_entropy", (torch.tensor([0.5]), torch.tensor([1.0, 0.0])), {}),
    ("mse_loss", (torch.ones(2), torch.ones(3)), {}),
    ("huber_loss", (torch.ones(2), torch.ones(2)), {"delta": 0.0}),
    ("smooth_l1_loss", (torch.ones(2), torch.ones(2)), {"beta": -1.0}),
    ("layer_norm", (torch.ones(2, 3), (4,)), {}),
    ("layer_norm", (torch.ones(2, 3), (3,), torch.ones(2)), {}),
    ("group_norm", (torch.ones(2, 3), 2), {}),
    ("group_norm", (torch.ones(1, 2), 2), {}),
    ("softmax", (torch.tensor([1]), 0), {}),
    ("softmax", (torch.ones(2), 3), {}),
    ("elu", (torch.tensor([1]),), {}),
    ("gelu", (torch.ones(2),), {"approximate": "x"}),
    ("glu", (torch.ones(3),), {}),
    ("dropout", (torch.ones(3), 1.5), {}),
    ("one_hot", (torch.tensor([1.0]),), {}),
    ("one_hot", (torch.tensor([-1]),), {}),
    ("one_hot", (torch.tensor([3]), 2), {}),
    ("pad", (torch.ones(2, 3), (1,)), {}),
    ("pad", (torch.ones(2, 3, 4), (4, 4), "reflect"), {}),
    ("pad", (torch.ones(2, 3, 4), (5, 5), "circular"), {}),
    ("pad", (torch.ones(2, 3, 4), (1, 1), "foo"), {}),
    ("pad", (torch.ones(2, 3, 4), (1, 1), "reflect", 1.0), {}),
    ("pad", (torch.ones(3), (1, 1), "reflect"), {}),
    ("triplet_margin_loss", (torch.ones(2), torch.ones(2), torch.ones(2)), {"margin": 0.0}),
    ("multi_margin_loss", (torch.ones(2, 3), torch.tensor([0, 3])), {}),
    ("multi_margin_loss", (torch.ones(2, 3), torch.tensor([0, 1])), {"p": 3}),
    ("cosine_embedding_loss", (torch.ones(2, 3), torch.ones(2, 3), torch.ones(2, 2)), {}),
    ("gaussian_nll_loss", (torch.ones(2), torch.ones(2), -torch.ones(2)), {}),
    ("pixel_shuffle", (torch.ones(1, 3, 2, 2), 2), {}),
]


@pytest.mark.parametrize(("name", "arguments", "options"), WRONG)
def test_wrong_arguments_raise_an_error_of_pytorchs_class(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception) as theirs:
            getattr(TF, name)(*arguments, **options)
        expected = theirs.type
        if expected is NotImplementedError and "not implemented for" in str(theirs.value):
            expected = RuntimeError  # its base, and what PyTorch says of a type on other devices
        convert = Converter(kuai)
        with pytest.raises(expected):
            getattr(KF, name)(*convert(arguments), **convert(options))
