"""Compares the rounding errors of kuai and PyTorch in float32, over random networks.

    python -m benchmarks.accuracy
    python -m benchmarks.accuracy --networks 100 --json accuracy.json

The reference is PyTorch, or kuai where PyTorch is missing, in float64, from the same numbers. The
error of a result is the root of the mean square of its differences from the reference, divided by
that of the reference itself; for the gradients it is taken over all parameters together. A figure
is the geometric mean over the networks. The goal: kuai's error is at most twice PyTorch's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import kuai
from benchmarks.report import Row, add_output_options, write

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Design:
    """A random network: its widths, and the function that is applied to each width's numbers."""

    widths: list[int]
    functions: list[str]
    batch: int


def perceptron(random: np.random.Generator) -> Design:
    """One to five dense layers with elementwise functions between them."""
    depth = int(random.integers(1, 6))
    names = ["relu", "tanh", "sigmoid", "gelu"]
    return Design(
        widths=[int(x) for x in random.integers(4, 300, depth + 1)],
        functions=[str(x) for x in random.choice(names, depth)],
        batch=int(random.integers(1, 33)),
    )


def normalized_stack(random: np.random.Generator) -> Design:
    """Two to six dense layers, each followed by a layer norm, a softmax or a GELU."""
    depth = int(random.integers(2, 7))
    names = ["layer_norm", "softmax", "gelu"]
    return Design(
        widths=[int(x) for x in random.integers(8, 300, depth + 1)],
        functions=[str(x) for x in random.choice(names, depth)],
        batch=int(random.integers(1, 33)),
    )


FAMILIES: dict[str, Callable[[np.random.Generator], Design]] = {
    "dense layers": perceptron,
    "layer norm, softmax, GELU": normalized_stack,
}


def network(library: Any, design: Design) -> Any:
    """The network in one of the libraries, its numbers still the library's own."""
    F = library.nn.functional
    apply = {
        "relu": F.relu,
        "tanh": F.tanh,
        "sigmoid": F.sigmoid,
        "gelu": F.gelu,
        "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]),
        # Without the factor, the numbers would fade away through the layers.
        "softmax": lambda x: F.softmax(x, -1) * x.shape[-1],
    }

    class Network(library.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            pairs = zip(design.widths[:-1], design.widths[1:], strict=True)
            self.layers = library.nn.ModuleList(library.nn.Linear(*pair) for pair in pairs)

        def forward(self, x: Any) -> Any:
            for layer, name in zip(self.layers, design.functions, strict=True):
                x = apply[name](layer(x))
            return x

    return Network()


def evaluated(
    library: Any, design: Design, numbers: Arrays, dtype: str, compiled: Callable[[Any], Any]
) -> tuple[np.ndarray, np.ndarray]:
    """The output, and the gradients of all parameters in one row.

    Args:
        library: `kuai`, or `torch`.
        design: the network.
        numbers: the parameters, then the input, then what the output is multiplied by in the loss.
        dtype: `"float32"` or `"float64"`.
        compiled: what compiles the network; the identity for eager.
    """
    net = network(library, design)
    if dtype == "float64":
        net = net.double()
    *parameters, x, weight = [values.astype(dtype) for values in numbers]
    for parameter, values in zip(net.parameters(), parameters, strict=True):
        parameter.detach().numpy()[...] = values
    y = compiled(net)(library.from_numpy(x))
    (y * library.from_numpy(weight)).sum().backward()
    gradients = [p.grad.numpy().ravel() for p in net.parameters()]
    return y.detach().numpy(), np.concatenate(gradients)


def random_numbers(random: np.random.Generator, design: Design) -> Arrays:
    """Numbers for a network, all of them float32."""
    arrays = []
    for inputs, outputs in zip(design.widths[:-1], design.widths[1:], strict=True):
        arrays.append(random.normal(0, (2 / inputs) ** 0.5, (outputs, inputs)))
        arrays.append(random.normal(0, 0.1, outputs))
    arrays.append(random.normal(0, 1, (design.batch, design.widths[0])))
    arrays.append(random.normal(0, 1, (design.batch, design.widths[-1])))
    return [x.astype(np.float32) for x in arrays]


def relative_error(result: np.ndarray, reference: np.ndarray) -> float:
    """The size of the difference, relative to the size of the reference."""
    size = np.linalg.norm(reference)
    return float(np.linalg.norm(result - reference) / size) if size else 0.0


def eager(net: Any) -> Any:
    """The network as it is."""
    return net


def contestants(torch: Any) -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """Whose errors are measured: a library, and what compiles its networks."""
    found = {"kuai": (kuai, eager)}
    if hasattr(kuai, "compile"):
        found["kuai compiled"] = (kuai, kuai.compile)
    if torch:
        found["PyTorch"] = (torch, eager)
    return found


def measurements(torch: Any, networks: int) -> Iterator[Row]:
    """One row for the results and one for the gradients of each family of networks."""
    measured = contestants(torch)
    for family, designed in FAMILIES.items():
        errors: dict[str, dict[str, list[float]]] = {
            what: {name: [] for name in measured} for what in ("result", "gradient")
        }
        for seed in range(networks):
            random = np.random.default_rng(seed)
            design = designed(random)
            numbers = random_numbers(random, design)
            truth = evaluated(torch or kuai, design, numbers, "float64", eager)
            for name, (library, compiled) in measured.items():
                found = evaluated(library, design, numbers, "float32", compiled)
                for what, ours, reference in zip(errors, found, truth, strict=True):
                    errors[what][name].append(relative_error(ours, reference))
        for what, by_name in errors.items():
            yield row(family, what, {name: typical(found) for name, found in by_name.items()})


def typical(errors: list[float]) -> float:
    """The geometric mean, an exact result counted as an error far below rounding."""
    return float(np.exp(np.mean(np.log(np.maximum(errors, 1e-12)))))


def row(family: str, what: str, errors: dict[str, float]) -> Row:
    """Errors in units of float32's rounding, and kuai's ratios to PyTorch's."""
    unit = float(np.finfo(np.float32).eps)
    theirs = errors.get("PyTorch")
    cells: Row = {"networks": family, "error of": what}
    cells |= {f"{name}, eps": error / unit for name, error in errors.items()}
    for name, error in errors.items():
        if name != "PyTorch":
            cells[f"{name} / PyTorch"] = error / theirs if theirs else None
    return cells


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description="rounding errors of kuai beside PyTorch's")
    parser.add_argument("--networks", type=int, default=40, help="random networks of each family")
    add_output_options(parser)
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        torch = None
        print("PyTorch is not installed: kuai is measured alone")
    title = f"relative errors of float32, mean of {options.networks} random networks"
    write(title, list(measurements(torch, options.networks)), options)


if __name__ == "__main__":
    main()
