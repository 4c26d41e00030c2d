"""Programs that run programs: stacks, trees, memories, sorting, automata."""

# ruff: noqa: B007 - programs as people write them

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import data, differentiated, fill, program


@program
def shift_reduce(torch: ModuleType) -> Any:
    nn = torch.nn

    class ShiftReduce(nn.Module):
        """SPINN: buffer, stack in a tensor with a pointer, composition network."""

        def __init__(self):
            super().__init__()
            self.compose = nn.Linear(6, 3)

        def forward(self, buf, ops):
            stack = torch.zeros(6, 3, dtype=buf.dtype)
            sp, bp = 0, 0
            for op in ops:
                if op == 0:
                    stack[sp] = buf[bp]
                    sp += 1
                    bp += 1
                else:
                    right, left = stack[sp - 1], stack[sp - 2]
                    stack[sp - 2] = torch.tanh(self.compose(torch.cat([left, right])))
                    sp -= 1
            return stack[0], sp

    net = fill(torch, ShiftReduce())
    return differentiated(
        torch,
        torch.compile(net),
        (data(5, 3), np.array([0, 0, 1, 0, 1, 0, 0, 1, 1])),
        (data(5, 3), np.array([0, 0, 0, 0, 0, 1, 1, 1, 1])),
        parameters=net.parameters(),
    )


@program
def child_sum_tree_lstm(torch: ModuleType) -> Any:
    nn = torch.nn

    class ChildSumTreeLSTM(nn.Module):
        """nodes in topological order, array of parents, index writes."""

        def __init__(self):
            super().__init__()
            self.iou = nn.Linear(3, 12)
            self.uiou = nn.Linear(4, 12, bias=False)
            self.f = nn.Linear(3, 4)
            self.uf = nn.Linear(4, 4, bias=False)

        def forward(self, x, parents):
            n = x.size(0)
            h_sum = torch.zeros(n + 1, 4, dtype=x.dtype)
            fc_sum = torch.zeros(n + 1, 4, dtype=x.dtype)
            h = None
            for i in range(n):
                i_, o, u = torch.chunk(self.iou(x[i]) + self.uiou(h_sum[i].clone()), 3)
                c = torch.sigmoid(i_) * torch.tanh(u) + fc_sum[i]
                h = torch.sigmoid(o) * torch.tanh(c)
                p = parents[i]
                if p >= 0:
                    f = torch.sigmoid(self.f(x[p]) + self.uf(h))
                    h_sum[p] = h_sum[p] + h
                    fc_sum[p] += f * c
            return h, h_sum

    net = fill(torch, ChildSumTreeLSTM())
    return differentiated(
        torch,
        torch.compile(net),
        (data(5, 3), np.array([1, 4, 4, 4, -1])),
        (data(5, 3, seed=3), np.array([2, 2, 3, 4, -1])),
        parameters=net.parameters(),
    )


@program
def rpn_calculator(torch: ModuleType) -> Any:
    F = torch.nn.functional

    def rpn_calculator(vals, prog):
        stack = torch.zeros(8, dtype=vals.dtype)
        sp = torch.tensor(0)
        nv = torch.tensor(0)
        pc = torch.tensor(0)
        while prog[pc] != 9:
            op = prog[pc]
            if op == 0:
                stack = stack.index_fill(0, sp, 0.0) + F.one_hot(sp, 8).to(vals.dtype) * vals[nv]
                sp = sp + 1
                nv = nv + 1
            elif op == 4:
                top = stack[sp - 1]
                stack = torch.where(torch.arange(8) == sp - 1, -top, stack)
            else:
                b, a = stack[sp - 1], stack[sp - 2]
                r = a + b if op == 1 else (a * b if op == 2 else a - b)
                stack = torch.where(torch.arange(8) == sp - 2, r, stack)
                sp = sp - 1
            pc += 1
        return stack[sp - 1], sp

    return differentiated(
        torch,
        torch.compile(rpn_calculator),
        (data(4), np.array([0, 0, 1, 0, 2, 9, 9])),
        (data(4), np.array([0, 0, 3, 0, 1, 4, 9])),
    )


@program
def ntm(torch: ModuleType) -> Any:
    nn = torch.nn
    F = torch.nn.functional

    class NTM(nn.Module):
        def __init__(self, N=6, M=4):
            super().__init__()
            self.N, self.M = N, M
            self.ctrl = nn.LSTMCell(3 + M, 8)
            self.head = nn.Linear(8, M + 1 + 1 + 3 + 1 + M + M)
            self.mem_bias = nn.Parameter(torch.Tensor(N, M))

        def address(self, k, beta, g, s, gamma, memory, w_prev):
            w = F.softmax(
                beta * F.cosine_similarity(memory + 1e-16, k.unsqueeze(0) + 1e-16, dim=-1), dim=0
            )
            w = g * w + (1 - g) * w_prev
            padded = torch.cat([w[-1:], w, w[:1]])
            w = F.conv1d(padded.view(1, 1, -1), s.view(1, 1, -1)).view(-1)
            w = w**gamma
            return w / (w.sum() + 1e-16)

        def forward(self, xs):
            mem = self.mem_bias.clone()
            w = torch.zeros(self.N, dtype=xs.dtype)
            w[0] = 1.0
            h = c = xs.new_zeros(1, 8)
            r = xs.new_zeros(self.M)
            outs = []
            for x in xs.split(1):
                h, c = self.ctrl(torch.cat([x, r[None]], 1), (h, c))
                k, b, g, s, gm, e, a = self.head(h)[0].split([self.M, 1, 1, 3, 1, self.M, self.M])
                w = self.address(
                    torch.tanh(k),
                    F.softplus(b),
                    torch.sigmoid(g),
                    F.softmax(s, 0),
                    1 + F.softplus(gm),
                    mem,
                    w,
                )
                mem = mem * (1 - torch.ger(w, torch.sigmoid(e))) + torch.outer(w, a)
                r = w @ mem
                outs.append(r)
            return torch.stack(outs), mem

    net = fill(torch, NTM())
    return differentiated(torch, torch.compile(net), (data(5, 3),), parameters=net.parameters())


