"""Programs about images: convolutions by hand, LeNet, batch norm, patches, styles, boxes."""

# ruff: noqa: B007, B905, E501 - programs as people write them

from __future__ import annotations

from collections import OrderedDict
from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import data, fill, program


@program
def cross_correlation_by_hand(torch: ModuleType) -> Any:
    """`corr2d` in two loops with writes to elements, and learning its kernel."""
    nn = torch.nn

    def corr2d(X: Any, K: Any) -> Any:
        h, w = K.shape
        Y = torch.zeros((X.shape[0] - h + 1, X.shape[1] - w + 1))
        for i in range(Y.shape[0]):
            for j in range(Y.shape[1]):
                Y[i, j] = (X[i : i + h, j : j + w] * K).sum()
        return Y

    class Conv2D(nn.Module):
        def __init__(self, kernel_size: Any) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(kernel_size) * 0.1)
            self.bias = nn.Parameter(torch.zeros(1))

        def forward(self, x: Any) -> Any:
            return corr2d(x, self.weight) + self.bias

    X = torch.ones((4, 6))
    X[:, 2:4] = 0
    K = torch.tensor([[1.0, -1.0]])
    Y = torch.compile(corr2d)(X, K)
    own = Conv2D((1, 2))
    out = torch.compile(own)(X)
    ((out - Y) ** 2).mean().backward()
    conv2d = nn.Conv2d(1, 1, kernel_size=(1, 2), bias=False)
    conv2d.weight.data.fill_(0.3)
    X4, Y4 = X.reshape((1, 1, 4, 6)), Y.reshape((1, 1, 4, 5))
    log = []
    for i in range(6):
        l = (conv2d(X4) - Y4) ** 2
        conv2d.zero_grad()
        l.sum().backward()
        conv2d.weight.data[:] -= 3e-2 * conv2d.weight.grad
        log.append(l.sum().item())
    return Y, out, own.weight.grad, own.bias.grad, log, conv2d.weight.data.reshape((1, 2))


@program
def channels_and_pooling_by_hand(torch: ModuleType) -> Any:
    """Sums over zipped channels, `stack` over kernels, 1x1 as a product, pooling by mode."""
    nn = torch.nn

    def corr2d(X: Any, K: Any) -> Any:
        h, w = K.shape
        Y = torch.zeros((X.shape[0] - h + 1, X.shape[1] - w + 1))
        for i in range(Y.shape[0]):
            for j in range(Y.shape[1]):
                Y[i, j] = (X[i : i + h, j : j + w] * K).sum()
        return Y

    def corr2d_multi_in(X: Any, K: Any) -> Any:
        return sum(corr2d(x, k) for x, k in zip(X, K))

    def corr2d_multi_in_out(X: Any, K: Any) -> Any:
        return torch.stack([corr2d_multi_in(X, k) for k in K], 0)

    def corr2d_1x1(X: Any, K: Any) -> Any:
        c_i, h, w = X.shape
        c_o = K.shape[0]
        Y = torch.matmul(K.reshape((c_o, c_i)), X.reshape((c_i, h * w)))
        return Y.reshape((c_o, h, w))

    def pool2d(X: Any, pool_size: Any, mode: str = "max") -> Any:
        p_h, p_w = pool_size
        Y = torch.zeros((X.shape[0] - p_h + 1, X.shape[1] - p_w + 1))
        for i in range(Y.shape[0]):
            for j in range(Y.shape[1]):
                if mode == "max":
                    Y[i, j] = X[i : i + p_h, j : j + p_w].max()
                elif mode == "avg":
                    Y[i, j] = X[i : i + p_h, j : j + p_w].mean()
        return Y

    X = torch.arange(18.0).reshape(2, 3, 3)
    K = torch.tensor([[[0.0, 1.0], [2.0, 3.0]], [[1.0, 2.0], [3.0, 4.0]]])
    K = torch.stack((K, K + 1, K + 2), 0)
    P = torch.arange(16, dtype=torch.float32).reshape((1, 1, 4, 4))
    P2 = torch.cat((P, P + 1), 1)
    pooled = [
        nn.MaxPool2d(3)(P2),
        nn.MaxPool2d(3, padding=1, stride=2)(P2),
        nn.MaxPool2d((2, 3), stride=(2, 3), padding=(0, 1))(P2),
        nn.AvgPool2d(2, ceil_mode=True, stride=3)(P2),
        nn.AdaptiveAvgPool2d((1, 1))(P2),
        nn.AdaptiveMaxPool2d(3)(P2),
    ]
    return (
        torch.compile(corr2d_multi_in_out)(X, K),
        torch.compile(corr2d_1x1)(X, K[:, :, :1, :1]),
        torch.compile(pool2d)(X[0], (2, 2)),
        torch.compile(pool2d)(X[0], (2, 2), mode="avg"),
        pooled,
    )


