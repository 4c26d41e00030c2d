"""Programs about images: convolutions by hand, LeNet, batch norm, residual networks, U-Net."""

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
def residual_network_from_groups(torch: ModuleType) -> Any:
    """Residual blocks generated in groups, with `*` unpacked lists, as ResNet-18 is built."""
    nn, F = torch.nn, torch.nn.functional

    class Residual(nn.Module):
        def __init__(
            self, cin: int, cout: int, use_1x1conv: bool = False, strides: int = 1
        ) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(cin, cout, kernel_size=3, padding=1, stride=strides)
            self.conv2 = nn.Conv2d(cout, cout, kernel_size=3, padding=1)
            self.conv3 = (
                nn.Conv2d(cin, cout, kernel_size=1, stride=strides) if use_1x1conv else None
            )
            self.bn1 = nn.BatchNorm2d(cout)
            self.bn2 = nn.BatchNorm2d(cout)

        def forward(self, X: Any) -> Any:
            Y = F.relu(self.bn1(self.conv1(X)))
            Y = self.bn2(self.conv2(Y))
            if self.conv3:
                X = self.conv3(X)
            Y += X
            return F.relu(Y)

    def resnet_block(cin: int, cout: int, num: int, first_block: bool = False) -> Any:
        blk = []
        for i in range(num):
            if i == 0 and not first_block:
                blk.append(Residual(cin, cout, use_1x1conv=True, strides=2))
            else:
                blk.append(Residual(cout, cout))
        return blk

    b1 = nn.Sequential(
        nn.Conv2d(1, 4, kernel_size=7, stride=2, padding=3), nn.BatchNorm2d(4), nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    )  # fmt: skip
    b2 = nn.Sequential(*resnet_block(4, 4, 2, first_block=True))
    b3 = nn.Sequential(*resnet_block(4, 8, 2))
    net = nn.Sequential(b1, b2, b3, nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(8, 3))
    fill(torch, net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    @torch.compile
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    y = torch.tensor([0, 2, 1])
    losses = [step(torch.from_numpy(data(3, 1, 24, 24, seed=i)), y).item() for i in range(3)]
    net.eval()
    out = torch.compile(net)(torch.from_numpy(data(2, 1, 24, 24)))
    return losses, out, net[1][0].bn2.running_var, sum(p.numel() for p in net.parameters())


@program
def bottleneck_network_generator(torch: ModuleType) -> Any:
    """A deep ResNet from a table of layers, as torchvision builds it: bottlenecks, `_make_layer`."""
    nn = torch.nn

    def conv1x1(i: int, o: int, stride: int = 1) -> Any:
        return nn.Conv2d(i, o, kernel_size=1, stride=stride, bias=False)

    class Bottleneck(nn.Module):
        expansion: int = 4

        def __init__(
            self, inplanes: int, planes: int, stride: int = 1, downsample: Any = None
        ) -> None:
            super().__init__()
            self.conv1, self.bn1 = conv1x1(inplanes, planes), nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            self.conv3 = conv1x1(planes, planes * self.expansion)
            self.bn3 = nn.BatchNorm2d(planes * self.expansion)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = downsample
            self.stride = stride

        def forward(self, x: Any) -> Any:
            identity = x
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.relu(self.bn2(self.conv2(out)))
            out = self.bn3(self.conv3(out))
            if self.downsample is not None:
                identity = self.downsample(x)
            out += identity
            return self.relu(out)

    class ResNet(nn.Module):
        def __init__(self, block: Any, layers: list[int], num_classes: int = 5) -> None:
            super().__init__()
            self.inplanes = 4
            self.conv1 = nn.Conv2d(3, 4, kernel_size=3, stride=2, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(4)
            self.relu = nn.ReLU(inplace=True)
            self.layer1 = self._make_layer(block, 2, layers[0])
            self.layer2 = self._make_layer(block, 4, layers[1], stride=2)
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.fc = nn.Linear(4 * block.expansion, num_classes)
            for m in self.modules():
                if isinstance(m, nn.Conv2d):
                    nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                    nn.init.constant_(m.weight, 1)
                    nn.init.constant_(m.bias, 0)
            for m in self.modules():
                if isinstance(m, Bottleneck):
                    nn.init.constant_(m.bn3.weight, 0)

        def _make_layer(self, block: Any, planes: int, blocks: int, stride: int = 1) -> Any:
            downsample = None
            if stride != 1 or self.inplanes != planes * block.expansion:
                downsample = nn.Sequential(
                    conv1x1(self.inplanes, planes * block.expansion, stride),
                    nn.BatchNorm2d(planes * block.expansion),
                )
            layers = [block(self.inplanes, planes, stride, downsample)]
            self.inplanes = planes * block.expansion
            layers += [block(self.inplanes, planes) for _ in range(1, blocks)]
            return nn.Sequential(*layers)

        def forward(self, x: Any) -> Any:
            x = self.relu(self.bn1(self.conv1(x)))
            x = self.layer2(self.layer1(x))
            x = torch.flatten(self.avgpool(x), 1)
            return self.fc(x)

    net = ResNet(Bottleneck, [3, 4])
    zero = float(net.layer1[0].bn3.weight.abs().sum())
    fill(torch, net)
    run = torch.compile(net)
    x = torch.from_numpy(data(2, 3, 16, 16)).requires_grad_()
    out = run(x)
    torch.nn.functional.cross_entropy(out, torch.tensor([1, 3])).backward()
    keys = list(net.state_dict())
    return (
        zero,
        out,
        x.grad,
        net.layer2[3].conv2.weight.grad,
        keys[:9],
        len(keys),
        str(net.layer1[0]),
    )


@program
def densenet_and_inception_blocks(torch: ModuleType) -> Any:
    """Concatenation along channels: dense blocks, transitions, four paths in parallel."""
    nn, F = torch.nn, torch.nn.functional

    def conv_block(cin: int, cout: int) -> Any:
        return nn.Sequential(nn.BatchNorm2d(cin), nn.ReLU(), nn.Conv2d(cin, cout, 3, padding=1))

    class DenseBlock(nn.Module):
        def __init__(self, num_convs: int, cin: int, cout: int) -> None:
            super().__init__()
            self.net = nn.Sequential(*[conv_block(cout * i + cin, cout) for i in range(num_convs)])

        def forward(self, X: Any) -> Any:
            for blk in self.net:
                Y = blk(X)
                X = torch.cat((X, Y), dim=1)
            return X

    class Inception(nn.Module):
        def __init__(self, cin: int, c1: int, c2: Any, c3: Any, c4: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.p1_1 = nn.Conv2d(cin, c1, kernel_size=1)
            self.p2_1 = nn.Conv2d(cin, c2[0], kernel_size=1)
            self.p2_2 = nn.Conv2d(c2[0], c2[1], kernel_size=3, padding=1)
            self.p3_1 = nn.Conv2d(cin, c3[0], kernel_size=1)
            self.p3_2 = nn.Conv2d(c3[0], c3[1], kernel_size=5, padding=2)
            self.p4_1 = nn.MaxPool2d(kernel_size=3, stride=1, padding=1)
            self.p4_2 = nn.Conv2d(cin, c4, kernel_size=1)

        def forward(self, x: Any) -> Any:
            p1 = F.relu(self.p1_1(x))
            p2 = F.relu(self.p2_2(F.relu(self.p2_1(x))))
            p3 = F.relu(self.p3_2(F.relu(self.p3_1(x))))
            p4 = F.relu(self.p4_2(self.p4_1(x)))
            return torch.cat((p1, p2, p3, p4), dim=1)

    net = fill(torch, nn.Sequential(
        DenseBlock(2, 3, 4), nn.BatchNorm2d(11), nn.ReLU(), nn.Conv2d(11, 6, 1),
        nn.AvgPool2d(2, 2), Inception(6, 2, (2, 3), (2, 3), 2), nn.AdaptiveMaxPool2d((1, 1)),
        nn.Flatten(), nn.Linear(10, 3),
    ))  # fmt: skip
    x = torch.from_numpy(data(2, 3, 8, 8))
    out = torch.compile(net)(x)
    out.logsumexp(1).sum().backward()
    return out, net[0].net[1][2].weight.grad, net[5].p3_2.bias.grad


@program
def u_net(torch: ModuleType) -> Any:
    """Skips, transposed convolutions, padding to fit, dice loss."""
    nn, F = torch.nn, torch.nn.functional

    class DoubleConv(nn.Sequential):
        def __init__(self, cin: int, cout: int) -> None:
            super().__init__(
                nn.Conv2d(cin, cout, 3, padding=1, bias=False), nn.GroupNorm(2, cout),
                nn.LeakyReLU(0.1, inplace=True),
                nn.Conv2d(cout, cout, 3, padding="same", padding_mode="reflect"), nn.SiLU(),
            )  # fmt: skip

    class Up(nn.Module):
        def __init__(self, cin: int, cout: int, even: bool) -> None:
            super().__init__()
            self.up = nn.ConvTranspose2d(cin, cin // 2, 2 if even else 4, 2, 0 if even else 1)
            self.conv = DoubleConv(cin // 2 + cout, cout)

        def forward(self, x1: Any, x2: Any) -> Any:
            x1 = self.up(x1)
            dy, dx = x2.size()[2] - x1.size()[2], x2.size(3) - x1.size(3)
            x1 = F.pad(x1, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            return self.conv(torch.cat([x2, x1], dim=1))

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inc = DoubleConv(1, 4)
            self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(4, 8))
            self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(8, 8))
            self.up1, self.up2 = Up(8, 8, True), Up(8, 4, False)
            self.outc = nn.Conv2d(4, 1, 1)

        def forward(self, x: Any) -> Any:
            x1 = self.inc(x)
            x2 = self.down1(x1)
            x = self.up1(self.down2(x2), x2)
            return self.outc(self.up2(x, x1)).squeeze(1)

    net = fill(torch, UNet())

    @torch.compile
    def objective(x: Any, mask: Any) -> Any:
        logits = net(x)
        p = logits.sigmoid()
        dice = 1 - (2 * (p * mask).sum((1, 2)) + 1) / (p.sum((1, 2)) + mask.sum((1, 2)) + 1)
        return F.binary_cross_entropy_with_logits(logits, mask) + dice.mean(), logits

    x = torch.from_numpy(data(2, 1, 10, 13))
    loss, logits = objective(x, (x[:, 0] > 0.3).double())
    loss.backward()
    return loss, logits, net.inc[0].weight.grad, net.up2.up.weight.grad, net.inc[3].weight.grad


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
