"""Containers: what is not already compared with PyTorch in `tests/parity`."""

from __future__ import annotations

from collections import OrderedDict

import pytest

import kuai
from kuai import nn


class Add(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.n = n

    def forward(self, x):
        return x + self.n


def numbers(blocks):
    return [block.n for block in blocks]


def test_a_sequential_runs_its_blocks_in_the_order_of_the_arguments():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    assert float(nn.Sequential(Add(1), Double())(kuai.tensor(1.0))) == 4.0
    assert float(nn.Sequential(Double(), Add(1))(kuai.tensor(1.0))) == 3.0


def test_a_sequential_of_ones_own_is_as_good_as_the_built_in_one():
    class MySequential(nn.Module):
        def __init__(self, *args):
            super().__init__()
            for i, block in enumerate(args):
                self._modules[str(i)] = block

        def forward(self, X):
            for block in self._modules.values():
                X = block(X)
            return X

    blocks = [nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)]
    mine, theirs = MySequential(*blocks), nn.Sequential(*blocks)
    X = kuai.ones(2, 4)
    assert (mine(X) == theirs(X)).all()
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert repr(mine) == repr(theirs).replace("Sequential", "MySequential")


def test_an_empty_sequential_returns_its_input():
    x = kuai.ones(1)
    assert nn.Sequential()(x) is x


def test_names_come_from_an_ordered_dictionary():
    net = nn.Sequential(OrderedDict(first=Add(1), second=Add(2)))
    assert net.first.n == 1
    assert [name for name, _ in net.named_children()] == ["first", "second"]


def test_deleting_renumbers_what_follows():
    net = nn.Sequential(*map(Add, range(5)))
    del net[1:3]
    assert numbers(net) == [0, 3, 4]
    assert list(net._modules) == ["0", "1", "2"]
    assert getattr(net, "1").n == 3
    assert not hasattr(net, "3")


def test_inserting_renumbers_what_follows():
    net = nn.Sequential(*map(Add, range(3)))
    net.insert(1, Add(9))
    assert numbers(net) == [0, 9, 1, 2]
    assert getattr(net, "1").n == 9


def test_a_list_extended_by_itself_ends():
    blocks = nn.ModuleList([Add(0), Add(1)])
    blocks.extend(list(blocks))
    assert numbers(blocks) == [0, 1, 0, 1]


def test_tensors_in_a_parameter_list_become_parameters():
    values = nn.ParameterList([kuai.ones(2), 3])
    values.append(kuai.ones(1))
    values[0] = kuai.zeros(2)
    assert [type(v) for v in values] == [nn.Parameter, int, nn.Parameter]
    assert [name for name, _ in values.named_parameters()] == ["0", "2"]


def test_tensors_in_a_parameter_dictionary_become_parameters():
    values = nn.ParameterDict({"a": kuai.ones(2)})
    values["b"] = kuai.ones(1)
    del values["a"]
    assert [name for name, _ in values.named_parameters()] == ["b"]


def test_a_parameter_list_is_no_layer():
    with pytest.raises(RuntimeError, match="should not be called"):
        nn.ParameterList()(1)
