"""After a failed call of a compiled program everything is as it was before the call."""

import copy
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import kuai
import kuai as torch
from kuai import nn
from kuai.nn import functional as F

OPTIMIZERS = {
    "SGD": lambda p: kuai.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda p: kuai.optim.Adam(p, lr=0.1),
    "AdamW": lambda p: kuai.optim.AdamW(p, lr=0.1, amsgrad=True),
    "RMSprop": lambda p: kuai.optim.RMSprop(p, lr=0.1, momentum=0.5, centered=True),
    "Adagrad": lambda p: kuai.optim.Adagrad(p, lr=0.1),
}


def arrays_of(net, optimizer=None):
    """Everything that a step may change, as copies."""
    found = {f"parameter {n}": p._payload.copy() for n, p in net.named_parameters()}
    found |= {f"buffer {n}": b._payload.copy() for n, b in net.named_buffers()}
    for n, p in net.named_parameters():
        found[f"grad {n}"] = None if p.grad is None else p.grad._payload.copy()
        found[f"version {n}"] = p._version
    if optimizer is not None:
        for i, state in enumerate(optimizer.state.values()):
            for name, value in state.items():
                is_tensor = isinstance(value, kuai.Tensor)
                found[f"state {i} {name}"] = value._payload.copy() if is_tensor else value
    found["random"] = kuai.get_rng_state()._payload.copy()
    return found


def untouched(before, after):
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert (
            np.array_equal(value, after[name], equal_nan=True)
            if isinstance(value, np.ndarray)
            else value == after[name]
        ), name


class Net(nn.Module):
    """A table, running statistics, dropout and a head; it fails for an index out of range."""

    def __init__(self, width=6):
        super().__init__()
        norm = nn.BatchNorm1d(width)
        self.normed = nn.Sequential(nn.Linear(4, width), norm, nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(width, 3)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x, i):
        self.count += 1
        y = self.head(self.normed(x))
        return y[i]


def step_of(net, optimizer, accumulate=False):
    def step(x, i, y):
        if not accumulate:
            optimizer.zero_grad()
        loss = F.cross_entropy(net(x, i), y)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return step


def fails_whole(net, optimizer, step, good, bad):
    """A compiled step that fails changes nothing, and the next one goes well."""
    compiled = kuai.compile(step)
    for _ in range(2):
        compiled(*good)
    before = arrays_of(net, optimizer)
    for _ in range(3):
        with pytest.raises((IndexError, ArithmeticError, RuntimeError, ValueError)):
            compiled(*bad)
        untouched(before, arrays_of(net, optimizer))
    compiled(*good)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("width", "wrong"), [(6, "index"), (6, "target"), (500, "target")])
def test_a_failing_training_step_changes_nothing(name, accumulate, width, wrong):
    net = Net(width)
    optimizer = OPTIMIZERS[name](net.parameters())
    n = 8 if width < 100 else 200  # enough for several threads
    x, i, y = torch.rand(n, 4), torch.arange(n), torch.arange(n) % 3
    bad_i, bad_y = i.clone(), y.clone()
    (bad_i if wrong == "index" else bad_y)[5] = n
    step = step_of(net, optimizer, accumulate)
    fails_whole(net, optimizer, step, (x, i, y), (x, bad_i, bad_y))


def test_a_block_that_fails_after_its_statistics_changes_nothing():
    net = Net()
    x, i = torch.rand(8, 4), torch.arange(8)
    for grad in (True, False):
        with kuai.set_grad_enabled(grad):
            compiled = kuai.compile(net)
            compiled(x, i)
            before = arrays_of(net)
            with pytest.raises(IndexError):
                compiled(x, i + 1)
            untouched(before, arrays_of(net))


