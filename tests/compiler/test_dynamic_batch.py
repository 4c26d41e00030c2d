"""One program for any size of the first dimension."""

import copy

import numpy as np
import pytest

import kuai
import kuai.nn.functional as F
from kuai import nn

BATCHES = (7, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 48, 64, 70, 100, 257)


def close(mine, theirs):
    mine, theirs = (x if isinstance(x, tuple) else (x,) for x in (mine, theirs))
    for x, y in zip(mine, theirs, strict=True):
        a, b = x.detach().numpy(), y.detach().numpy()
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def templates(compiled):
    return [t for ts in compiled._compiled.any_batch.templates.values() for t in ts]


def all_sized(compiled):
    programs = compiled._compiled.programs.values()
    assert not compiled._compiled.any_batch.refused
    return bool(programs) and all(p.code.batch is not None for p in programs)


def equal_for_all(f, *shapes, batches=BATCHES, most=1):
    compiled = kuai.compile(f, dynamic_batch=True)
    for b in batches:
        args = [kuai.randn(b, *shape) for shape in shapes]
        close(compiled(*args), f(*args))
    assert all_sized(compiled)
    assert len(templates(compiled)) <= most
    return compiled


class TestOperations:
    def test_elementwise(self):
        equal_for_all(lambda x: (x * 2 + 1).relu() / x.exp(), (5,))

    def test_two_arguments(self):
        equal_for_all(lambda x, y: x + y.sum(-1, keepdim=True), (5,), (3,))

    def test_reductions_over_the_batch(self):
        equal_for_all(lambda x: (x.mean(), x.mean(0), x.sum(0), x.max(), x.std()), (5,))

    def test_reductions_of_a_vector(self):
        equal_for_all(lambda x: (x.sum(), x.mean(), x.amax(), x.prod()), ())

    def test_random_numbers_are_those_of_eager(self):
        def f(x):
            return F.dropout(x, 0.5) + kuai.rand_like(x), kuai.randn(x.shape[0], 3)

        compiled = kuai.compile(f, dynamic_batch=True)
        for b in BATCHES:
            x = kuai.randn(b, 9)
            kuai.manual_seed(b)
            mine = compiled(x)
            kuai.manual_seed(b)
            close(mine, f(x))

    def test_order(self):
        # Sorting across the batch takes as many rounds as its size has bits.
        equal_for_all(
            lambda x: (x.sort(1)[0], x.sort(0)[0], x.argmax(0), x.topk(2, 1)[0], x.median(1)[0]),
            (9,),
            most=6,
        )

    def test_changes_in_place(self):
        def f(x):
            y = kuai.zeros_like(x)
            y[:, 0] = x[:, 1]
            y[0] = 2
            y[1:] += x[:-1]
            return y

        equal_for_all(f, (9,), most=2)  # of a batch of 2, all rows but one are one row

    def test_kernels_of_numpy(self):
        equal_for_all(lambda x: kuai.linalg.inv(x @ x.transpose(1, 2) + 5 * kuai.eye(4)), (4, 4))

    def test_softmax_along_and_across(self):
        equal_for_all(lambda x: (x.softmax(-1), x.log_softmax(1), x.softmax(0)), (10,))

    @pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32", "int64"])
    def test_the_size_as_a_number_of_each_type(self, dtype):
        dtype = getattr(kuai, dtype)

        def f(x):
            x = x.to(dtype)
            found = x * x.shape[0], x + x.size(0), x.sum(0) / x.shape[0]
            return tuple(y.double() for y in found)

        compiled = kuai.compile(f, dynamic_batch=True)
        for b in BATCHES[:-1]:  # a size of 257 is no bfloat16
            x = kuai.randn(b, 3) * 4
            close(compiled(x), f(x))
        assert all_sized(compiled)

    def test_a_part_of_the_batch(self):
        equal_for_all(lambda x: x * (0.25 * x.shape[0]) + x.shape[0] / 8, (6,))
        tenth = kuai.compile(lambda x: x * (0.1 * x.shape[0]), dynamic_batch=True)
        for b in (2, 5, 3, 7):
            x = kuai.randn(b, 3)
            close(tenth(x), x * (0.1 * b))

    def test_variance_divides_by_one_less(self):
        equal_for_all(lambda x: (x.var(0), x.std(0), x.var()), (6,))

    @pytest.mark.parametrize(
        "f",
        [
            lambda x: kuai.stack([x, x + 1]),
            lambda x: kuai.cat([x, x * 2], 1),
            lambda x: kuai.cat([x, x * 2], 0),
            lambda x: x.flip(0),
            lambda x: (x[1:], x[:-1] * 2),
            lambda x: x.cumsum(1),
            lambda x: x.t().contiguous(),
            lambda x: x.view(x.shape[0] * 4, 3).sum(1),
            lambda x: x.reshape(-1, 4).transpose(0, 1) * 2,
            lambda x: x.view(x.size(0), 3, 4).permute(2, 0, 1).exp(),
            lambda x: kuai.zeros(x.shape[0], 2) + x[:, :2],
        ],
        ids=range(11),
    )
    def test_movement(self, f):
        equal_for_all(f, (12,), most=2)

    def test_indices_are_checked_for_each_size(self):
        def f(x, i):
            return x[kuai.arange(0, 4), i[:4]], F.one_hot(i, 12).float()

        compiled = kuai.compile(lambda x, i: x.gather(1, i), dynamic_batch=True)
        for b in (3, 8, 33):
            x, i = kuai.randn(b, 6), kuai.tensor(np.arange(2 * b).reshape(b, 2) % 6)
            close(compiled(x, i), x.gather(1, i))
        with pytest.raises((IndexError, RuntimeError)):
            compiled(kuai.randn(5, 6), kuai.full((5, 2), 6))
        assert all_sized(compiled)