@program
def lenet(torch: ModuleType) -> Any:
    """Xavier initialisation by `apply`, shapes layer by layer, training and accuracy."""
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), nn.Sigmoid(),
        nn.AvgPool2d(kernel_size=2, stride=2), nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120), nn.Sigmoid(),
        nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10),
    )  # fmt: skip

    def init_weights(m: Any) -> None:
        if type(m) in (nn.Linear, nn.Conv2d):
            nn.init.xavier_uniform_(m.weight)

    net.apply(init_weights)
    bound = all((m.weight.abs() <= 1).all().item() for m in net if hasattr(m, "weight"))
    fill(torch, net)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net.to(device)
    X = torch.from_numpy(data(1, 1, 28, 28))
    shapes = []
    for layer in net:
        X = layer(X)
        shapes.append(layer.__class__.__name__ + " output shape: \t" + str(X.shape))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss = nn.CrossEntropyLoss()

    def step(X: Any, y: Any) -> Any:
        optimizer.zero_grad()
        y_hat = net(X)
        l = loss(y_hat, y)
        l.backward()
        optimizer.step()
        with torch.no_grad():
            correct = (y_hat.argmax(1) == y).sum()
        return l * X.shape[0], correct

    step = torch.compile(step)
    rng = np.random.default_rng(0)
    log = []
    for i in range(3):
        x = torch.from_numpy(rng.standard_normal((4, 1, 28, 28))).to(device)
        y = torch.from_numpy(rng.integers(0, 10, 4)).to(device)
        l, correct = step(x, y)
        log.append((l.item(), correct.item()))
    return shapes, bound, log, str(net), net[0].bias


@program
def batch_norm_from_scratch(torch: ModuleType) -> Any:
    """Moving averages by hand, as attributes that are plain tensors, beside the built-in layer."""
    nn = torch.nn

    def batch_norm(
        X: Any,
        gamma: Any,
        beta: Any,
        moving_mean: Any,
        moving_var: Any,
        eps: float,
        momentum: float,
    ) -> Any:
        if not torch.is_grad_enabled():
            X_hat = (X - moving_mean) / torch.sqrt(moving_var + eps)
        else:
            assert len(X.shape) in (2, 4)
            if len(X.shape) == 2:
                mean = X.mean(dim=0)
                var = ((X - mean) ** 2).mean(dim=0)
            else:
                mean = X.mean(dim=(0, 2, 3), keepdim=True)
                var = ((X - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)
            X_hat = (X - mean) / torch.sqrt(var + eps)
            moving_mean = momentum * moving_mean + (1.0 - momentum) * mean
            moving_var = momentum * moving_var + (1.0 - momentum) * var
        Y = gamma * X_hat + beta
        return Y, moving_mean.data, moving_var.data

    class BatchNorm(nn.Module):
        def __init__(self, num_features: int, num_dims: int) -> None:
            super().__init__()
            shape = (1, num_features) if num_dims == 2 else (1, num_features, 1, 1)
            self.gamma = nn.Parameter(torch.ones(shape))
            self.beta = nn.Parameter(torch.zeros(shape))
            self.moving_mean = torch.zeros(shape, dtype=torch.float64)
            self.moving_var = torch.ones(shape, dtype=torch.float64)

        def forward(self, X: Any) -> Any:
            if self.moving_mean.device != X.device:
                self.moving_mean = self.moving_mean.to(X.device)
                self.moving_var = self.moving_var.to(X.device)
            Y, self.moving_mean, self.moving_var = batch_norm(
                X, self.gamma, self.beta, self.moving_mean, self.moving_var, eps=1e-5, momentum=0.9
            )
            return Y

    own = fill(torch, nn.Sequential(
        nn.Conv2d(1, 3, 3), BatchNorm(3, num_dims=4), nn.Sigmoid(), nn.Flatten(),
        nn.Linear(48, 5), BatchNorm(5, num_dims=2), nn.Linear(5, 2),
    ))  # fmt: skip
    built_in = fill(torch, nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sigmoid(), nn.Flatten(),
        nn.Linear(48, 5), nn.BatchNorm1d(5), nn.Linear(5, 2),
    ))  # fmt: skip
    results = []
    for net in (own, built_in):
        trainer = torch.optim.SGD(net.parameters(), lr=0.1)
        run = net if net is own else torch.compile(net)
        for i in range(3):
            trainer.zero_grad()
            out = run(torch.from_numpy(data(4, 1, 6, 6, seed=i)))
            out.square().mean().backward()
            trainer.step()
        net.eval()
        with torch.no_grad():
            results.append((out, run(torch.from_numpy(data(2, 1, 6, 6)))))
    bn = built_in[1]
    state = bn.running_mean, bn.running_var, bn.num_batches_tracked
    return results, own[1].gamma.reshape((-1,)), own[1].moving_mean, own[5].moving_var, state


