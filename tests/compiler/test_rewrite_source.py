"""Rewritten functions have the text and the places of the source that they come from."""

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
