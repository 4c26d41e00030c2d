"""Random programs, compiled, do what they do eagerly: nested loops and branches on values, changes
in place, views, types and shapes."""

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kuai
import kuai as torch
from kuai import nn
from tests.compiler.comparing import agrees, gradients_near, near

SETTINGS = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

UNARY = ["torch.sin({})", "torch.tanh({})", "{}.abs()", "-{}", "torch.sigmoid({})", "{} * 0.5",
         "torch.relu({})", "{}.clamp(-2, 2)", "{}.flip(0)", "{} + 1.0", "{}.cumsum(0) * 0.3",
         "torch.where({} > 0, {}, 0.1 * {})", "{}.softmax(0)", "{}.roll(1, 0)"]  # fmt: skip
BINARY = ["{} + {}", "{} - {}", "{} * {}", "torch.maximum({}, {})", "{} / ({}.abs() + 1)",
          "torch.atan2({}, {} + 3)"]  # fmt: skip
SCALARS = ["{}.sum()", "{}.mean()", "{}.max()", "{}.abs().sum()", "{}[0].sum()"]
INPLACE = ["{0} += {1} * 0.1", "{0} *= 0.9", "{0}[0] = {1}[1] * 0.5", "{0}[1:] -= 0.2",
           "{0}.mul_(0.8).add_(0.1)", "{0}[::2] = 0.3", "{0}.clamp_(-1.5, 1.5)",
           "{0}.copy_({1} * 0.7)"]  # fmt: skip


class Writer:
    """Writes the source of a random function of three tensors of one shape."""

    def __init__(self, draw, in_place):
        self.draw = draw
        self.in_place = in_place
        self.lines = []
        self.names = ["x", "y", "z"]
        self.counter = 0
        self.loops = 0

    def pick(self, options):
        return self.draw(st.sampled_from(options))

    def chance(self, percent):
        return self.draw(st.integers(0, 99)) < percent

    def add(self, depth, text):
        self.lines.append("    " * depth + text)

    def fresh(self, kind="v"):
        self.counter += 1
        return f"{kind}{self.counter}"

    def value(self):
        if self.chance(50):
            form = self.pick(UNARY)
            return form.replace("{}", self.pick(self.names))
        return self.pick(BINARY).format(self.pick(self.names), self.pick(self.names))

    def scalar(self):
        return self.pick(SCALARS).format(self.pick(self.names))

    def condition(self):
        kind = self.draw(st.integers(0, 3))
        first = f"{self.scalar()} > {self.pick(['-1.0', '0.0', '0.5', '2.0'])}"
        if kind == 0:
            return f"{first} and {self.scalar()} < {self.scalar()}"
        if kind == 1:
            return f"not {first}"
        if kind == 2:
            return f"-3 < {self.scalar()} < {self.scalar()} or {first}"
        return first

    def block(self, depth, size):
        for _ in range(size):
            self.statement(depth)

    def inner(self, depth, size):
        """A block after which the names bound in it are forgotten."""
        known = list(self.names)
        self.block(depth, size)
        self.names = known

    def statement(self, depth):
        kinds = ["assign"] * 4 + ["again"] * 3
        if self.in_place:
            kinds += ["change"] * 2 + ["view"]
        if depth < 4:
            kinds += ["if"] * 3
        if self.loops < 2 and depth < 3:
            kinds += ["while", "for", "endless"]
        getattr(self, f"write_{self.pick(kinds)}")(depth)

    def write_assign(self, depth):
        value = self.value()
        name = self.fresh()
        self.add(depth, f"{name} = {value}")
        self.names.append(name)

    def write_again(self, depth):
        self.add(depth, f"{self.pick(self.names)} = {self.value()}")

    def write_change(self, depth):
        target = self.fresh("m")
        self.add(depth, f"{target} = {self.pick(self.names)}.clone()")
        for _ in range(self.draw(st.integers(1, 3))):
            self.add(depth, self.pick(INPLACE).format(target, self.pick(self.names)))
        self.names.append(target)

    def write_view(self, depth):
        target, view = self.fresh("m"), self.fresh("w")
        self.add(depth, f"{target} = {self.pick(self.names)}.clone()")
        form = self.pick(["{}[1:]", "{}.T", "{}.reshape(-1)", "{}[:, :1]", "{}.transpose(0, 1)"])
        self.add(depth, f"{view} = {form.format(target)}")
        self.add(depth, f"{view} {self.pick(['*= 0.5', '+= 0.25', '-= 0.1'])}")
        if self.chance(50):
            self.add(depth, f"if {self.condition()}:")
            self.add(depth + 1, f"{view} *= -1")
        self.names.append(target)

    def write_if(self, depth):
        self.add(depth, f"if {self.condition()}:")
        self.inner(depth + 1, self.draw(st.integers(1, 2)))
        if self.chance(30):
            self.add(depth, f"elif {self.condition()}:")
            self.inner(depth + 1, 1)
        if self.chance(50):
            self.add(depth, "else:")
            self.inner(depth + 1, self.draw(st.integers(1, 2)))

    def write_while(self, depth):
        self.loops += 1
        count, most = self.fresh("n"), self.draw(st.integers(1, 6))
        self.add(depth, f"{count} = 0")
        self.add(depth, f"while {self.condition()} and {count} < {most}:")
        self.add(depth + 1, f"{count} += 1")
        self.inner(depth + 1, self.draw(st.integers(1, 2)))
        self.loops -= 1

    def write_endless(self, depth):
        self.loops += 1
        count = self.fresh("n")
        self.add(depth, f"{count} = torch.zeros(())")
        self.add(depth, "while True:")
        self.inner(depth + 1, 1)
        self.add(depth + 1, f"{count} = {count} + 1")
        self.add(depth + 1, f"if {self.condition()} or {count} > {self.draw(st.integers(0, 5))}:")
        self.add(depth + 2, "break")
        self.inner(depth + 1, 1)
        self.loops -= 1

    def write_for(self, depth):
        self.loops += 1
        form = self.draw(st.integers(0, 2))
        if form == 0:
            self.add(depth, f"for i in range({self.draw(st.integers(0, 4))}):")
        elif form == 1:
            self.add(depth, f"for i in range(int({self.scalar()}.abs().clamp(0, 5))):")
        else:
            self.add(depth, f"for row in {self.pick(self.names)}:")
        known = list(self.names)
        if form == 2:
            name = self.pick(self.names)
            self.add(depth + 1, f"{name} = {name} * 0.9 + row.mean() * 0.1")
        if self.chance(30):
            self.add(depth + 1, f"if {self.condition()}:")
            self.add(depth + 2, self.pick(["break", "continue"]))
        self.block(depth + 1, self.draw(st.integers(1, 2)))
        self.names = known
        self.loops -= 1

    def source(self):
        self.add(0, "def f(x, y, z):")
        for _ in range(self.draw(st.integers(2, 5))):
            self.statement(1)
            if self.chance(15):
                self.add(1, f"if {self.condition()}:")
                self.add(2, f"return {self.pick(self.names)}, {self.scalar()}")
        self.add(1, f"return {self.pick(self.names)}, {self.scalar()}")
        return "import kuai as torch\n\n\n" + "\n".join(self.lines) + "\n"


