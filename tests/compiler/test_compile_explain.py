"""`compiled.explain` shows each stage of what ran."""

import gc
import re

import pytest

import kuai
from kuai import nn
from kuai.compiler.run import timing
from kuai.compiler.run.explain import STAGES, text
from kuai.compiler.run.timing import measure


@pytest.fixture
def net():
    compiled = kuai.compile(nn.Sequential(nn.Linear(3, 4), nn.Tanh()))
    compiled(kuai.rand(2, 3, requires_grad=True))
    return compiled


def test_a_report_on_every_program(net, capsys):
    net(kuai.rand(5, 3))
    net.explain()
    shown = capsys.readouterr().out
    assert "program 0 for float32[2, 3]" in shown
    assert "program 1 for float32[5, 3]" in shown
    for word in ("forward:", "backward:", "guards:", "made in: capture"):
        assert word in shown


@pytest.mark.parametrize(
    ("stage", "word"),
    [
        ("graph", "tanh("),
        ("kernels", "tanh"),
        ("memory", "arena of"),
        ("llvm", "define i32 @program"),
        ("assembly", "program:"),
    ],
)
def test_a_stage_in_full(net, stage, word, capsys):
    net.explain(stage)
    shown = capsys.readouterr().out
    assert word in shown
    assert shown.startswith("forward:")


def test_gradients_belong_to_the_block_they_come_from(net, capsys):
    net.explain("kernels")
    backward = capsys.readouterr().out.partition("backward:")[2]
    products = [line for line in backward.splitlines() if "= matmul(" in line]
    assert products
    block = "# Sequential.0: Linear(in_features=3, out_features=4, bias=True)"
    assert all(line.endswith(block) for line in products)


def test_functions_too(capsys):
    @kuai.compile
    def f(x):
        return x * 2

    f.explain()
    assert "call it first" in capsys.readouterr().out
    f(kuai.rand(3))
    f.explain("graph")
    assert "mul(" in capsys.readouterr().out
    f.explain("python")
    shown = capsys.readouterr().out
    assert "def f(x):" in shown
    assert "return x * 2" in shown


def test_an_unknown_stage_is_an_error_that_names_the_known(net):
    with pytest.raises(ValueError, match="python, graph"):
        net.explain("magic")
    assert all(text(net._compiled, stage) is not None for stage in STAGES)


def loop():
    weight = nn.Parameter(kuai.rand(4, 4))

    @kuai.compile
    def halved(x):
        x = x @ weight
        while x.abs().sum() > 1:
            x = x / 2 + 0.01 * x.tanh()
        return x.sum()

    return halved, weight


def test_times_of_each_step_those_of_loops_inside_it(capsys):
    halved, _ = loop()
    x = 4 * kuai.ones(3, 4)
    halved(x)
    halved.explain("times")
    shown = capsys.readouterr().out
    forward, backward = shown.split("backward:")
    assert re.search(r"forward: [\d.]+ (ns|µs), the median of \d+ runs\n", forward)
    rows = [line for line in forward.splitlines() if "%" in line]
    (at,) = [i for i, line in enumerate(rows) if "while_loop" in line]
    (test, body) = rows[at + 1], rows[at + 2]
    assert re.search(r"\d  +nest over \[3, 4\] reducing", test)
    assert int(test.split()[2]) == int(body.split()[2]) + 1  # it ran once more than the body
    assert "product [3, 4] x [4, 4]" in backward or "product [4, 3] x [3, 4]" in backward


def test_steps_take_together_what_the_program_takes():
    net = kuai.compile(nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256)))
    x = kuai.rand(256, 64)
    with kuai.no_grad():
        net(x)
    (times,) = measure(next(iter(net._compiled.programs.values())))
    assert times.nanoseconds == pytest.approx(sum(t.nanoseconds for t in times.lines), rel=0.3)
    assert sum(t.share for t in times.lines) == pytest.approx(1, abs=0.3)
    assert times.lines[0].row.path.startswith("Sequential.0: Linear")


def test_taking_times_changes_nothing(capsys):
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    optimizer = kuai.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    @kuai.compile
    def step(x, seen):
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        seen += 1
        kuai.debug.print("loss", loss)
        return loss

    x, seen = kuai.rand(4, 3), kuai.zeros(3)
    step(x, seen)
    step(x, seen)

    def all_state():
        grads = [p.grad for p in net.parameters()]
        momenta = [s["momentum_buffer"] for s in optimizer.state.values()]
        tensors = [*net.state_dict().values(), *grads, *momenta, x, seen, kuai.get_rng_state()]
        return [(t._counter[0], t.clone()) for t in tensors if t is not None]

    before = all_state()
    capsys.readouterr()
    step.explain()
    assert "loss tensor" not in capsys.readouterr().out
    for (version, was), (later, now) in zip(before, all_state(), strict=True):
        assert version == later
        assert kuai.equal(was, now)


def test_times_of_a_call_whose_arguments_are_gone(capsys):
    halved, _ = loop()
    halved(kuai.ones(3, 4))
    gc.collect()
    halved.explain()
    assert "with arguments drawn anew" in capsys.readouterr().out


def test_a_loop_that_does_not_end_without_its_arguments_has_no_times(monkeypatch, capsys):
    monkeypatch.setattr(timing, "LIMIT", 0.05)

    @kuai.compile
    def f(x):
        rounds = 0
        while x.sum() != 12:
            x, rounds = x * 1, rounds + 1
        return x

    f(kuai.ones(3, 4))
    gc.collect()
    f.explain("times")
    assert "its loops did not end within 0.05 s" in capsys.readouterr().out


def test_times_of_a_program_for_any_batch(capsys):
    net = kuai.compile(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), dynamic_batch=True)
    x = kuai.rand(7, 3)
    net(x)
    net.explain("times")
    assert "forward: " in capsys.readouterr().out


def test_times_of_stacks_and_of_numpy_kernels(capsys):
    @kuai.compile
    def f(x):
        y = x
        while y.sum() < 100:
            y = y * y + x.tanh()
        return kuai.linalg.inv(y + kuai.eye(3)).sum()

    x = kuai.rand(3, 3, requires_grad=True)
    f(x)
    f.explain("times")
    forward, backward = capsys.readouterr().out.split("backward:")
    assert "host call" in forward
    assert "stack_item" in backward


def test_a_loop_that_ends_only_once_is_run_from_its_start(capsys):
    counter = kuai.zeros(1)

    @kuai.compile
    def f(x):
        while counter.sum() != 5:
            counter.add_(1)
        counter.add_(1)
        return x + counter

    f(kuai.ones(3))
    counter.zero_()
    f.explain("times")
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "while_loop" in line]
    assert row.split()[2] == "1"
    assert counter.item() == 0