class TestProducts:
    def test_rows_of_the_batch(self):
        weight = kuai.randn(20, 33)
        equal_for_all(lambda x: (x @ weight).relu(), (20,))

    def test_sums_over_the_batch(self):
        equal_for_all(lambda x, y: x.t() @ y, (20,), (33,))

    def test_one_column(self):
        weight = kuai.randn(20, 1)
        equal_for_all(lambda x: x @ weight, (20,))

    def test_rows_and_columns_of_the_batch(self):
        equal_for_all(lambda x: (x @ x.t()).sum(1), (20,))

    def test_gradients_of_products_of_all_rows_with_all(self):
        def f(x):
            return (x @ x.t()).tanh().sum()

        compiled = kuai.compile(f, dynamic_batch=True)
        for b in BATCHES:
            x, y = (kuai.ones(b, 5, dtype=kuai.float64) for _ in range(2))
            with kuai.no_grad():
                x += kuai.arange(b, dtype=kuai.float64)[:, None] / b
                y.copy_(x)
            compiled(x.requires_grad_()).backward()
            f(y.requires_grad_()).backward()
            close(x.grad, y.grad)
        assert all_sized(compiled)

    def test_a_matrix_for_each_of_the_batch(self):
        equal_for_all(lambda x, y: x @ y, (5, 7), (7, 6))

    def test_dot_product_over_the_batch(self):
        equal_for_all(lambda x, y: x @ y, (), ())

    @pytest.mark.parametrize("size", [17, 100, 256, 300, 1000, 2000])
    def test_large_ones_in_panels(self, size):
        weight = kuai.randn(784, 256)
        f = kuai.compile(lambda x, g: (x @ weight, g @ weight.t(), x.t() @ g), dynamic_batch=True)
        for b in (200, size):
            x, g = kuai.randn(b, 784) / 28, kuai.randn(b, 256) / 16
            for mine, theirs in zip(f(x, g), (x @ weight, g @ weight.t(), x.t() @ g), strict=True):
                np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-3, atol=1e-3)
        assert all_sized(f)


class Fixed(nn.Module):
    """The chapter's block with a constant weight, a shared layer and a loop."""

    def __init__(self):
        super().__init__()
        self.constant = kuai.rand(20, 20)
        self.linear = nn.Linear(20, 20)

    def forward(self, X):
        X = self.linear(X)
        X = F.relu(kuai.mm(X, self.constant) + 1)
        X = self.linear(X)
        while X.abs().sum() > 1:
            X /= 2
        return X.sum()


class Recurrent(nn.Module):
    """A cell that walks along rows."""

    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.LSTMCell(4, 8), nn.Linear(8, 10)

    def forward(self, x):
        state = kuai.zeros(x.shape[0], 8), kuai.zeros(x.shape[0], 8)
        for row in x.view(-1, 5, 4).unbind(1):
            state = self.cell(row, state)
        return self.out(state[0])