@st.composite
def programs(draw, in_place):
    return Writer(draw, in_place).source()


@contextmanager
def module_of(source: str) -> Iterator[object]:
    """The source as a module in a file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "random_program.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("random_compiled", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def arguments(shape, dtype, scale, seed):
    """Three tensors, the first two of which need gradients."""
    generator = torch.Generator().manual_seed(seed)
    xs = [torch.randn(shape, generator=generator, dtype=dtype) * scale for _ in range(3)]
    return [x.requires_grad_(i < 2) for i, x in enumerate(xs)]


SHAPES = st.tuples(st.integers(2, 5), st.integers(2, 9))


@pytest.mark.parametrize("in_place", [False, True])
def test_control_flow(in_place):
    @SETTINGS
    @given(programs(in_place), SHAPES)
    def check(source, shape):
        with module_of(source) as module:
            calls = [arguments(shape, torch.float64, s, i) for i, s in enumerate((0.3, 1.0, 3.0))]
            agrees(module.f, *calls, tolerance=1e-7)

    check()


DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8",
          "bool"]  # fmt: skip
MIXED = ["{0} + {1}", "{0} * {1}", "torch.maximum({0}, {1})", "torch.where({0} > {1}, {0}, {1})",
         "{0} == {1}", "{0}.sum(-1, keepdim=True) + {1}", "{0}.amax(0) + {1}", "{0} * 2",
         "{0} + 0.5", "{0} < 1", "{0}.to(torch.{2})", "{0}.cumsum(0)", "torch.cat([{0}, {1}])",
         "{0}.any() | ({1} > 0)", "torch.stack([{0}, {0}]).argmax(0)", "{0} / 3", "{0} // 2",
         "{0}.mean(dtype=torch.float32)", "-{0}.to(torch.float32)",
         "{0}.T", "{0}[:, None]", "{0}.unsqueeze(0).expand(2, *{0}.shape)", "{0}.sort(0).values",
         "{0}.flatten()[::2]", "{0}.prod(0)"]  # fmt: skip


@st.composite
def mixtures(draw):
    """Operations on tensors of all types and shapes; what eager refuses is left out."""
    lines, names = [], ["a", "b", "c"]
    for i in range(draw(st.integers(2, 6))):
        form = draw(st.sampled_from(MIXED))
        first, second = draw(st.sampled_from(names)), draw(st.sampled_from(names))
        lines.append(f"    v{i} = {form.format(first, second, draw(st.sampled_from(DTYPES)))}")
        names.append(f"v{i}")
    result = ", ".join(names[3:])
    return (
        "import kuai as torch\n\n\ndef f(a, b, c):\n"
        + "\n".join(lines)
        + (f"\n    return [{result}]\n")
    )


SIZES = st.lists(st.integers(0, 4), min_size=1, max_size=3)


@SETTINGS
@given(mixtures(), st.lists(st.sampled_from(DTYPES), min_size=3, max_size=3), SIZES, st.data())
def test_types_and_shapes(source, dtypes, shape, data):
    values = []
    for name in dtypes:
        own = [n if data.draw(st.booleans()) else 1 for n in shape]
        x = torch.randint(0, 4, own).to(getattr(torch, name))
        values.append(x.transpose(0, -1) if data.draw(st.booleans()) and own[0] == own[-1] else x)
    with module_of(source) as module, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = module.f(*values)
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            with pytest.raises(type(error)):
                kuai.compile(module.f)(*values)
            return
        narrow = any(x.dtype in (torch.float16, torch.bfloat16) for x in [*expected, *values])
        compiled = kuai.compile(module.f)
        for _ in range(2):
            near(compiled(*values), expected, 2e-2 if narrow else 1e-5)


LAYERS = st.sampled_from(
    ["Linear", "Tanh", "ReLU", "Dropout", "LayerNorm", "Residual", "Gate", "Repeat", "BatchNorm1d"]
)


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Gate(nn.Module):
    def __init__(self, size, inner):
        super().__init__()
        self.inner = inner
        self.score = nn.Linear(size, 1)

    def forward(self, x):
        if self.score(x).mean() > 0:
            return self.inner(x)
        return x * 0.5


class Repeat(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        rounds = 0
        while x.norm() > 0.5 and rounds < 4:
            x = self.inner(x) * 0.5
            rounds += 1
        return x


def make(names, size):
    """A stack of layers; those that contain others contain what follows."""
    layers = []
    for i, name in enumerate(names):
        if name in ("Residual", "Gate", "Repeat"):
            inner = make(names[i + 1 :], size)
            layers.append({"Residual": Residual, "Repeat": Repeat}[name](inner) if name != "Gate"
                          else Gate(size, inner))  # fmt: skip
            break
        options = {"Linear": (size, size), "LayerNorm": (size,), "BatchNorm1d": (size,)}
        layers.append(getattr(nn, name)(*options.get(name, ())))
    return nn.Sequential(*layers)


@SETTINGS
@given(st.lists(LAYERS, min_size=1, max_size=6), st.integers(1, 9), st.integers(2, 5))
def test_blocks(names, size, batch):
    kuai.manual_seed(0)
    net = make(names, size).double()
    compiled = kuai.compile(net)
    x = torch.randn(batch, size, dtype=torch.float64, requires_grad=True)
    for training in (True, False):
        net.train(training)
        state = {k: v.clone() for k, v in net.state_dict().items()}
        found = []
        for call in (net, compiled, compiled):
            net.load_state_dict(state)
            net.zero_grad()
            x.grad = None
            kuai.manual_seed(1)
            y = call(x)
            y.sin().sum().backward()
            grads = [p.grad for p in (x, *net.parameters())]
            found.append((y, grads, {k: v.clone() for k, v in net.state_dict().items()}))
        for other in found[1:]:
            near(other[0], found[0][0], 1e-7)
            gradients_near(other[1], found[0][1], 1e-7)
            near(other[2], found[0][2], 1e-7)
