"""Variables of which values decide what they are: `None` or a tensor, one of several objects."""

import pytest

import kuai
from kuai import nn
from kuai.errors import CompileError
from tests.compiler.comparing import agrees
from tests.compiler.test_programs import blocks_agree


def both_signs(*shape):
    return [((kuai.randn(*shape) + s).requires_grad_(),) for s in (1.5, -1.5, 0.0)]


# -- None, or a number, in the place of a tensor ---------------------------------------------------


def test_a_result_that_is_none_until_it_is_found():
    def found(x):
        result = None
        rounds = 0
        while rounds < 6:
            x = x * 1.7
            if x.max() > 3:
                result = x * 2
                break
            rounds += 1
        if result is None:
            result = -x
        return result, rounds

    agrees(found, *both_signs(4))


def test_a_state_that_the_first_round_makes():
    def recurrent(x):
        state, before = None, None
        rounds = 0
        while x.norm() > 0.3:
            if state is None:
                state = (kuai.zeros_like(x), kuai.ones_like(x))
            h, c = state
            state = (kuai.tanh(h * 0.5 + x), c * 0.9)
            if before is not None and (before - x).norm() < 0.2:
                x = x * 0.5
            before = x
            x = x * 0.6
            rounds += 1
        y = x if state is None else state[0] + state[1]
        return y, before if before is not None else kuai.zeros_like(x), rounds

    agrees(recurrent, *both_signs(4), (kuai.zeros(4),))


def test_the_best_so_far_of_many():
    def best_row(xs):
        best, place = None, None
        for i, x in enumerate(xs):
            loss = x.square().sum()
            if x.sum() > 0 and (best is None or loss < best):
                best, place = loss, i
        if best is not None:
            return best, place
        return xs.sum(), -1

    agrees(best_row, *both_signs(5, 3), *both_signs(12, 3))


def test_a_function_that_gives_a_value_and_whether_there_is_one():
    def root(x):
        def attempt(x):
            if x.sum() > 0:
                return x.sum().sqrt(), True
            return None, False

        y, succeeded = attempt(x)
        if succeeded:
            return y * 2
        return x.sum()

    agrees(root, *both_signs(3))


def test_a_sum_that_starts_as_a_number():
    def summed(xs, weights):
        total, count = 0, 0
        for x in xs:
            if x.sum() > 0:
                total = total + x
                count += 1
        mixed = 0.5
        while weights.sum() < 9:
            mixed = mixed + weights
            weights = weights * 2
        return total * 2 + xs[0], weights - mixed, count

    agrees(summed, *((x, kuai.tensor([1.0, 2.0])) for (x,) in both_signs(4, 2)))
    agrees(summed, (kuai.randn(4, 2), kuai.tensor([8.0, 2.0])))


@pytest.mark.parametrize(
    "use",
    [
        lambda y, x: y + x,
        lambda y, x: x - y,
        lambda y, x: y.sum(),
        lambda y, x: kuai.exp(y),
        lambda y, x: y[0],
        lambda y, x: -y,
        lambda y, x: list(y),
    ],
)
def test_the_use_of_none_raises_what_eager_raises(use):
    def used(x):
        y = None
        if x.sum() > 0:
            y = x * 2
        return use(y, x)

    compiled = kuai.compile(used)
    for x in (kuai.ones(2), -kuai.ones(2)):
        try:
            used(x)
        except (AttributeError, TypeError) as error:
            with pytest.raises(type(error)):
                compiled(x)
        else:
            agrees(used, (x,), compiled=compiled)


def test_an_argument_that_may_be_none():
    layer = nn.GRUCell(3, 3)

    def steps(x):
        h = None
        if x.sum() > 0:
            h = x * 2
        return layer(x, h)

    agrees(steps, *both_signs(2, 3))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_result_is_none_where_it_is_none_in_eager(sign):
    def maybe(x):
        y = None
        if x.sum() > 0:
            y = x * 2
        return {"y": y, "z": x + 1}, y

    given = kuai.full((2,), sign, requires_grad=True)
    found, same = kuai.compile(maybe)(given)
    assert found["y"] is same
    assert found["z"].tolist() == [sign + 1, sign + 1]
    if sign < 0:
        assert same is None
    else:
        same.sum().backward()
        assert given.grad.tolist() == [2, 2]


def test_a_number_that_is_none_on_one_way_is_refused_on_that_way():
    @kuai.compile
    def maybe(x):
        if x.sum() > 0:
            return float(x.sum())
        return None

    assert maybe(kuai.ones(2)) == 2.0
    with pytest.raises(CompileError, match="is None here and a float elsewhere: return a"):
        maybe(-kuai.ones(2))


# -- one of several objects ------------------------------------------------------------------------


class Routed(nn.Module):
    """Each row goes to the expert that its gate chooses."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(4, 3)
        self.experts = nn.ModuleList(
            [nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4))]
        )
        self.experts.append(nn.Identity())

    def forward(self, x):
        rows = []
        for row in x:
            chosen = int(self.gate(row).argmax())
            rows.append(self.experts[chosen - 3](row))
        y = kuai.stack(rows)
        k = self.gate(y.mean(0)).argmax()
        rounds = 0
        while y.norm() > 0.5 and rounds < 4:
            y = kuai.tanh(self.experts[k](y)) * 0.8
            k = (k + 1) % 3
            rounds += 1
        return y


def test_experts_that_a_gate_chooses():
    blocks_agree(Routed(), *((kuai.randn(3, 4),) for _ in range(4)))


FUNCTIONS = [kuai.sin, lambda x: x * x, kuai.Tensor.exp]


def test_functions_that_a_program_chooses():
    table = {3: kuai.sin, 5: lambda x: x + 1}

    def run(x, program):
        for op in program:
            x = FUNCTIONS[int(op)](x)
        return table[int(program[0]) * 2 + 3](x)

    x = kuai.randn(3, requires_grad=True)
    agrees(run, (x, kuai.tensor([0, 2, 1])), (x, kuai.tensor([1, 1, 0])))
    agrees(run, (x, kuai.tensor([0, 3, 1])), (x, kuai.tensor([2, 1, 0])))


def test_a_status_is_a_text():
    def solved(x):
        status, rounds = "running", 0
        while status == "running":
            x = x * 0.7
            rounds += 1
            if x.norm() < 0.5:
                status = "converged"
            elif rounds >= 4:
                status = "stopped"
        if status != "converged":
            x = -x
        return x, rounds, status in ("stopped", "failed")

    agrees(solved, *both_signs(4), (kuai.randn(4) * 9,))