class Attending(nn.Module):
    """Attention of two heads over five positions."""

    def __init__(self):
        super().__init__()
        self.project, self.out = nn.Linear(4, 24), nn.Linear(40, 10)

    def forward(self, x):
        batch = x.shape[0]
        q, k, v = self.project(x.view(batch, 5, 4)).view(batch, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(found.transpose(1, 2).reshape(batch, 40))


def mlp():
    return nn.Sequential(nn.Linear(20, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 10))


def classes(b):
    return kuai.randn(b, 20), kuai.tensor(np.arange(b) % 10)


def numbers(b):
    return kuai.randn(b, 20), kuai.randn(b, 10)


STEPS = {
    "MLP, SGD": (mlp, kuai.optim.SGD, F.mse_loss, numbers),
    "MLP, Adam": (mlp, kuai.optim.Adam, F.cross_entropy, classes),
    "batch norm": (
        lambda: nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.Linear(16, 10)),
        kuai.optim.SGD,
        F.cross_entropy,
        classes,
    ),
    "convolution": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 4, 5)),
            nn.Conv2d(1, 3, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 10),
        ),
        kuai.optim.SGD,
        F.cross_entropy,
        classes,
    ),
    "recurrence": (Recurrent, kuai.optim.Adam, F.cross_entropy, classes),
    "attention": (Attending, kuai.optim.SGD, F.cross_entropy, classes),
    "loop": (Fixed, kuai.optim.SGD, lambda y, _: y, numbers),
    "dropout": (
        lambda: nn.Sequential(nn.Linear(20, 16), nn.Dropout(0.3), nn.Linear(16, 10)),
        kuai.optim.SGD,
        F.cross_entropy,
        classes,
    ),
}


class TestTraining:
    @pytest.mark.parametrize("name", STEPS)
    def test_a_step_equals_eager(self, name):
        make, optimizer, loss, data = STEPS[name]
        nets = [make()]
        nets.append(copy.deepcopy(nets[0]))
        steps = []
        for net in nets:
            steps.append(self.step(net, optimizer(net.parameters(), lr=1e-3), loss))
        compiled = kuai.compile(steps[0], dynamic_batch=True)
        for b in BATCHES:
            x, y = data(b)
            kuai.manual_seed(b)
            mine = compiled(x, y)
            kuai.manual_seed(b)
            close(mine, steps[1](x, y))
        for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-3, atol=1e-4)
        assert all_sized(compiled)
        assert len(templates(compiled)) == 1

    @staticmethod
    def step(net, optimizer, loss):
        def step(x, y):
            optimizer.zero_grad()
            found = loss(net(x), y)
            found.backward()
            optimizer.step()
            return found

        return step

    @pytest.mark.parametrize("make", [mlp, Fixed])
    def test_backward_outside(self, make):
        net = make()
        twin = copy.deepcopy(net)
        compiled = kuai.compile(net, dynamic_batch=True)
        for b in BATCHES:
            x = kuai.randn(b, 20, requires_grad=True)
            y = x.detach().clone().requires_grad_()
            for block, given in ((compiled, x), (twin, y)):
                block.zero_grad()
                block(given).sum().backward()
            close(x.grad, y.grad)
            for p, q in zip(net.parameters(), twin.parameters(), strict=True):
                np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-3, atol=1e-4)
        assert all_sized(compiled)