@program
def vision_transformer(torch: ModuleType) -> Any:
    """Patches by `unfold` and by strided convolution, a class token, pre-norm blocks."""
    nn = torch.nn

    class ViT(nn.Module):
        def __init__(self, patch: int = 4, dim: int = 8, depth: int = 2) -> None:
            super().__init__()
            self.patch = patch
            self.embed = nn.Conv2d(3, dim, patch, stride=patch)
            self.cls = nn.Parameter(torch.zeros(1, 1, dim))
            self.pos = nn.Parameter(torch.randn(1, 10, dim) * 0.02)
            self.blocks = nn.ModuleList([
                nn.ModuleDict({
                    "norm1": nn.LayerNorm(dim), "attn": nn.MultiheadAttention(dim, 2, batch_first=True),
                    "norm2": nn.LayerNorm(dim),
                    "mlp": nn.Sequential(nn.Linear(dim, 16), nn.GELU(), nn.Linear(16, dim)),
                }) for _ in range(depth)
            ])  # fmt: skip
            self.head = nn.Linear(dim, 4)

        def forward(self, x: Any) -> Any:
            x = self.embed(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], dim=1) + self.pos
            for b in self.blocks:
                h = b["norm1"](x)
                x = x + b["attn"](h, h, h, need_weights=False)[0]
                x = x + b["mlp"](b["norm2"](x))
            return self.head(x[:, 0])

    net = fill(torch, ViT())
    x = torch.from_numpy(data(2, 3, 12, 12))
    out = torch.compile(net)(x)
    nn.functional.cross_entropy(out, torch.tensor([0, 3]), label_smoothing=0.1).backward()
    patches = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(2, 9, -1)
    by_weight = patches @ net.embed.weight.flatten(1).T + net.embed.bias
    same = torch.allclose(by_weight, net.embed(x).flatten(2).transpose(1, 2))
    return out, net.cls.grad, net.blocks[1]["attn"].in_proj_weight.grad, same