def test_the_step_after_a_failure_is_that_of_eager():
    eager = Net()
    net = copy.deepcopy(eager)
    good = torch.rand(8, 4), torch.arange(8), torch.arange(8) % 3
    bad = good[0], good[1] + 4, good[2]
    results = []
    for one, compile in ((eager, lambda f: f), (net, kuai.compile)):
        optimizer = OPTIMIZERS["Adam"](one.parameters())
        step = compile(step_of(one, optimizer))
        kuai.manual_seed(3)
        for fails in (False, False, True, False, True, False):
            state = copy.deepcopy(one.state_dict()), kuai.get_rng_state()
            if not fails:
                results.append(step(*good))
                continue
            with pytest.raises(IndexError):
                step(*bad)
            if one is eager:  # which has updated its statistics and drawn numbers by then
                one.load_state_dict(state[0])
                kuai.set_rng_state(state[1])
    half = len(results) // 2
    for a, b in zip(results[:half], results[half:], strict=True):
        assert kuai.allclose(a, b, rtol=1e-4)


class Loop(nn.Module):
    """Updates statistics in each round, and fails in one of them."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.dropout = nn.Dropout(0.2)
        self.register_buffer("rounds", torch.zeros(()))
        self.register_buffer("sum", torch.zeros(3))

    def forward(self, x, last):
        n = torch.zeros((), dtype=torch.int64)
        while n < last:
            x = self.dropout(self.layer(x)).tanh()
            self.rounds += 1
            self.sum += x.detach().sum(0)
            if n >= 5:
                raise ArithmeticError("the fifth round")
            n = n + 1
        return x.sum()


@pytest.mark.parametrize("grad", [True, False])
def test_a_failure_in_a_later_round_of_a_loop_changes_nothing(grad):
    net = Loop()
    x = torch.rand(2, 3)
    with kuai.set_grad_enabled(grad):
        compiled = kuai.compile(net)
        compiled(x, torch.tensor(3))
        before = arrays_of(net)
        for _ in range(2):
            with pytest.raises(ArithmeticError, match="the fifth round"):
                compiled(x, torch.tensor(9))
            untouched(before, arrays_of(net))


def test_a_training_step_that_fails_in_a_loop_changes_nothing():
    net = Loop()
    optimizer = OPTIMIZERS["AdamW"](net.parameters())

    def step(x, last):
        optimizer.zero_grad()
        loss = net(x, last)
        loss.backward()
        optimizer.step()
        return loss.detach()

    x = torch.rand(2, 3)
    good, bad = torch.tensor(3), torch.tensor(9)
    fails_whole(net, optimizer, step, (x, good), (x, bad))


class Looked(kuai.autograd.Function):
    """Its backward looks something up, out of range for large values."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 1

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * torch.ones(50)[x.detach().abs().long()]


class FailsBackward(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 4)

    def forward(self, x, scale):
        return self.last(Looked.apply(self.norm(self.first(x)) * scale)).sum()


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_failure_in_the_backward_part_changes_nothing(name, accumulate):
    net = FailsBackward()
    optimizer = OPTIMIZERS[name](net.parameters())

    def step(x, scale):
        if not accumulate:
            optimizer.zero_grad()
        loss = net(x, scale)
        loss.backward()
        optimizer.step()
        return loss.detach()

    x = torch.rand(3, 4)
    fails_whole(net, optimizer, step, (x, torch.ones(())), (x, torch.full((), 1e4)))


def test_a_backward_program_that_fails_gives_no_gradient_to_anyone():
    net = FailsBackward()
    x = torch.rand(3, 4)
    compiled = kuai.compile(net)
    compiled(x, torch.ones(())).backward()
    before = {n: p.grad.clone() for n, p in net.named_parameters()}
    loss = compiled(x, torch.full((), 1e4))
    with pytest.raises(IndexError):
        loss.backward()
    for n, p in net.named_parameters():
        assert kuai.equal(p.grad, before[n])


def test_a_failure_behind_the_optimizers_step_changes_nothing():
    net = nn.Linear(3, 3)
    optimizer = OPTIMIZERS["Adam"](net.parameters())

    def step(x, i):
        optimizer.zero_grad()
        loss = net(x).sum()
        loss.backward()
        optimizer.step()
        return net.weight.detach()[i].sum()

    x, good, bad = torch.rand(2, 3), torch.tensor([1]), torch.tensor([3])
    fails_whole(net, optimizer, step, (x, good), (x, bad))