class TestHonest:
    def test_batches_of_0_and_1_have_programs_of_their_own(self):
        compiled = kuai.compile(lambda x: x * 2 + x.sum(0), dynamic_batch=True)
        for b in (0, 1, 5, 1, 0, 9):
            x = kuai.randn(b, 4)
            close(compiled(x), x * 2 + x.sum(0))
        found = [p.code.batch for p in compiled._compiled.programs.values()]
        assert sorted(found, key=str) == [5, 9, None, None]

    @pytest.mark.parametrize(
        "f",
        [
            lambda x: x[: x.shape[0] // 2].sum(0),
            lambda x: x * x.shape[0] ** 2,
            lambda x: x[::2] * 3,
            lambda x: x * len([n for n in range(2, x.shape[0]) if x.shape[0] % n == 0]),
        ],
        ids=range(4),
    )
    def test_what_is_no_line_over_the_batch_is_right(self, f):
        compiled = kuai.compile(f, dynamic_batch=True)
        for b in (*BATCHES, *range(2, 40)):
            x = kuai.randn(b, 4)
            close(compiled(x), f(x))

    def test_it_says_why(self, capsys):
        compiled = kuai.compile(lambda x: x[: x.shape[0] // 2] * 2, dynamic_batch=True)
        compiled(kuai.randn(6, 4))
        compiled.explain()
        assert "no program for batches of any size" in capsys.readouterr().out

    def test_one_size_may_differ(self):
        compiled = kuai.compile(lambda x: kuai.cat([x[:1], x[:-1]]) * 2, dynamic_batch=True)
        for b in (2, 7, 2, 9, 33):
            x = kuai.randn(b, 4)
            close(compiled(x), kuai.cat([x[:1], x[:-1]]) * 2)
        found = {p.code.batch for p in compiled._compiled.programs.values()}
        assert found >= {7, 9, 33}
        assert not compiled._compiled.any_batch.refused

    def test_a_branch_on_the_size(self):
        def f(x):
            return x * 2 if x.shape[0] > 20 else x.sum(0)

        compiled = kuai.compile(f, dynamic_batch=True)
        for b in BATCHES:
            x = kuai.randn(b, 4)
            close(compiled(x), f(x))
        assert len(templates(compiled)) == 2

    def test_a_slice_that_is_longer_than_some_batches(self):
        compiled = kuai.compile(lambda x: x[:10].sum(0), dynamic_batch=True)
        for b in BATCHES:
            x = kuai.randn(b, 4)
            close(compiled(x), x[:10].sum(0))

    def test_a_change_outside_is_noticed_for_every_size(self):
        net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        compiled = kuai.compile(net, dynamic_batch=True)
        x, y = kuai.randn(3, 4), kuai.randn(50, 4)
        compiled(x), compiled(y)
        net.eval()
        close(compiled(x), net[0](x))
        close(compiled(y), net[0](y))
        with kuai.no_grad():
            net[0].weight.mul_(2)
        close(compiled(y), net[0](y))
        net[0] = nn.Linear(4, 4, bias=False)
        close(compiled(x), net[0](x))
        close(compiled(kuai.ones(7, 4)), net[0](kuai.ones(7, 4)))

    def test_another_tensor_may_have_as_many_rows_by_chance(self):
        weight = kuai.randn(6, 4)
        compiled = kuai.compile(lambda x, w: x @ w.t(), dynamic_batch=True)
        for b in (6, 3, 6, 9, 12):
            x = kuai.randn(b, 4)
            close(compiled(x, weight), x @ weight.t())

    def test_the_batch_need_not_come_first(self):
        compiled = kuai.compile(lambda w, x: x @ w.t(), dynamic_batch=True)
        weight = kuai.randn(6, 4)
        for b in (9, 3, 12, 5, 33):
            x = kuai.randn(b, 4)
            close(compiled(weight, x), x @ weight.t())
        found = [p.code.batch for p in compiled._compiled.programs.values()]
        assert found[1:] == [3, 12, 5, 33]

    def test_the_program_that_is_shown_tells_of_the_batch(self, capsys):
        compiled = kuai.compile(lambda x: x * 2, dynamic_batch=True)
        compiled(kuai.randn(6, 4))
        compiled.explain("kernels")
        compiled.explain("llvm")
        shown = capsys.readouterr().out
        assert "nest over [B, 4]" in shown
        assert "%batch" in shown

    def test_messages_tell_of_the_batch_that_they_meet(self):
        compiled = kuai.compile(lambda x, i: x.gather(0, i), dynamic_batch=True)
        i = kuai.zeros(1, 6, dtype=kuai.int64)
        for b in (4, 30):
            x = kuai.randn(b, 6)
            close(compiled(x, i), x.gather(0, i))
            with pytest.raises(RuntimeError, match=f"size {b}"):
                compiled(x, i + b)
        assert all_sized(compiled)

    def test_many_sizes_take_the_native_way(self):
        compiled = kuai.compile(lambda x: x * 2, dynamic_batch=True)
        inputs = [kuai.randn(b, 3) for b in range(2, 60)]
        for x in inputs:
            compiled(x)
        before = list(compiled._compiled.programs)
        for x in inputs:
            close(compiled(x), x * 2)
        assert list(compiled._compiled.programs) == before  # Python would have moved them


class TestHint:
    def test_three_sizes_are_a_hint(self):
        compiled = kuai.compile(lambda x: (x * 2).sum(0))
        for b in (5, 9, 12, 20, 21):
            x = kuai.randn(b, 4)
            close(compiled(x), (x * 2).sum(0))
        found = [p.code.batch for p in compiled._compiled.programs.values()]
        assert found == [None, None, 12, 20, 21]
        assert len(templates(compiled)) == 1

    def test_other_differences_are_none(self):
        compiled = kuai.compile(lambda x: (x * 2).sum(0))
        for n in (5, 9, 12, 20):
            x = kuai.randn(4, n)
            close(compiled(x), (x * 2).sum(0))
        assert not templates(compiled)
