"""`compiled.explain` shows each stage of what ran."""

import pytest

import kuai
from kuai import nn
from kuai.compiler.run.explain import STAGES, text


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