def test_a_probability_that_is_refused_changes_nothing():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = OPTIMIZERS["SGD"](net.parameters())

    def step(x, scale):
        optimizer.zero_grad()
        p = 0.5 + 0.01 * torch.tanh(net(x))
        loss = F.binary_cross_entropy(p * scale, torch.ones_like(p))
        loss.backward()
        optimizer.step()
        return loss.detach()

    x = torch.rand(3, 4)
    fails_whole(net, optimizer, step, (x, torch.ones(())), (x, torch.full((), 5.0)))


def test_integers_divided_by_zero_change_nothing():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("total", torch.ones(40, dtype=torch.int64))
            self.register_buffer("other", torch.ones(40))

        def forward(self, x):
            self.other += 1
            self.total += 60 // x
            return self.total * 2

    net = Counts()
    compiled = kuai.compile(net)
    x = torch.arange(1, 41)
    compiled(x)
    before = arrays_of(net)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        compiled(x - 7)
    untouched(before, arrays_of(net))


def test_an_argument_that_is_changed_in_place_is_untouched():
    def f(x, i):
        x += 1
        y = torch.linalg.inv(x)
        x[0] += y[i].sum()
        return x.sum()

    compiled = kuai.compile(f)
    good, bad = torch.tensor([1]), torch.tensor([3])
    compiled(torch.eye(3), good)
    x = torch.eye(3)
    with pytest.raises(IndexError):
        compiled(x, bad)
    assert kuai.equal(x, torch.eye(3))
    assert x._version == 0
    x = torch.eye(3) * 0 - 1
    with pytest.raises(RuntimeError):
        compiled(x, good)
    assert kuai.equal(x, torch.eye(3) * 0 - 1)


# -- interrupts and memory -------------------------------------------------------------------------


