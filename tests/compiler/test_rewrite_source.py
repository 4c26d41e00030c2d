"""Rewritten functions have the text and the places of the source that they come from."""

import os
import subprocess
import sys
import traceback

import pytest

import kuai
from kuai import nn


class Labelled(nn.Module):
    """A block whose forward has a string of several lines, some less indented than the code."""

    def forward(self, x):
        text = """first
        second
third"""
        return x * len(text), text


class Mistyped(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return x + self.linaer(x)


def test_strings_of_several_lines_are_as_they_stand():
    block = Labelled()
    given, label = block(kuai.ones(2))
    compiled, same = kuai.compile(block)(kuai.ones(2))
    assert same == label
    assert kuai.equal(compiled, given)


def test_tracebacks_point_at_the_place_in_the_line():
    with pytest.raises(AttributeError) as caught:
        kuai.compile(Mistyped())(kuai.ones(2))
    frames = traceback.extract_tb(caught.value.__traceback__)
    frame = next(f for f in frames if f.filename == __file__ and f.name == "forward")
    with open(__file__) as file:
        line = file.readlines()[frame.lineno - 1]
    assert line[frame.colno : frame.end_colno].startswith("self.linaer")


def test_a_rewritten_form_is_kept_on_disk(tmp_path):
    (tmp_path / "kept.py").write_text(
        "import kuai\n"
        "def halve(x, names=frozenset({'a', 'b', 'c'})):\n"
        "    while x.sum() > 1 and 'a' in {'a', 'b', 'c'}:\n"
        "        x = (lambda y: y / 2)(x)\n"
        "    return x\n"
        "print(kuai.compile(halve)(kuai.tensor([8.0])).item())\n"
        "import sys\n"
        "print('kuai.compiler.rewrite.template' in sys.modules)\n"
    )
    environment = os.environ | {"KUAI_CACHE_DIR": str(tmp_path / "cache")}

    def run(hash_seed):
        found = subprocess.run(
            [sys.executable, "kept.py"],
            cwd=tmp_path,
            env=environment | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return found.stdout.split()

    assert run("1") == ["1.0", "True"]
    assert run("2") == ["1.0", "False"]
