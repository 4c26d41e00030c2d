"""Programs about derivatives: transforms of functions, meta-learning, gradients of one's own."""

# ruff: noqa: B905, C416, C417, E501, RUF007, RUF059 - programs as people write them

from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

from tests.parity.programs import data, fill, program, raised


@program
def model_agnostic_meta_learning(torch: ModuleType) -> Any:
    """MAML by `func.functional_call`, `grad` and `vmap`; and by hand with `create_graph`."""
    nn, func = torch.nn, torch.func
    net = fill(torch, nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)))
    params = {k: v for k, v in net.named_parameters()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    x1, x2 = (torch.from_numpy(data(3, 5, 1, seed=s)) for s in (1, 2))
    amplitude = torch.tensor([0.5, 1.0, 2.0]).double().view(3, 1, 1)
    y1, y2 = amplitude * torch.sin(x1), amplitude * torch.sin(x2)

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        return ((func.functional_call(net, params, (x,)) - y) ** 2).mean()

    def task(x1: Any, y1: Any, x2: Any, y2: Any) -> Any:
        grads = func.grad(loss_of)(params, x1, y1)
        adapted = {k: params[k] - grads[k] * 0.1 for k in params}
        return loss_of(adapted, x2, y2)

    @torch.compile
    def step() -> Any:
        optimizer.zero_grad()
        loss = sum(task(x1[i], y1[i], x2[i], y2[i]) for i in range(3)) / 3
        loss.backward()
        optimizer.step()
        return loss

    vectorised = func.vmap(task)(x1, y1, x2, y2)
    losses = [step().item() for _ in range(3)]

    def by_hand() -> Any:
        total = 0.0
        for i in range(3):
            fast = list(net.parameters())
            for _ in range(2):
                w1, b1, w2, b2 = fast
                h = torch.tanh(nn.functional.linear(x1[i], w1, b1))
                inner = nn.functional.mse_loss(nn.functional.linear(h, w2, b2), y1[i])
                grad = torch.autograd.grad(inner, fast, create_graph=True)
                fast = list(map(lambda p: p[1] - 0.1 * p[0], zip(grad, fast)))
            w1, b1, w2, b2 = fast
            h = torch.tanh(nn.functional.linear(x2[i], w1, b1))
            total = total + nn.functional.mse_loss(nn.functional.linear(h, w2, b2), y2[i])
        return total

    total = torch.compile(by_hand)()
    return vectorised, losses, total, torch.autograd.grad(total, list(net.parameters()))


@program
def transforms_of_functions(torch: ModuleType) -> Any:
    """`grad`, `vjp`, `jvp`, `jacrev`, `jacfwd`, `hessian`, `vmap`, nested in each other."""
    f = torch.func
    x = torch.from_numpy(data(4))
    A = torch.from_numpy(data(3, 4))

    def g(x: Any) -> Any:
        return torch.sin(A @ x).prod() + x.pow(3).sum()

    def h(x: Any) -> Any:
        return torch.tanh(A @ x) * x[:3]

    out, pull = f.vjp(h, x)
    primal, tangent = f.jvp(h, (x,), (torch.ones(4).double(),))
    grads, (value, aux) = f.grad_and_value(lambda x: (g(x), x.sum()), has_aux=True)(x)
    batch = torch.from_numpy(data(5, 4, seed=2))
    per_sample = f.vmap(f.grad(g))(batch)
    net = fill(torch, torch.nn.Linear(4, 2))
    params = dict(net.named_parameters())

    def loss(params: Any, x: Any) -> Any:
        return f.functional_call(net, params, x).square().sum()

    sample_grads = f.vmap(f.grad(loss), in_dims=(None, 0))(params, batch)
    hv = f.jvp(f.grad(g), (x,), (x,))[1]
    return (
        f.grad(g)(x), f.grad(lambda x: f.grad(g)(x).sum())(x), out, pull(out)[0], primal, tangent,
        f.jacrev(h)(x), f.jacfwd(h)(x), f.hessian(g)(x), grads, value, aux, per_sample,
        dict(sample_grads), hv, torch.autograd.functional.jacobian(h, x),
        torch.autograd.functional.hessian(g, x), f.vmap(torch.dot, (0, None))(batch, x),
        f.vmap(lambda r: r.outer(r), out_dims=2)(batch), torch.compile(f.grad(g))(x),
        torch.compile(lambda x: f.jacrev(h)(x))(x),
    )  # fmt: skip


@program
def gradient_checks(torch: ModuleType) -> Any:
    """`gradcheck` and `gradgradcheck` on functions of one's own, right and wrong ones."""
    F = torch.nn.functional

    class Right(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            ctx.save_for_backward(x, w)
            return x.sin() * w

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, w = ctx.saved_tensors
            return g * x.cos() * w, g * x.sin()

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.exp()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    class Clip(torch.autograd.Function):
        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            x, limit = inputs
            ctx.limit = limit

        @staticmethod
        def forward(x: Any, limit: float) -> Any:
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g.clamp(-ctx.limit, ctx.limit), None

    x, w = (torch.from_numpy(data(3, 4, seed=s)).requires_grad_() for s in (0, 1))
    check = torch.autograd.gradcheck
    clipped = torch.autograd.grad((Clip.apply(x, 0.5) * w * 3).sum(), x)[0]
    compiled = torch.compile(lambda x, w: Right.apply(x * 2, w).sum())(x, w)
    compiled.backward()
    return (
        check(Right.apply, (x, w)), torch.autograd.gradgradcheck(Right.apply, (x, w)),
        raised(lambda: check(Wrong.apply, (x,))), check(Wrong.apply, (x,), raise_exception=False),
        check(lambda x: F.layer_norm(x, (4,)), (x,)), check(lambda x: F.softmax(x, 1)[:, 0], (x,)),
        check(torch.nn.functional.gelu, (x,)), check(lambda a, b: torch.cdist(a, b), (x, w)),
        clipped, compiled, x.grad, w.grad,
    )  # fmt: skip


@program
def hypernetwork(torch: ModuleType) -> Any:
    """Weights that a network makes for another: sliced from a vector, used by `bmm` and `linear`."""
    nn, F = torch.nn, torch.nn.functional

    class Hyper(nn.Module):
        def __init__(self, z: int, sizes: list[int]) -> None:
            super().__init__()
            self.shapes = [(o, i) for i, o in zip(sizes, sizes[1:])]
            total = sum(o * i + o for o, i in self.shapes)
            self.net = nn.Sequential(nn.Linear(z, 6), nn.ReLU(), nn.Linear(6, total))
            self.log_scale = nn.ParameterDict(
                {"w": nn.Parameter(torch.zeros(1)), "b": torch.zeros(1)}
            )

        def forward(self, z: Any, x: Any) -> Any:
            flat, at = self.net(z), 0
            for n, (o, i) in enumerate(self.shapes):
                w = (
                    flat[..., at : at + o * i].view(*flat.shape[:-1], o, i)
                    * self.log_scale["w"].exp()
                )
                at += o * i
                b = flat.narrow(-1, at, o) * self.log_scale["b"].exp()
                at += o
                if z.dim() == 2:
                    x = torch.baddbmm(b.unsqueeze(1), x, w.mT)
                else:
                    x = F.linear(x, w, b)
                if n < len(self.shapes) - 1:
                    x = torch.sin(x)
            assert at == flat.shape[-1], f"{at} of {flat.shape[-1]} used"
            return x

    hyper = fill(torch, Hyper(3, [2, 4, 1]))
    run = torch.compile(hyper)
    one = run(torch.from_numpy(data(3)), torch.from_numpy(data(5, 2)))
    many = run(torch.from_numpy(data(2, 3)), torch.from_numpy(data(2, 5, 2)))
    (one.sum() + many.square().sum()).backward()
    return one, many, {k: p.grad for k, p in hyper.named_parameters()}, str(hyper.log_scale)


@program
def straight_through_and_reversal(torch: ModuleType) -> Any:
    """Custom gradients: binarised weights, gradient reversal, a hook that scales, checkpointing."""
    nn = torch.nn

    class Sign(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.sign()

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            (x,) = ctx.saved_tensors
            grad_input = grad_output.clone()
            grad_input[x.abs() > 1] = 0
            return grad_input

    class Reverse(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, lambd: float) -> Any:
            ctx.lambd = lambd
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            return grad_output.neg() * ctx.lambd, None

    class BinaryLinear(nn.Linear):
        def forward(self, x: Any) -> Any:
            return nn.functional.linear(x, Sign.apply(self.weight), self.bias)

    class DANN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(BinaryLinear(4, 6), nn.ReLU())
            self.label, self.domain = nn.Linear(6, 3), nn.Linear(6, 2)

        def forward(self, x: Any, alpha: float) -> Any:
            f = self.features(x)
            return self.label(f), self.domain(Reverse.apply(f, alpha))

    net = fill(torch, DANN())
    x = torch.from_numpy(data(5, 4))
    results = []
    for alpha in (0.1, 0.7):
        net.zero_grad()
        label, domain = torch.compile(net)(x, alpha)
        loss = label.logsumexp(1).mean() + nn.functional.cross_entropy(
            domain, torch.zeros(5).long()
        )
        loss.backward()
        results.append((loss, net.features[0].weight.grad.clone(), net.domain.bias.grad.clone()))
    w = torch.from_numpy(data(4)).requires_grad_()
    w.register_hook(lambda g: g * 0.1)
    handle = w.register_hook(lambda g: g + 1)
    (w * 2).sum().backward()
    first = w.grad.clone()
    handle.remove()
    w.grad = None
    (w * 2).sum().backward()
    checkpointed = torch.utils.checkpoint.checkpoint(net.features, x, use_reentrant=False)
    return results, first, w.grad, checkpointed


@program
def learned_optimiser_and_unrolled_loops(torch: ModuleType) -> Any:
    """A step size learned by differentiating through training; dynamic halting; Sinkhorn."""
    target = torch.from_numpy(data(4))
    log_lr = torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)

    @torch.compile
    def unrolled(log_lr: Any, w0: Any) -> Any:
        w, v = w0, torch.zeros_like(w0)
        for _ in range(8):
            grad = 2 * (w - target) * torch.arange(1, 5)
            v = 0.5 * v + grad
            w = w - log_lr.exp() * v
        return (w - target).square().sum()

    loss = unrolled(log_lr, torch.zeros(4).double())
    loss.backward()

    @torch.compile
    def adaptive_computation(x: Any, w: Any) -> Any:
        halting = torch.zeros(x.shape[0], dtype=x.dtype)
        out, state, n = torch.zeros_like(x), x, 0
        while bool((halting < 0.99).any()):
            state = torch.tanh(state @ w)
            p = torch.sigmoid(state.mean(-1))
            still = (halting < 0.99).to(x.dtype)
            p = torch.where(halting + p * still > 0.99, (1 - halting) * still, p * still)
            halting = halting + p
            out = out + p[:, None] * state
            n += 1
        return out, n

    w = torch.from_numpy(data(3, 3)).requires_grad_()
    out, n = adaptive_computation(torch.from_numpy(data(5, 3)), w)
    out.sum().backward()

    @torch.compile
    def sinkhorn(C: Any, eps: float) -> Any:
        K = torch.exp(-C / eps)
        a = torch.full((C.shape[0],), 1.0 / C.shape[0], dtype=C.dtype)
        b = torch.full((C.shape[1],), 1.0 / C.shape[1], dtype=C.dtype)
        u = torch.ones_like(a)
        error = torch.tensor(float("inf"), dtype=C.dtype)
        while error > 1e-7:
            v = b / (K.T @ u)
            new = a / (K @ v)
            error = (new - u).abs().max()
            u = new
        plan = u[:, None] * K * v[None, :]
        return (plan * C).sum(), plan

    C = torch.cdist(
        torch.from_numpy(data(4, 2)), torch.from_numpy(data(5, 2, seed=1))
    ).requires_grad_()
    cost, plan = sinkhorn(C, 0.5)
    cost.backward()
    return loss, log_lr.grad, out, int(n), w.grad, cost, plan, C.grad


@program
def copies_and_surgery(torch: ModuleType) -> Any:
    """State dict surgery: renamed keys, grown layers, folded batch norm, pruned and merged weights."""
    nn = torch.nn
    old = fill(
        torch, nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 4))
    )
    old.train()
    old(torch.from_numpy(data(6, 1, 6, 6)))
    old.eval()
    x = torch.from_numpy(data(2, 1, 6, 6, seed=1))
    before = old(x)
    conv, bn = old[0], old[1]
    fused = copy.deepcopy(conv)
    with torch.no_grad():
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        fused.weight.mul_(scale[:, None, None, None])
        fused.bias.sub_(bn.running_mean).mul_(scale).add_(bn.bias)
    folded = nn.Sequential(fused, *list(old.children())[2:])
    close = torch.allclose(folded(x), before)
    state = {k.replace("0.", "conv.").replace("3.", "fc."): v for k, v in folded.state_dict().items()
             if not k.startswith("1.")}  # fmt: skip

    class New(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.flat, self.head = nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(48, 6)

        def forward(self, x: Any) -> Any:
            return self.head(self.flat(self.conv(x)))

    new = fill(torch, New(), 5)
    own = new.state_dict()
    matched = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    result = new.load_state_dict(matched, strict=False)
    with torch.no_grad():
        new.head.weight[:4] = old[3].weight
        new.head.bias.data[:4].copy_(old[3].bias.data)
        mask = new.head.weight.abs() > new.head.weight.abs().flatten().kthvalue(100).values
        new.head.weight *= mask
    run = torch.compile(new)
    first = run(x)
    new.head = nn.Linear(48, 2).double()
    nn.init.constant_(new.head.weight, 0.1), nn.init.zeros_(new.head.bias)
    second = run(x)
    averaged = {
        k: torch.stack([m.state_dict()[k].float() for m in (old, old)]).mean(0)
        for k in old.state_dict()
    }
    return (
        close, sorted(state), result.missing_keys, result.unexpected_keys, str(result), first, second,
        float(mask.double().mean()), list(averaged), sum(v.sum() for v in averaged.values()),
    )  # fmt: skip