def from_file(tmp_path, program):
    """Run a program of its own that stands in a file, as what is compiled must."""
    path = tmp_path / "program.py"
    head = textwrap.dedent(
        """
        import os, resource, signal, threading, time
        import numpy as np
        import kuai
        import kuai as torch
        from kuai import nn

        def limit(more):
            pages = int(open("/proc/self/statm").read().split()[0])
            now = pages * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + more, resource.RLIM_INFINITY))
        """
    )
    path.write_text(head + textwrap.dedent(program))
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_interrupt_ends_an_endless_loop_soon_and_changes_nothing(tmp_path):
    out = from_file(
        tmp_path,
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(8, 8)
                self.dropout = nn.Dropout(0.1)
                self.register_buffer("rounds", torch.zeros(()))

            def forward(self, x, end):
                n = torch.zeros(())
                while n < end:
                    x = self.dropout(self.layer(x)).sin() + 1
                    self.rounds += 1
                    n = n + 1
                return x

        net = Net()
        optimizer = kuai.optim.Adam(net.parameters())

        def step(x, end):
            optimizer.zero_grad()
            loss = net(x, end).sum()
            loss.backward()
            optimizer.step()
            return loss.detach()

        def state():
            values = [*net.state_dict().values(), *(p.grad for p in net.parameters())]
            values += [v for s in optimizer.state.values() for v in s.values()]
            values = [v.detach() if isinstance(v, kuai.Tensor) else v for v in values]
            return [np.array(v) for v in [*values, kuai.get_rng_state()]]

        x = torch.ones(2, 8)
        for call, grad in ((kuai.compile(step), True), (kuai.compile(net), False)):
            with kuai.set_grad_enabled(grad):
                for _ in range(2):
                    call(x, torch.tensor(3.0))
                before = state()
                sent = []

                def interrupt():
                    time.sleep(0.3)
                    sent.append(time.perf_counter())
                    os.kill(os.getpid(), signal.SIGINT)

                threading.Thread(target=interrupt).start()
                try:
                    call(x, torch.tensor(1e30))
                except KeyboardInterrupt:
                    took = time.perf_counter() - sent[0]
                assert took < 0.2, took
                for a, b in zip(before, state()):
                    assert np.array_equal(a, b)
        print("fine")
        """,
    )
    assert out == "fine\n"


def test_a_signal_handlers_own_exception_arrives(tmp_path):
    out = from_file(
        tmp_path,
        """
        class Late(Exception):
            pass

        def late(*_):
            raise Late

        @kuai.compile
        def f(x):
            while x.sum() > 0:
                x = x.abs() + 1
            return x

        f(-torch.ones(2))
        signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            f(torch.ones(2))
        except Late as error:
            print("late", error.__context__)
        """,
    )
    assert out == "late None\n"


def test_a_stack_that_grows_without_end_is_a_memory_error(tmp_path):
    out = from_file(
        tmp_path,
        """
        net = nn.Linear(300, 300)

        @kuai.compile
        def step(x, end):
            n = torch.zeros(())
            while n < end:
                x = net(x).sin()
                n = n + 1
            loss = x.sum()
            loss.backward()
            with kuai.no_grad():
                net.weight -= net.weight.grad * 0.01
            return loss.detach()

        x = torch.ones(300, 300)
        step(x, torch.tensor(3.0))
        before = net.weight.detach().numpy().copy(), net.weight.grad.numpy().copy()
        limit(600 << 20)
        for _ in range(2):
            try:
                step(x, torch.tensor(1e9))
            except MemoryError as error:
                print(str(error))
        assert np.array_equal(before[0], net.weight.detach().numpy())
        assert np.array_equal(before[1], net.weight.grad.numpy())
        step(x, torch.tensor(3.0))
        """,
    )
    assert out.count("memory") == 2


def test_memory_that_cannot_be_had_is_an_error_as_in_eager(tmp_path):
    out = from_file(
        tmp_path,
        """
        limit(600 << 20)

        def zeros(x):
            return torch.zeros(10**15) + x.sum()

        def inside(x):
            return (torch.zeros(10**15) + x.sum()).sum()

        def outer(x):
            return (x[:, None] * x[None, :]).sin()

        def outer_inside(x):
            y = (x[:, None] * x[None, :]).sin()
            return torch.linalg.norm(y @ y)

        def drawn(x):
            return torch.rand(10**12) + x.sum()

        small = [(f, 3) for f in (zeros, inside, drawn)]
        for f, size in [*small, (outer, 100_000), (outer_inside, 100_000)]:
            for call in (f, kuai.compile(f), kuai.compile(f)):
                for _ in range(2):
                    try:
                        call(torch.ones(size))
                    except MemoryError:
                        print("MemoryError")
        """,
    )
    assert out.split() == ["MemoryError"] * 30


def test_an_interrupt_ends_a_loop_of_numpys_kernels(tmp_path):
    out = from_file(
        tmp_path,
        """
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("rounds", torch.zeros(()))

            def forward(self, x, end):
                n = torch.zeros(())
                while n < end:
                    x = torch.linalg.inv(x)
                    self.rounds += 1
                    n = n + 1
                return x

        net = Net()
        compiled = kuai.compile(net)
        compiled(torch.eye(3), torch.tensor(3.0))
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        began = time.perf_counter()
        try:
            compiled(torch.eye(3), torch.tensor(1e30))
        except KeyboardInterrupt:
            print(time.perf_counter() - began < 0.5, net.rounds.item())
        """,
    )
    assert out == "True 3.0\n"


def test_the_backward_part_repeats_no_checks_and_no_prints(capsys):
    layer = nn.Linear(3, 3)

    def step(x, last):
        n = torch.zeros((), dtype=torch.int64)
        while n < last:
            x = layer(x).tanh()
            if n >= 5:
                raise ArithmeticError("the fifth round")
            kuai.debug.print("round", n)
            if n > 0:
                kuai.debug.print("late")
                x = x * 2
            n = n + 1
        loss = x.sum()
        loss.backward()
        return loss.detach()

    printed = []
    for f in (step, kuai.compile(step)):
        layer.zero_grad()
        results = []
        for last in (3, 3, 5):
            f(torch.ones(2, 3), torch.tensor(last))
            results.append(layer.weight.grad.clone())
        printed.append((capsys.readouterr().out, results))
    assert printed[0][0] == printed[1][0]
    for a, b in zip(printed[0][1], printed[1][1], strict=True):
        assert kuai.allclose(a, b, rtol=1e-4)
