"""What was compiled before is found on disk, by what it computes."""

import subprocess
import sys

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.compiler.capture import capture
from kuai.compiler.native import cache
from kuai.compiler.run import code as code_module
from kuai.compiler.run.signature import signature
from kuai.nn import functional as F


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KUAI_CACHE_DIR", str(tmp_path))
    return tmp_path


def step(x, table=None):
    y = F.relu(x @ x.T + 1)
    while y.sum() > 3:
        y = y / 2
    if table is not None:
        y = y + table[kuai.tensor([0, 1])]
    return y


def text(function, *args):
    found = signature(capture(function, *args), {})
    assert found is not None
    return found


def test_one_computation_has_one_signature():
    x = kuai.rand(2, 3)
    assert text(step, x) == text(step, kuai.rand(2, 3))


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x * 2,
        lambda x: x * 3.0,
        lambda x: x.sum(0),
        lambda x: x.sum(0, keepdim=True),
        lambda x: x + kuai.ones(3),
        lambda x: x + kuai.arange(3.0),
        lambda x: x[1:],
        lambda x: x[:1],
        lambda x: (x, x * 2),
    ],
)
def test_other_computations_have_other_signatures(other):
    x = kuai.rand(2, 3)
    assert text(other, x) != text(lambda x: x * 3, x)
    assert text(other, x) != text(other, kuai.rand(2, 4, 3)[0, :, :3][:1])


def test_a_second_program_needs_no_compiler(monkeypatch):
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    x = kuai.rand(2, 3, requires_grad=True)
    first = kuai.compile(net)(x)
    monkeypatch.setattr(code_module.Code, "_make", None)
    second = kuai.compile(net)
    np.testing.assert_array_equal(first.detach(), second(x).detach())
    second(x).sum().backward()
    assert x.grad is not None
    monkeypatch.undo()
    assert "tanh" in second._compiled.programs.popitem()[1].code.built.emitted.text


def test_failures_keep_their_kind_and_place():
    def f(i):
        return nn.functional.embedding(i, kuai.ones(5, 2))

    notes = []
    for _ in range(2):
        compiled = kuai.compile(f)
        compiled(kuai.tensor([1]))
        with pytest.raises(IndexError) as raised:
            compiled(kuai.tensor([9]))
        notes.append(raised.value.__notes__)
    assert notes[0] == notes[1]
    assert any("test_compile_cache.py" in note for note in notes[0])


def test_damaged_files_do_no_harm(folder):
    x = kuai.rand(2, 3)
    expected = kuai.compile(step)(x)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:-3])
    np.testing.assert_array_equal(kuai.compile(step)(x), expected)
    for file in folder.iterdir():
        file.write_bytes(b"")
    np.testing.assert_array_equal(kuai.compile(step)(x), expected)


def test_sources_that_change_make_other_programs(monkeypatch):
    before = cache.sources()
    assert "signature.py" in before
    x = kuai.rand(2, 3)
    kuai.compile(step)(x)
    monkeypatch.setattr(cache, "_sources", before + " changed")
    made = []
    make = code_module.Code._make
    monkeypatch.setattr(code_module.Code, "_make", lambda *a: made.append(1) or make(*a))
    kuai.compile(step)(x)
    assert made


def test_a_second_process_starts_without_llvm(folder, tmp_path):
    file = tmp_path / "program.py"
    file.write_text(
        "import sys, kuai\n"
        "@kuai.compile\n"
        "def f(x):\n"
        "    while x.sum() > 1:\n"
        "        x = x / 2\n"
        "    return x\n"
        "print(f(kuai.ones(3)).tolist(), 'llvmlite.binding' in sys.modules)\n"
    )
    outputs = [
        subprocess.run([sys.executable, file], capture_output=True, text=True).stdout.strip()
        for _ in range(2)
    ]
    assert outputs == ["[0.25, 0.25, 0.25] True", "[0.25, 0.25, 0.25] False"]


def test_the_first_entry_is_replaced_and_a_child_forked_meanwhile_compiles(folder, tmp_path):
    file = tmp_path / "program.py"
    file.write_text(
        "import os, threading, kuai\n"
        "from kuai.compiler.native import builtin\n"
        "@kuai.compile\n"
        "def f(x):\n"
        "    return x * 2 + 1\n"
        "f(kuai.ones(3))\n"
        "first = builtin._entry().definition.function\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(f(kuai.ones(3)).sum() != 9 or f(kuai.ones(4)).sum() != 12)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "for thread in threading.enumerate():\n"
        "    if thread.name == 'kuai-entry':\n"
        "        thread.join()\n"
        "assert builtin._entry().definition.function != first\n"
        "print(f(kuai.ones(3)).tolist())\n"
    )
    run = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[3.0, 3.0, 3.0]", run.stderr
