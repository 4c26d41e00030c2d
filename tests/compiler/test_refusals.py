"""What cannot be captured is refused, with the line, the reason and what to do; nothing changes."""

import copy
import io
import os
import pathlib
import random
import struct
import sys
import time

import numpy as np
import pytest

import kuai
from kuai import nn
from kuai.compiler.capture import capture_call
from kuai.errors import CompileError

kept_list, kept_dict, kept_set = [], {}, set()
kept_number = 0
stream = io.StringIO()


def refused(function, *args):
    """The refusal of a call, which names a line of this file."""
    with pytest.raises(CompileError) as caught:
        capture_call(function, args or (kuai.tensor([1.0, 2.0]),), differentiate=True)
    error = caught.value
    assert error.file == __file__
    assert error.source
    assert error.advice
    return str(error)


VALUES = {
    "a mask chooses the elements": lambda x: x[x > 1],
    "nonzero": lambda x: x.nonzero(),
    "unique": lambda x: x.unique(),
    "item": lambda x: x.sum().item(),
    "numpy": lambda x: x.numpy(),
    "tolist": lambda x: x.tolist(),
    "text": lambda x: f"{x.sum()}",
    "str": lambda x: str(x),
    "a size": lambda x: kuai.zeros(int(x[0])),
    "a slice": lambda x: x[: int(x[0])],
    "a list's length": lambda x: [v for v in x if v > 0],
    "numpy's function": lambda x: np.sin(x),
    "a C function": lambda x: struct.pack("f", x[0]),
    "a deep copy": lambda x: copy.deepcopy(x * 2),
    "a dict's item": lambda x: {1: x, 2: x}[int(x[0])],
}


@pytest.mark.parametrize("name", VALUES)
def test_what_needs_values(name):
    refused(VALUES[name])


IMPURE = {
    "random": lambda x: x * random.random(),
    "numpy.random": lambda x: x * np.random.rand(),
    "time": lambda x: x * time.time(),
    "a path": lambda x: x * pathlib.Path(__file__).exists(),
    "a file's text": lambda x: x * len(pathlib.Path(__file__).read_text()),
    "os.path": lambda x: x * os.path.getsize(__file__),
    "numpy's files": lambda x: x * np.load("nowhere.npy"),
    "kuai's files": lambda x: x * kuai.load("nowhere.pt"),
    "a stream": lambda x: x * stream.write("text"),
}


@pytest.mark.parametrize("name", IMPURE)
def test_what_differs_from_call_to_call(name):
    assert "once, while compiling" in refused(IMPURE[name])


def test_print():
    def function(x):
        print(x)
        return x

    assert "kuai.debug.print" in refused(function)


def test_print_into_a_file():
    def function(x):
        print("here", file=sys.stderr)
        return x

    assert "into a file" in refused(function)


def test_a_print_of_what_is_known_happens_in_each_call(capsys):
    @kuai.compile
    def function(x):
        rounds = 0
        while x.sum() < 10:
            rounds += 1
            print("round of", tuple(x.shape), 1.5, sep="|")
            x = x * 2
            kuai.debug.print(rounds, x.sum(), end=";\n")
        return x

    for _ in range(2):
        function(kuai.ones(2))
        lines = [f"round of|(2,)|1.5\n{n} tensor({2.0 ** (n + 1):.0f}.);\n" for n in (1, 2, 3)]
        assert capsys.readouterr().out == "".join(lines)


def test_changes_of_what_lives_outside():
    def appends(x):
        kept_list.append(x)
        return x

    def extends(x):
        kept_list.extend([1])
        return x

    def sets_item(x):
        kept_dict["k"] = x
        return x

    def adds(x):
        kept_set.add(1)
        return x

    def assigns_global(x):
        global kept_number
        kept_number = kept_number + 1
        return x

    for function in (appends, extends, sets_item, adds, assigns_global):
        refused(function)
    assert (kept_list, kept_dict, kept_set, kept_number) == ([], {}, set(), 0)


def test_changes_of_enclosing_variables_and_arguments():
    count = 0

    def counts(x):
        nonlocal count
        count += 1
        return x

    def appends(x, items):
        items.append(x)
        return x

    refused(counts)
    assert count == 0
    items = []
    refused(appends, kuai.ones(2), items)
    assert items == []


def test_hooks_that_keep_what_they_see():
    seen = []
    net = nn.Linear(2, 2)
    net.register_forward_hook(lambda block, args, output: seen.append(output))
    refused(net)
    assert seen == []


def test_loops_that_change_shapes_or_types():
    def shrinks(x):
        while x.sum() > 1:
            x = x[:1]
        return x

    def widens(x):
        while x.sum() > 1:
            x = x.double() * 0.5
        return x

    assert "`x` from float32[2] to float32[1]" in refused(shrinks)
    assert "`x` from float32[2] to float64[2]" in refused(widens)