@program
def style_transfer_losses(torch: ModuleType) -> Any:
    """The image is the parameter: Gram matrices, total variation, features taken by index."""
    nn = torch.nn
    features = fill(torch, nn.Sequential(OrderedDict([
        ("conv1", nn.Conv2d(3, 4, 3, padding=1)), ("relu1", nn.ReLU()),
        ("pool", nn.AvgPool2d(2)), ("conv2", nn.Conv2d(4, 6, 3, padding=1)), ("relu2", nn.ReLU()),
    ])))  # fmt: skip
    for p in features.parameters():
        p.requires_grad_(False)

    def extract(X: Any) -> Any:
        contents, styles = [], []
        for i in range(len(features)):
            X = features[i](X)
            if i in (1, 4):
                styles.append(X)
            if i in [4]:
                contents.append(X)
        return contents, styles

    def gram(X: Any) -> Any:
        num_channels, n = X.shape[1], X.numel() // X.shape[1]
        X = X.reshape((num_channels, n))
        return torch.matmul(X, X.T) / (num_channels * n)

    def tv_loss(Y: Any) -> Any:
        return 0.5 * (
            torch.abs(Y[:, :, 1:, :] - Y[:, :, :-1, :]).mean()
            + torch.abs(Y[:, :, :, 1:] - Y[:, :, :, :-1]).mean()
        )

    content, style = (torch.from_numpy(data(1, 3, 8, 8, seed=s)) for s in (1, 2))

    class SynthesizedImage(nn.Module):
        def __init__(self, img_shape: Any, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.weight = nn.Parameter(torch.rand(*img_shape))

        def forward(self) -> Any:
            return self.weight

    img = SynthesizedImage(content.shape).double()
    img.weight.data.copy_(content.data)
    contents_Y = [c.detach() for c in extract(content)[0]]
    styles_Y = [gram(s).detach() for s in extract(style)[1]]
    trainer = torch.optim.Adam(img.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(trainer, 3, 0.8)

    @torch.compile
    def step() -> Any:
        trainer.zero_grad()
        X = img()
        contents_hat, styles_hat = extract(X)
        c = [torch.square(y_hat - y).mean() * 1 for y_hat, y in zip(contents_hat, contents_Y)]
        s = [torch.square(gram(y_hat) - y).mean() * 1e3 for y_hat, y in zip(styles_hat, styles_Y)]
        total = sum(s + c + [tv_loss(X) * 10])
        total.backward()
        trainer.step()
        return total

    log = []
    for _ in range(5):
        log.append(step().item())
        scheduler.step()
    return log, img().detach().clamp(0, 1), scheduler.get_last_lr()


@program
def anchor_boxes(torch: ModuleType) -> Any:
    """Object detection's bookkeeping: anchors, IoU, assignment, offsets, non-maximum suppression."""

    def multibox_prior(h: int, w: int, sizes: Any, ratios: Any) -> Any:
        per_pixel = len(sizes) + len(ratios) - 1
        size_tensor, ratio_tensor = torch.tensor(sizes), torch.tensor(ratios)
        center_h = (torch.arange(h) + 0.5) / h
        center_w = (torch.arange(w) + 0.5) / w
        shift_y, shift_x = torch.meshgrid(center_h, center_w, indexing="ij")
        shift_y, shift_x = shift_y.reshape(-1), shift_x.reshape(-1)
        ww = torch.cat(
            (size_tensor * torch.sqrt(ratio_tensor[0]), sizes[0] * torch.sqrt(ratio_tensor[1:]))
        )
        hh = torch.cat(
            (size_tensor / torch.sqrt(ratio_tensor[0]), sizes[0] / torch.sqrt(ratio_tensor[1:]))
        )
        manip = torch.stack((-ww, -hh, ww, hh)).T.repeat(h * w, 1) / 2
        grid = torch.stack([shift_x, shift_y, shift_x, shift_y], dim=1)
        return grid.repeat_interleave(per_pixel, dim=0) + manip

    def box_iou(a: Any, b: Any) -> Any:
        area = lambda boxes: (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])  # noqa: E731
        upper = torch.max(a[:, None, :2], b[:, :2])
        lower = torch.min(a[:, None, 2:], b[:, 2:])
        inters = (lower - upper).clamp(min=0)
        inter = inters[:, :, 0] * inters[:, :, 1]
        return inter / (area(a)[:, None] + area(b) - inter)

    def nms(boxes: Any, scores: Any, threshold: float) -> Any:
        B = torch.argsort(scores, dim=-1, descending=True)
        keep = []
        while B.numel() > 0:
            i = B[0]
            keep.append(i)
            if B.numel() == 1:
                break
            iou = box_iou(boxes[i, :].reshape(-1, 4), boxes[B[1:], :].reshape(-1, 4)).reshape(-1)
            inds = torch.nonzero(iou <= threshold).reshape(-1)
            B = B[inds + 1]
        return torch.tensor(keep)

    anchors = torch.compile(multibox_prior)(3, 4, (0.5, 0.25), (1.0, 2.0, 0.5))
    truth = torch.tensor([[0.1, 0.08, 0.52, 0.92], [0.55, 0.2, 0.9, 0.88]])
    jaccard = torch.compile(box_iou)(anchors, truth)
    max_ious, indices = torch.max(jaccard, dim=1)
    anc_i = torch.nonzero(max_ious >= 0.3).reshape(-1)
    assigned = torch.full((len(anchors),), -1, dtype=torch.long)
    assigned[anc_i] = indices[max_ious >= 0.3]
    col, row = torch.full((jaccard.shape[0],), -1), torch.full((jaccard.shape[1],), -1)
    j = jaccard.clone()
    for _ in range(truth.shape[0]):
        max_idx = torch.argmax(j)
        box_idx = (max_idx % truth.shape[0]).long()
        anc_idx = (max_idx / truth.shape[0]).long()
        assigned[anc_idx] = box_idx
        j[:, box_idx] = col
        j[anc_idx, :] = row
    kept = nms(anchors, torch.linspace(0, 1, len(anchors)), 0.4)
    return anchors, jaccard, assigned, kept, j.sum()
