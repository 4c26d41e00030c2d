"""The speed that kuai is to have, and whether it has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.report import Row

Times = Mapping[str, float | None]
BOTH = ("forward", "inference")


@dataclass(frozen=True)
class Goal:
    """How many times as fast as others kuai is to be.

    Args:
        workload: its name.
        kinds: the kinds of work that it holds for.
        against: contestants; the fastest of them counts.
        needed: the least ratio of their time to kuai's, or None.
        goal: the ratio that is aimed at, or None.
    """

    workload: str
    kinds: tuple[str, ...]
    against: tuple[str, ...]
    needed: float | None
    goal: float | None

    def row(self, kind: str, times: Times) -> Row:
        """The goal beside what was measured.

        Args:
            kind: the kind of work.
            times: the contestants' times in it.
        """
        ours = times.get("kuai compiled")
        others = [t for name in self.against if (t := times.get(name)) is not None]
        ratio = min(others) / ours if ours is not None and others else None
        return {
            "work": f"{self.workload}, {kind}",
            "measure": f"{' or '.join(self.against)} / kuai",
            "measured": ratio,
            "needed": self.needed,
            "goal": self.goal,
            "state": state(ratio, self.needed, self.goal, more_is_better=True),
        }


@dataclass(frozen=True)
class Limit:
    """How long something may take.

    Args:
        work: what.
        unit: of the numbers.
        needed: the most that it may take.
        goal: the time that is aimed at.
    """

    work: str
    unit: str
    needed: float
    goal: float

    def row(self, measured: float | None) -> Row:
        """The limit beside what was measured."""
        return {
            "work": self.work,
            "measure": self.unit,
            "measured": measured,
            "needed": self.needed,
            "goal": self.goal,
            "state": state(measured, self.needed, self.goal, more_is_better=False),
        }


def state(
    measured: float | None, needed: float | None, goal: float | None, *, more_is_better: bool
) -> str:
    """In words: `goal` where it is reached, else `needed` where that is, else `not yet`."""
    if measured is None:
        return "not measured"
    for word, bound in (("goal", goal), ("needed", needed)):
        if bound is not None and (measured >= bound if more_is_better else measured <= bound):
            return word
    return "not yet"


CHIMERA, MLP = "chimera (S6)", "MLP 20-256-10 (S1)"
TRAINING = ("training step",)
LARGE = ("inference", "training step")
PYTORCH = ("PyTorch", "PyTorch compiled")

GOALS = [
    Goal(CHIMERA, BOTH, ("PyTorch",), 60, 100),
    Goal(CHIMERA, BOTH, ("C",), None, 0.5),
    Goal(CHIMERA, TRAINING, ("PyTorch",), 60, 100),
    Goal(CHIMERA, TRAINING, ("C",), None, 0.5),
    Goal(MLP, BOTH, ("PyTorch",), 10, 12),
    Goal(MLP, BOTH, ("ONNX Runtime",), 3, 4),
    Goal(MLP, BOTH, ("JAX",), 5, None),
    Goal(MLP, BOTH, ("C",), None, 0.5),
    Goal(MLP, TRAINING, ("PyTorch",), 30, 60),
    Goal(MLP, TRAINING, ("JAX",), 5, None),
    Goal("MLP 784-256-10, batch 256", LARGE, (*PYTORCH, "JAX"), 1, 1.2),
    Goal("LeNet, batch 64", LARGE, PYTORCH, 1, 2),
    Goal("LSTM 32-64, 32 steps, batch 32", LARGE, PYTORCH, 1, 2),
    Goal("GPT 4x128, batch 12 of 64", LARGE, PYTORCH, 1, None),
]
CALL = Limit("call overhead: compiled identity of a (2, 20) tensor", "µs", 0.5, 0.3)
COLD = Limit("compile time, chimera training step, cold", "s", 0.25, 0.1)
CACHED = Limit("compile time, chimera training step, from the disk cache", "s", 0.03, 0.01)
