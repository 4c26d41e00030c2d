"""Random programs with loops, branches, views and changes in place: captured equals eager."""

import importlib.util
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kuai
from kuai.errors import CompileError, GradientError
from tests.compiler.evaluating import check

TENSORS = ["a", "b", "c"]
NUMBERS = ["n", "s"]


class Writer:
    """Writes one random function of two vectors."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[str] = []
        self.loops = 0

    def write(self) -> str:
        self.lines = ["import kuai", "", "def function(x, y):"]
        self.line(1, "a, b, c = x * 1, y * 2, x + y")
        self.line(1, "n, s = 1, 0.5")
        self.block(1, 4 + self.random.randrange(4), 0)
        self.line(1, "return a, b, c, n, s")
        return "\n".join(self.lines) + "\n"

    def line(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def block(self, depth: int, size: int, loop: int) -> None:
        for _ in range(size):
            self.statement(depth, loop)

    def tensor(self) -> str:
        return self.random.choice(TENSORS)

    def expression(self) -> str:
        t, u = self.tensor(), self.tensor()
        return self.random.choice(
            [
                f"{t} * 0.7 + {u} * 0.2",
                f"{t}.sin()",
                f"{t} * {u}.cos() - 0.1",
                f"kuai.tanh({t} + {u})",
                f"{t} * s",
                f"{t} / (1 + n * n)",
                f"{t}.flip(0) + {u}.sum() * 0.1",
                f"({t} if {self.condition()} else {u} * 2)",
                f"kuai.where({t} > 0, {t}, {u} * 0.5)",
            ]
        )

    def condition(self) -> str:
        t, u = self.tensor(), self.tensor()
        return self.random.choice(
            [
                f"{t}.sum() > 0.3",
                f"{t}[0] < {u}[1]",
                f"{t}.abs().max() > 1 and n < 5",
                "n % 2 == 0",
                "s > 1.2 or n > 3",
                f"not {t}.mean() > {u}.mean()",
                f"-1 < {t}[2] < {u}.abs().sum()",
            ]
        )

    def statement(self, depth: int, loop: int) -> None:
        deep = depth > 3
        kind = self.random.choice(
            ["assign"] * 4
            + ["number"] * 2
            + ["inplace", "view", "item"]
            + ([] if deep else ["if"] * 3 + ["while"] * 2 + ["for", "range"])
            + (["break", "continue"] if loop else [])
            + (["return"] if depth > 1 else [])
        )
        getattr(self, f"write_{kind}")(depth, loop)

    def write_assign(self, depth: int, loop: int) -> None:
        self.line(depth, f"{self.tensor()} = {self.expression()}")

    def write_number(self, depth: int, loop: int) -> None:
        self.line(
            depth,
            self.random.choice(
                ["n += 1", "n = n * 2 % 7", "s = s * 0.9 + 0.3", "s = s + n / 4", "n = max(n, 2)"]
            ),
        )

    def write_inplace(self, depth: int, loop: int) -> None:
        t = self.tensor()
        change = self.random.choice(["+= 0.25", "*= 0.5", f"-= {self.tensor()} * 0.1"])
        self.line(depth, f"{t} = {t} * 1")
        self.line(depth, f"{t} {change}")

    def write_view(self, depth: int, loop: int) -> None:
        t = self.tensor()
        self.line(depth, f"{t} = {t} * 1")
        self.line(depth, f"part = {t}[1:]")
        self.line(depth, "part *= 0.8")
        self.line(depth, f"{t}[0] = {self.tensor()}[2] * 0.3")

    def write_item(self, depth: int, loop: int) -> None:
        t = self.tensor()
        self.line(depth, f"{t} = {t} * 1")
        self.line(depth, f"{t}[n % 3] = {self.tensor()}[(n + 1) % 3] * 0.9 + s * 0.1")

    def write_if(self, depth: int, loop: int) -> None:
        self.line(depth, f"if {self.condition()}:")
        self.block(depth + 1, 1 + self.random.randrange(2), loop)
        if self.random.random() < 0.3:
            self.line(depth, f"elif {self.condition()}:")
            self.block(depth + 1, 1, loop)
        if self.random.random() < 0.6:
            self.line(depth, "else:")
            self.block(depth + 1, 1 + self.random.randrange(2), loop)

    def write_while(self, depth: int, loop: int) -> None:
        self.loops += 1
        k = f"k{self.loops}"
        self.line(depth, f"{k} = 0")
        limit = self.random.randrange(1, 5)
        self.line(depth, f"while {k} < {limit} and ({self.condition()}):")
        self.line(depth + 1, f"{k} += 1")
        self.block(depth + 1, 1 + self.random.randrange(3), 1)

    def write_for(self, depth: int, loop: int) -> None:
        self.loops += 1
        self.line(depth, f"for i{self.loops} in range({self.random.choice([0, 1, 2, 3, 9])}):")
        self.block(depth + 1, 1 + self.random.randrange(2), 1)

    def write_range(self, depth: int, loop: int) -> None:
        self.loops += 1
        i = f"i{self.loops}"
        self.line(depth, f"for {i} in range(n % 4):")
        self.line(depth + 1, f"s = s + {i} * 0.1")
        self.block(depth + 1, 1 + self.random.randrange(2), 1)

    def write_break(self, depth: int, loop: int) -> None:
        self.line(depth, f"if {self.condition()}:")
        self.line(depth + 1, "break")

    def write_continue(self, depth: int, loop: int) -> None:
        self.line(depth, f"if {self.condition()}:")
        self.line(depth + 1, "continue")

    def write_return(self, depth: int, loop: int) -> None:
        self.line(depth, f"if {self.condition()}:")
        self.line(depth + 1, f"return a, b, {self.expression()}, n, s")


def program(path, seed):
    """The function that a seed stands for, in a file of its own."""
    file = path / f"program_{seed}.py"
    file.write_text(Writer(seed).write())
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.function


def run(path, seed):
    function = program(path, seed)
    generator = random.Random(seed)
    x, y = (
        kuai.tensor(
            [generator.uniform(-2, 2) for _ in range(3)], dtype=kuai.float64, requires_grad=True
        )
        for _ in range(2)
    )
    try:
        function(x, y)
    except GradientError:
        return
    try:
        check(function, x, y, rtol=1e-6, atol=1e-9)
    except GradientError:  # a value that backward needs was changed in place: eager's error too
        return
    except CompileError as error:
        if "may or may not be the same" not in str(error):
            raise


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10**6))
def test_random_programs(tmp_path, seed):
    run(tmp_path, seed)


# 20205 takes a view anew in rounds that are forgotten, 70410 negates a condition there; in a round
# of 60449, a result that may have been returned before is not.
@pytest.mark.parametrize("seed", [*range(20), 20205, 60449, 70410, 70810])
def test_known_programs(tmp_path, seed):
    run(tmp_path, seed)