@program
def stack_with_swap(torch: ModuleType) -> Any:

    def stack_with_swap(x, ops):
        stack = [x[0], x[1]]
        for i, op in enumerate(ops):
            if op == 0:
                a = stack.pop()
                b = stack.pop()
                stack.append(a)
                stack.append(b * 2)
            else:
                a = stack.pop()
                stack.append(a.sin() + x[i])
        return stack

    return differentiated(
        torch,
        torch.compile(stack_with_swap),
        (data(5), np.array([0, 1, 0, 1, 1])),
        (data(5), np.array([1, 1, 1, 1, 1])),
    )


@program
def function_table(torch: ModuleType) -> Any:

    OPS = [torch.sin, torch.cos, lambda t: t * t]

    def function_table(x, prog):
        for p in prog:
            x = OPS[int(p)](x)
        return x

    return differentiated(
        torch,
        torch.compile(function_table),
        (data(4), np.array([0, 2, 1])),
        (data(4), np.array([2, 2, 0])),
    )


@program
def bubble_sort_swap_tuple(torch: ModuleType) -> Any:

    def bubble_sort_swap_tuple(x):
        x = x.clone()
        swapped = True
        while swapped:
            swapped = False
            for j in range(len(x) - 1):
                if x[j] > x[j + 1]:
                    x[j], x[j + 1] = x[j + 1].clone(), x[j].clone()
                    swapped = True
        return x

    return differentiated(
        torch, torch.compile(bubble_sort_swap_tuple), (data(6),), (data(6, seed=3),)
    )


@program
def mandelbrot(torch: ModuleType) -> Any:

    def mandelbrot(re, im):
        zr = torch.zeros_like(re)
        zi = torch.zeros_like(im)
        count = torch.zeros(8, dtype=torch.int32)
        active = torch.ones(8, dtype=torch.bool)
        for i in range(30):
            if not active.any():
                break
            zr_new = zr * zr - zi * zi + re
            zi_new = 2 * zr * zi + im
            zr, zi = torch.where(active, zr_new, zr), torch.where(active, zi_new, zi)
            active = active & (zr**2 + zi**2 <= 4)
            count[active] += 1
        return count, torch.log(zr**2 + zi**2 + 1)

    return differentiated(torch, torch.compile(mandelbrot), (data(8), data(8, seed=1)))


@program
def expm_scaling_squaring(torch: ModuleType) -> Any:

    def expm_scaling_squaring(A):
        norm = torch.linalg.matrix_norm(A, 1)
        s = torch.ceil(torch.log2(norm.clamp(min=1e-12) / 0.5)).clamp(min=0).int()
        A = A / 2**s
        X = torch.eye(3, dtype=A.dtype)
        term = torch.eye(3, dtype=A.dtype)
        for k in range(1, 10):
            term = term @ A / k
            X = X + term
        i = 0
        while i < s:
            X = X @ X
            i += 1
        return X

    return differentiated(
        torch,
        torch.compile(expm_scaling_squaring),
        (data(3, 3),),
        (data(3, 3, seed=2, scale=10),),
        (data(3, 3, scale=0.01),),
    )


@program
def stack_rnn(torch: ModuleType) -> Any:
    nn = torch.nn
    F = torch.nn.functional

    class StackRNN(nn.Module):
        """Joulin and Mikolov: differentiable stack with push/pop probabilities."""

        def __init__(self):
            super().__init__()
            self.D = 5
            self.U = nn.Linear(3, 4)
            self.R = nn.Linear(4, 4, bias=False)
            self.P = nn.Linear(1, 4, bias=False)
            self.Aw = nn.Linear(4, 2)
            self.Dw = nn.Linear(4, 1)

        def forward(self, xs, _):
            h = torch.zeros(4, dtype=xs.dtype)
            stack = torch.zeros(self.D, dtype=xs.dtype)
            depth = []
            for x in xs:
                h = torch.sigmoid(self.U(x) + self.R(h) + self.P(stack[:1]))
                a = F.softmax(self.Aw(h), dim=0)
                push, pop = a.unbind()
                up = torch.cat([torch.sigmoid(self.Dw(h)), stack[:-1]])
                down = torch.cat([stack[1:], stack.new_full((1,), -1)])
                stack = push * up + pop * down
                depth.append(stack.sum())
            return h, stack, torch.stack(depth)

    net = fill(torch, StackRNN())
    return differentiated(
        torch, torch.compile(net), (data(4, 3), data(4, 2, seed=1)), parameters=net.parameters()
    )


@program
def rule110(torch: ModuleType) -> Any:

    def rule110(row):
        rule = torch.tensor([0, 1, 1, 1, 0, 1, 1, 0])
        seen = 0
        for gen in range(20):
            idx = 4 * torch.roll(row, 1) + 2 * row + torch.roll(row, -1)
            new = rule[idx]
            if (new == row).all():
                break
            row = new
            seen += row.sum()
        return row, seen, gen

    return differentiated(
        torch,
        torch.compile(rule110),
        (np.array([0, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 0]),),
        (np.array([[1] * 12]),),
    )
