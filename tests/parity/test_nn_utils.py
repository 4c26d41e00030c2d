"""`nn.utils`: clipping, vectors of parameters, weight and spectral normalisation, as in PyTorch."""

from __future__ import annotations

import pytest

import kuai

torch = pytest.importorskip("torch")

GRADS = [[[3.0, -4.0], [0.5, 0.0]], [12.0, -1.0]]


def with_grads(lib):
    parameters = []
    for grad in GRADS:
        p = lib.nn.Parameter(lib.zeros(*lib.tensor(grad).shape))
        p.grad = lib.tensor(grad)
        parameters.append(p)
    return [*parameters, lib.nn.Parameter(lib.zeros(1))]


def same(actual, expected):
    assert str(actual.dtype).split(".")[1] == str(expected.dtype).split(".")[1]
    assert tuple(actual.shape) == tuple(expected.shape)
    assert actual.reshape(-1).tolist() == pytest.approx(
        expected.reshape(-1).tolist(), rel=1e-5, abs=1e-6
    )


@pytest.mark.parametrize("order", [2.0, 1.0, 3.5, 0.0, "inf", float("-inf")])
@pytest.mark.parametrize("limit", [0.1, 1.0, 100.0])
def test_gradients_are_clipped_to_a_norm(order, limit):
    mine, theirs = with_grads(kuai), with_grads(torch)
    same(
        kuai.nn.utils.clip_grad_norm_(mine, limit, order),
        torch.nn.utils.clip_grad_norm_(theirs, limit, order),
    )
    for p, q in zip(mine[:2], theirs[:2], strict=True):
        same(p.grad, q.grad)


def test_gradients_are_clipped_to_a_value():
    mine, theirs = with_grads(kuai), with_grads(torch)
    kuai.nn.utils.clip_grad_value_(mine, 1.5)
    torch.nn.utils.clip_grad_value_(theirs, 1.5)
    for p, q in zip(mine[:2], theirs[:2], strict=True):
        same(p.grad, q.grad)


@pytest.mark.parametrize("lib", [kuai, torch])
def test_clipping_takes_one_tensor_none_or_a_generator(lib):
    clip = lib.nn.utils.clip_grad_norm_
    p = with_grads(lib)[1]
    assert float(clip(p, 1.0)) == pytest.approx(145**0.5)
    assert float(clip([], 1.0)) == 0.0
    with pytest.warns(UserWarning, match="empty generator"):
        clip((p for p in []), 1.0)


@pytest.mark.parametrize("lib", [kuai, torch])
def test_a_norm_that_is_not_finite_can_be_an_error(lib):
    p = with_grads(lib)[1]
    p.grad[0] = float("nan")
    with pytest.raises(RuntimeError, match="non-finite"):
        lib.nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    lib.nn.utils.clip_grad_norm_(p, 1.0)


@pytest.mark.parametrize("lib", [kuai, torch])
def test_parameters_become_a_vector_and_come_back(lib):
    parameters = with_grads(lib)
    vector = lib.nn.utils.parameters_to_vector(parameters)
    assert tuple(vector.shape) == (7,)
    lib.nn.utils.vector_to_parameters(lib.arange(7.0), parameters)
    assert parameters[1].tolist() == [4.0, 5.0]
    with pytest.raises(TypeError):
        lib.nn.utils.vector_to_parameters([1.0], parameters)


def weighted(lib, values):
    class Weighted(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = lib.nn.Parameter(lib.tensor(values))

        def forward(self, x):
            return x @ self.weight

    return Weighted()


WEIGHT = [[1.0, 2.0, -3.0], [0.5, -1.0, 4.0]]


@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weight_norm_gives_the_same_weight_state_and_gradients(dim, new):
    results = []
    for lib in (kuai, torch):
        utils = lib.nn.utils
        block = weighted(lib, WEIGHT)
        (utils.parametrizations.weight_norm if new else utils.weight_norm)(block, dim=dim)
        (block(lib.ones(1, 2)) ** 2).sum().backward()
        results.append(block)
    mine, theirs = results
    same(mine.weight, theirs.weight)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
        same(p, q)
        assert p.grad.reshape(-1).tolist() == pytest.approx(
            q.grad.reshape(-1).tolist(), rel=1e-5, abs=1e-5
        )


@pytest.mark.parametrize("new", [True, False])
def test_spectral_norm_gives_the_same_weight_from_the_same_vectors(new):
    results = []
    for lib in (kuai, torch):
        utils = lib.nn.utils
        block = weighted(lib, WEIGHT)
        (utils.parametrizations.spectral_norm if new else utils.spectral_norm)(block)
        holder = block.parametrizations.weight[0] if new else block
        prefix = "" if new else "weight"
        with lib.no_grad():
            getattr(holder, f"{prefix}_u").copy_(lib.tensor([0.6, 0.8]))
            getattr(holder, f"{prefix}_v").copy_(lib.tensor([0.0, 0.6, 0.8]))
        out = block(lib.ones(1, 2))
        out.sum().backward()
        results.append((block, out))
    (mine, out), (theirs, expected) = results
    same(out.detach(), expected.detach())
    assert list(mine.state_dict()) == list(theirs.state_dict())
    (p,), (q,) = mine.parameters(), theirs.parameters()
    assert p.grad.reshape(-1).tolist() == pytest.approx(q.grad.reshape(-1).tolist(), rel=1e-4)


@pytest.mark.parametrize("name", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("values", [WEIGHT, [[1.0, 2.0], [0.5, -1.0]], [[1.0], [3.0], [2.0]]])
def test_orthogonal_maps_are_the_same_functions(name, values):
    results = []
    for lib in (kuai, torch):
        block = weighted(lib, values)
        orthogonal = lib.nn.utils.parametrizations.orthogonal
        orthogonal(block, orthogonal_map=name, use_trivialization=False)
        factors = lib.arange(float(block.weight.numel())).view_as(block.weight)
        (block.weight * factors).sum().backward()
        results.append(block)
    mine, theirs = results
    for p, q in (
        (mine.weight, theirs.weight),
        (mine.parametrizations.weight.original, theirs.parametrizations.weight.original),
        (
            mine.parametrizations.weight.original.grad,
            theirs.parametrizations.weight.original.grad,
        ),
    ):
        assert p.reshape(-1).tolist() == pytest.approx(q.reshape(-1).tolist(), rel=1e-4, abs=1e-5)