def test_branches_whose_sides_differ():
    def shapes(x):
        if x.sum() > 1:
            y = x
        else:
            y = x[:1]
        return y

    def texts(x):
        if x.sum() > 1:
            name = "a"
        else:
            name = "b"
        return name

    assert "`y`" in refused(shapes)
    assert "float32[2] on one side, float32[1] on the other" in refused(shapes)
    assert "a result that is 'a' or 'b'" in refused(texts)


def test_lists_that_grow_in_loops():
    def function(x):
        parts = []
        while x.sum() > 1:
            x = x / 2
            parts.append(x)
        return parts

    assert "append" in refused(function)


def test_a_refusal_cannot_be_swallowed():
    def function(x):
        try:
            y = x.sum().item()
        except Exception:
            y = 0
        return x * y

    assert ".item()" in refused(function)


def test_handlers_of_errors_that_values_decide():
    def function(x):
        try:
            if x.sum() > 1:
                raise ValueError("large")
        except ValueError:
            return x
        return x * 2

    assert "try" in refused(function)


def test_changes_in_place_of_what_may_be_shared():
    def outside(x, y):
        z = x if y.sum() > 0 else y
        z += 1
        return z

    def read_afterwards(x):
        y = kuai.zeros(2)
        z = y if x.sum() > 0 else x * 1
        z += 1
        return y

    def element(x):
        y = x * 1
        first = y[int(x[0])]
        y[0] = 5.0
        return first + y

    x = kuai.tensor([1.0, 2.0])
    refused(outside, x, x * 2)
    refused(read_afterwards)
    refused(element)


def test_source_that_is_not_there():
    namespace = {}
    exec("def made(x):\n    return x * 2", namespace)
    assert "source of made is not available" in refused(namespace["made"])


def test_generators_keep_pythons_rules():
    def parts(x):
        yield x
        if x.sum() > 0:
            yield x * 2

    refused(lambda x: list(parts(x)))
    capture_call(lambda x: sum(p for p in (x * k for k in range(3))), (kuai.ones(2),))


def test_steps_in_a_loop_make_gradients_if_there_is_a_round():
    p = nn.Parameter(kuai.ones(2))
    optimizer = kuai.optim.SGD([p], lr=0.1)

    def function(x):
        while (p * x).sum() > 1:
            optimizer.zero_grad(set_to_none=False)
            ((p * x).sum() ** 2).backward()
            optimizer.step()
        return p.sum()

    x = kuai.tensor([1.0, 2.0])
    captured = capture_call(function, (x,))
    assert len(captured.grad_arrivals) == 1
    assert p.grad is None
    p.grad = kuai.zeros(2)
    captured = capture_call(function, (x,))
    assert not captured.grad_arrivals
    found = captured.graph.evaluate(x.numpy(), *[np.float64(n.fetch()) for n in captured.numbers])
    kept = {id(v): t for v, t in captured.graph.captured}
    function(x)
    updates = [(kept[id(v)], found[new]) for v, new in captured.graph.updates]
    for tensor, array in updates:
        np.testing.assert_allclose(array, tensor.detach().numpy(), rtol=1e-6)
    assert len(updates) == 2


def test_nothing_has_changed_after_a_refusal():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = kuai.optim.SGD(net.parameters(), lr=0.1)
    before = copy.deepcopy(net.state_dict())

    def function(x):
        optimizer.zero_grad()
        net(x).sum().backward()
        optimizer.step()
        return net[0].weight.tolist()

    for _ in range(2):
        refused(function)
        assert all(kuai.equal(before[k], v) for k, v in net.state_dict().items())
        assert all(p.grad is None for p in net.parameters())
        assert not optimizer.state


def test_what_to_do_about_shapes_that_depend_on_values():
    message = refused(lambda x: x[x > 0].mean())
    assert "an index that is a mask" in message
    assert "instead: keep the shape, with kuai.where" in message


def doubled(block):
    return lambda x: block.double()(x.double()).sum()


def test_a_parameter_that_changes_its_type():
    block = nn.Linear(2, 2)
    assert "becomes float64[2, 2]" in refused_at_the_end(doubled(block))
    assert block.weight.dtype is kuai.float32
    assert block(kuai.ones(1, 2)).dtype is kuai.float32


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.unsqueeze_(0),
        lambda x: x.t_(),
        lambda x: x.transpose_(0, 1),
        lambda x: x.set_(kuai.ones(3)),
    ],
)
def test_an_argument_that_changes_its_shape(change):
    def function(x):
        change(x)
        return x.sum()

    x = kuai.ones(2, 2)
    assert "from outside of the compiled function" in refused_at_the_end(function, x)
    assert x.shape == (2, 2)


def test_data_of_another_type():
    def function(x):
        x.data = x.data.double()
        return x.sum()

    assert "the shape or the type" in refused(function)


def refused_at_the_end(function, *args):
    """The refusal of a call, which need not name a line."""
    with pytest.raises(CompileError) as caught:
        kuai.compile(function)(*args or (kuai.ones(1, 2),))
    return str(caught.value)
