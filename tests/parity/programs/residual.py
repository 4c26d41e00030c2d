"""Programs that generate deep convolutional networks: residual groups, dense blocks, U-Net."""

# ruff: noqa: E501 - programs as people write them

from __future__ import annotations

from types import ModuleType
from typing import Any

from tests.parity.programs import data, fill, program


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
