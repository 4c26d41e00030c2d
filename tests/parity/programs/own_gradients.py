"""Gradients of one's own in control flow: functions, hooks, fixed points."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from tests.parity.programs import data, differentiated, program


@program
def functions_in_while(torch: ModuleType) -> Any:
    Function = torch.autograd.Function

    class Mul2(Function):
        """Two results, tensors as attributes, branches in both directions."""

        @staticmethod
        def forward(ctx, x, w):
            s = torch.sigmoid(x)
            if x.sum() > 0:
                y = s * w
            else:
                y = s - w
            ctx.save_for_backward(w, s)
            ctx.positive = x.sum() > 0
            ctx.shapes = {"x": x.shape}
            idx = (y > 0).long()
            ctx.mark_non_differentiable(idx)
            return y, s, idx

        @staticmethod
        def backward(ctx, gy, gs, _):
            w, s = ctx.saved_tensors
            ds = s * (1 - s)
            if ctx.positive:
                gx = gy * w * ds + gs * ds
                gw = gy * s
            else:
                gx = gy * ds + gs * ds
                gw = -gy
            assert gx.shape == ctx.shapes["x"]
            return gx, gw

    class ClampGrad(Function):
        @staticmethod
        def forward(ctx, x, lo, hi):
            ctx.lo, ctx.hi = lo, hi
            return x.view_as(x)

        @staticmethod
        def backward(ctx, g):
            return g.clamp(ctx.lo, ctx.hi), None, None

    def functions_in_while(x, w):
        total = torch.zeros_like(x)
        n = 0
        while total.abs().sum() < 3 and n < 6:
            y, s, idx = Mul2.apply(x, w)
            total = total + y + s * idx
            x = ClampGrad.apply(x + 0.1 * y, -0.5, 0.5)
            n += 1
        return total, n

    return differentiated(
        torch,
        torch.compile(functions_in_while),
        (data(4), data(4, seed=1)),
        (data(4, seed=5) - 3, data(4, seed=1)),
    )


@program
def hooks_in_loop(torch: ModuleType) -> Any:

    def hooks_in_loop(x):
        h = torch.zeros_like(x)
        n = 0
        while n < 5 and h.norm() < 10:
            h = torch.tanh(h + x) * 1.5
            if h.requires_grad:
                h.register_hook(lambda g: g.clamp(-0.1, 0.1))
            n += 1
        return h

    return differentiated(torch, torch.compile(hooks_in_loop), (data(4),), (data(4, seed=3),))


@program
def fixed_point_function_in_branch(torch: ModuleType) -> Any:
    Function = torch.autograd.Function

    class Fixed(Function):
        """Implicit differentiation of a fixed point, by vjps in the backward."""

        @staticmethod
        def forward(ctx, x, w):
            z = torch.zeros_like(x)
            for _ in range(100):
                zn = torch.tanh(w @ z + x)
                if (zn - z).norm() < 1e-9:
                    break
                z = zn
            ctx.save_for_backward(z, x, w)
            return z

        @staticmethod
        def backward(ctx, g):
            z, x, w = ctx.saved_tensors
            with torch.enable_grad():
                z_, x_, w_ = (t.detach().requires_grad_() for t in (z, x, w))
                f = torch.tanh(w_ @ z_ + x_)
            u = g
            for _ in range(100):
                un = g + torch.autograd.grad(f, z_, u, retain_graph=True)[0]
                if torch.norm(un - u) < 1e-9:
                    break
                u = un
            return torch.autograd.grad(f, (x_, w_), u)

    def fixed_point_function_in_branch(x, w):
        if x[0] > 0:
            x = Fixed.apply(x, w)
        return x * 2

    return differentiated(
        torch,
        torch.compile(fixed_point_function_in_branch),
        (data(3), data(3, 3, scale=0.3)),
        (data(3, seed=3), data(3, 3, scale=0.2)),
    )
