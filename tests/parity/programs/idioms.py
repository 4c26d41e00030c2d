"""How people write control flow: states of all kinds, flags, and gradients of their own."""

# ruff: noqa: B905 - programs as people write them

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tests.parity.programs import data, differentiated, program


@program
def nonlocal_counter(torch: ModuleType) -> Any:

    def nonlocal_counter(x):
        calls = 0
        best = torch.tensor(float("inf"), dtype=x.dtype)

        def objective(z):
            nonlocal calls, best
            calls += 1
            v = (z**2).sum() + z.sin().sum()
            if v < best:
                best = v
            return v

        lr = 0.3
        while objective(x) > -1.2 and calls < 30:
            x = x - lr * (2 * x + x.cos())
        return x, best, calls

    return differentiated(torch, torch.compile(nonlocal_counter), (data(4),), (data(4, seed=3),))


@program
def dict_state(torch: ModuleType) -> Any:

    def dict_state(x):
        st = {"x": x, "m": torch.zeros_like(x), "v": torch.zeros_like(x), "t": 0}
        while st["x"].norm() > 0.5 and st["t"] < 40:
            st["t"] += 1
            g = 2 * st["x"]
            st["m"] = 0.9 * st["m"] + 0.1 * g
            st["v"] = 0.999 * st["v"] + 0.001 * g * g
            mh = st["m"] / (1 - 0.9 ** st["t"])
            vh = st["v"] / (1 - 0.999 ** st["t"])
            st["x"] = st["x"] - 0.1 * mh / (vh.sqrt() + 1e-8)
        return st

    return differentiated(torch, torch.compile(dict_state), (data(3),))


@program
def dataclass_mutated(torch: ModuleType) -> Any:

    @dataclass
    class Particle:
        pos: torch.Tensor
        vel: torch.Tensor
        alive: bool = True
        hits: int = 0

    def dataclass_mutated(pos, vel):
        p = Particle(pos, vel)
        t = 0
        while p.alive and t < 30:
            p.pos = p.pos + 0.1 * p.vel
            outside = p.pos.abs() > 1.5
            if outside.any():
                p.vel = torch.where(outside, -0.9 * p.vel, p.vel)
                p.hits += 1
            if p.vel.norm() < 0.3 or p.hits >= 4:
                p.alive = False
            t += 1
        return p.pos, p.vel, p.hits, t

    return differentiated(
        torch,
        torch.compile(dataclass_mutated),
        (data(2), data(2, seed=1)),
        (data(2, seed=4) * 2, data(2, seed=5) * 3),
    )


@program
def append_on_both_sides(torch: ModuleType) -> Any:

    def append_on_both_sides(xs, ys):
        out = []
        names = {}
        for i, (x, y) in enumerate(zip(xs, ys)):
            if x.sum() > y.sum():
                out.append(x - y)
                names[f"k{i}"] = x
            elif i % 2:
                out.append(y)
                names[f"k{i}"] = y
            else:
                out += [x * 0]
                names[f"k{i}"] = x * 0
        return torch.stack(out), sum(o.sum() for o in out), names

    return differentiated(
        torch, torch.compile(append_on_both_sides), (data(4, 3), data(4, 3, seed=1))
    )


@program
def sliding_window_in_while(torch: ModuleType) -> Any:

    def sliding_window_in_while(x):
        buf = deque([torch.zeros_like(x) for _ in range(3)], maxlen=3)
        hist = [torch.zeros_like(x)] * 2
        n = 0
        while n < 10 and x.norm() > 0.1:
            buf.append(x)
            hist.pop(0)
            hist.append(x * 2)
            x = x * 0.5 + 0.1 * sum(buf) / 3 - 0.05 * hist[0]
            n += 1
        return x, n, list(buf), hist

    return differentiated(
        torch, torch.compile(sliding_window_in_while), (data(4),), (data(4, seed=2),)
    )


@program
def result_none(torch: ModuleType) -> Any:

    def result_none(x):
        result = None
        n = 0
        while n < 6:
            x = x * 1.7
            if x.abs().max() > 3:
                result = x * 2
                break
            n += 1
        if result is None:
            result = -x
        return result

    return differentiated(torch, torch.compile(result_none), (data(4),), (data(4, seed=3),))


@program
def none_hidden_in_tensor_loop(torch: ModuleType) -> Any:

    def none_hidden_in_tensor_loop(x):
        h = None
        n = 0
        while x.norm() > 0.3:
            if h is None:
                h = torch.zeros_like(x)
            h = torch.tanh(h * 0.5 + x)
            x = x * 0.6
            n += 1
        return h if h is not None else x

    return differentiated(
        torch, torch.compile(none_hidden_in_tensor_loop), (data(4),), (data(4, seed=3),)
    )


@program
def tuple_or_none_return(torch: ModuleType) -> Any:

    def tuple_or_none_return(x):
        def attempt(x):
            if x.sum() > 0:
                return x * 2, True
            return None, False

        y, ok = attempt(x)
        if ok:
            return y
        return x

    return differentiated(
        torch, torch.compile(tuple_or_none_return), (data(4),), (data(4, seed=3),)
    )


@program
def status_strings(torch: ModuleType) -> Any:

    def status_strings(x):
        n = 0
        status = "running"
        while status == "running":
            x = x * 0.7
            n += 1
            if x.norm() < 0.5:
                status = "converged"
            elif n >= 4:
                status = "max_iter"
        if status == "converged":
            return x
        return -x

    return differentiated(torch, torch.compile(status_strings), (data(4),), (data(4, seed=3) * 3,))


@program
def object_method_state(torch: ModuleType) -> Any:

    def object_method_state(x):
        class Acc:
            def __init__(self):
                self.total, self.n = torch.zeros_like(x), 0

            def __iadd__(self, o):
                self.total = self.total + o
                self.n += 1
                return self

            def __len__(self):
                return 3

            def __getitem__(self, i):
                return self.total * i

            def __call__(self, y):
                self.n += 1
                return y * 2

            @property
            def mean(self):
                return self.total / max(self.n, 1)

        a = Acc()
        k = 0
        while k < 4:
            if x[k] > 0:
                a += x
            else:
                x = x + a(x) * 0.1
            k += 1
        return a.mean, a.n, a[2], x

    return differentiated(torch, torch.compile(object_method_state), (data(4) + 1,), (data(4) - 1,))


@program
def while_else(torch: ModuleType) -> Any:

    def while_else(x):
        n = 0
        while n < 5:
            x = x * 1.5
            if x.abs() > 10:
                r = x
                break
            n += 1
        else:
            r = x.exp()
        return r, n

    return differentiated(torch, torch.compile(while_else), (data(),), (data(seed=3) * 20,))


@program
def float_int_bool_conversions(torch: ModuleType) -> Any:

    def float_int_bool_conversions(x):
        steps = int(x.abs().sum() * 3) + 1
        scale = float(x.max())
        acc = torch.zeros_like(x)
        for i in range(steps):
            acc = acc + x * scale / (i + 1)
            if bool((acc > 5).any()):
                break
        else:
            scale = -1.0
        return acc, steps, scale, i

    return differentiated(
        torch, torch.compile(float_int_bool_conversions), (data(3),), (data(3, seed=2) * 3,)
    )
