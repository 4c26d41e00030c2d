"""Programs that model data: autoencoders, GANs, flows, diffusion, mixtures, contrastive learning."""

# ruff: noqa: B905, E501, UP031 - programs as people write them

from __future__ import annotations

import copy
import math
from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import data, fill, program


@program
def adversarial_training(torch: ModuleType) -> Any:
    """DCGAN in small: two optimizers, `detach`, labels by `fill_`, weights by class name."""
    nn = torch.nn

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main = nn.Sequential(
                nn.ConvTranspose2d(4, 6, 3, 1, 0, bias=False), nn.BatchNorm2d(6), nn.ReLU(True),
                nn.ConvTranspose2d(6, 1, 4, 2, 1, bias=False), nn.Tanh(),
            )  # fmt: skip

        def forward(self, input: Any) -> Any:
            return self.main(input)

    class Discriminator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main = nn.Sequential(
                nn.Conv2d(1, 4, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(4, 1, 3, 1, 0, bias=False), nn.Sigmoid(),
            )  # fmt: skip

        def forward(self, input: Any) -> Any:
            return self.main(input)

    def weights_init(m: Any) -> None:
        classname = m.__class__.__name__
        if classname.find("Conv") != -1:
            nn.init.normal_(m.weight.data, 0.0, 0.02)
        elif classname.find("BatchNorm") != -1:
            nn.init.normal_(m.weight.data, 1.0, 0.02)
            nn.init.constant_(m.bias.data, 0)

    netG, netD = Generator(), Discriminator()
    netG.apply(weights_init)
    netD.apply(weights_init)
    fill(torch, netG), fill(torch, netD, 1)
    criterion = nn.BCELoss()
    optimizerD = torch.optim.Adam(netD.parameters(), lr=2e-3, betas=(0.5, 0.999))
    optimizerG = torch.optim.Adam(netG.parameters(), lr=2e-3, betas=(0.5, 0.999))

    @torch.compile
    def step(real: Any, noise: Any) -> Any:
        netD.zero_grad()
        label = torch.full((real.size(0),), 1.0, dtype=torch.float64)
        output = netD(real).view(-1)
        errD_real = criterion(output, label)
        errD_real.backward()
        D_x = output.mean()
        fake = netG(noise)
        label.fill_(0.0)
        output = netD(fake.detach()).view(-1)
        errD_fake = criterion(output, label)
        errD_fake.backward()
        errD = errD_real + errD_fake
        optimizerD.step()
        netG.zero_grad()
        label.fill_(1.0)
        output = netD(fake).view(-1)
        errG = criterion(output, label)
        errG.backward()
        optimizerG.step()
        return errD, errG, D_x, fake

    log = []
    for i in range(4):
        real, noise = data(3, 1, 6, 6, seed=i), data(3, 4, 1, 1, seed=10 + i)
        errD, errG, D_x, fake = step(torch.from_numpy(real), torch.from_numpy(noise))
        log.append("Loss_D: %.4f Loss_G: %.4f D(x): %.4f" % (errD.item(), errG.item(), D_x.item()))
    return log, fake, netG.main[1].running_mean, netD.main[0].weight


@program
def wasserstein_critic(torch: ModuleType) -> Any:
    """Gradient penalty on interpolates, `requires_grad_` in the loop, spectral weights by hand."""
    nn = torch.nn
    critic = fill(torch, nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1)))
    optimizer = torch.optim.RMSprop(critic.parameters(), lr=1e-3)

    @torch.compile
    def step(real: Any, fake: Any, alpha: Any) -> Any:
        optimizer.zero_grad()
        interpolates = alpha * real + (1 - alpha) * fake
        interpolates.requires_grad_(True)
        scores = critic(interpolates)
        (gradients,) = torch.autograd.grad(
            outputs=scores, inputs=interpolates, grad_outputs=torch.ones_like(scores),
            create_graph=True, retain_graph=True,
        )  # fmt: skip
        penalty = ((gradients.norm(2, dim=1) - 1) ** 2).mean() * 10
        loss = critic(fake).mean() - critic(real).mean() + penalty
        loss.backward()
        optimizer.step()
        return loss, penalty

    rng = np.random.default_rng(0)
    log = []
    for _ in range(4):
        real, fake = (torch.from_numpy(rng.standard_normal((5, 2))) for _ in range(2))
        log.append(step(real, fake + 1, torch.from_numpy(rng.random((5, 1)))))
    return log, critic[0].weight


@program
def normalizing_flow(torch: ModuleType) -> Any:
    """Affine couplings with masks, an invertible linear map, log-determinants; and the inverse."""
    nn = torch.nn

    class Coupling(nn.Module):
        def __init__(self, mask: Any) -> None:
            super().__init__()
            self.register_buffer("mask", mask)
            self.s = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4), nn.Tanh())
            self.t = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))

        def forward(self, x: Any) -> Any:
            x_ = x * self.mask
            s, t = self.s(x_) * (1 - self.mask), self.t(x_) * (1 - self.mask)
            return x_ + (1 - self.mask) * (x * torch.exp(s) + t), s.sum(dim=1)

        def inverse(self, z: Any) -> Any:
            z_ = self.mask * z
            s, t = self.s(z_) * (1 - self.mask), self.t(z_) * (1 - self.mask)
            return (1 - self.mask) * (z - t) * torch.exp(-s) + z_

    class Invertible(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lower = nn.Parameter(torch.zeros(4, 4))
            self.log_diag = nn.Parameter(torch.zeros(4))

        def matrix(self) -> Any:
            eye = torch.eye(4, dtype=self.lower.dtype)
            return self.lower.tril(-1) + eye * self.log_diag.exp()

        def forward(self, x: Any) -> Any:
            return x @ self.matrix().T, self.log_diag.sum().expand(x.shape[0])

        def inverse(self, z: Any) -> Any:
            return torch.linalg.solve_triangular(self.matrix(), z.T, upper=False).T

    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            m = torch.tensor([1.0, 0.0, 1.0, 0.0])
            self.layers = nn.ModuleList([Coupling(m), Invertible(), Coupling(1 - m)])

        def forward(self, x: Any) -> Any:
            log_det = x.new_zeros(x.shape[0])
            for layer in self.layers:
                x, ld = layer(x)
                log_det += ld
            return x, log_det

        def log_prob(self, x: Any) -> Any:
            z, log_det = self(x)
            base = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z))
            return base.log_prob(z).sum(-1) + log_det

        @torch.no_grad()
        def sample(self, z: Any) -> Any:
            for layer in reversed(self.layers):
                z = layer.inverse(z)
            return z

    flow = fill(torch, Flow())
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)

    @torch.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimizer.step()
        return loss

    x = torch.from_numpy(data(10, 4)) * 2 + 1
    losses = [step(x).item() for _ in range(5)]
    z, _ = flow(x)
    return losses, z, torch.allclose(flow.sample(z), x), flow.layers[1].lower.grad


@program
def denoising_diffusion(torch: ModuleType) -> Any:
    """A schedule of noise, `extract` by gather, time embedding, training, reverse process, EMA."""
    nn, F = torch.nn, torch.nn.functional
    T = 8
    betas = torch.linspace(1e-2, 0.3, T, dtype=torch.float64)
    alphas = 1.0 - betas
    alphas_cumprod = torch.cumprod(alphas, axis=0)
    alphas_cumprod_prev = F.pad(alphas_cumprod[:-1], (1, 0), value=1.0)
    posterior_variance = betas * (1.0 - alphas_cumprod_prev) / (1.0 - alphas_cumprod)

    def extract(a: Any, t: Any, x_shape: Any) -> Any:
        batch_size = t.shape[0]
        out = a.gather(-1, t.cpu())
        return out.reshape(batch_size, *((1,) * (len(x_shape) - 1))).to(t.device)

    class Sinusoidal(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.dim = dim

        def forward(self, time: Any) -> Any:
            device = time.device
            half_dim = self.dim // 2
            embeddings = math.log(10000) / (half_dim - 1)
            embeddings = torch.exp(torch.arange(half_dim, device=device) * -embeddings)
            embeddings = time[:, None] * embeddings[None, :]
            return torch.cat((embeddings.sin(), embeddings.cos()), dim=-1)

    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time_mlp = nn.Sequential(Sinusoidal(6), nn.Linear(6, 8), nn.GELU())
            self.inp, self.mid, self.out = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: Any, t: Any) -> Any:
            h = F.silu(self.inp(x)) + self.time_mlp[1:](self.time_mlp[0](t).double())
            return self.out(F.silu(self.mid(h)) + h)

    model = fill(torch, Denoiser())
    ema = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    @torch.compile
    def step(x0: Any, t: Any, noise: Any) -> Any:
        optimizer.zero_grad()
        x_noisy = (
            extract(torch.sqrt(alphas_cumprod), t, x0.shape) * x0
            + extract((1.0 - alphas_cumprod).sqrt(), t, x0.shape) * noise
        )
        loss = F.smooth_l1_loss(noise, model(x_noisy, t))
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for pe, p in zip(ema.parameters(), model.parameters()):
                pe.mul_(0.9).add_(p, alpha=0.1)
        return loss

    rng = np.random.default_rng(0)
    log = []
    for _ in range(4):
        x0, noise = (torch.from_numpy(rng.standard_normal((5, 3))) for _ in range(2))
        log.append(step(x0, torch.from_numpy(rng.integers(0, T, 5)), noise))

    @torch.no_grad()
    def p_sample(x: Any, t: Any, t_index: int, noise: Any) -> Any:
        betas_t = extract(betas, t, x.shape)
        model_mean = torch.sqrt(1.0 / extract(alphas, t, x.shape)) * (
            x - betas_t * ema(x, t) / torch.sqrt(1.0 - extract(alphas_cumprod, t, x.shape))
        )
        if t_index == 0:
            return model_mean
        return model_mean + torch.sqrt(extract(posterior_variance, t, x.shape)) * noise

    sample = torch.compile(p_sample)
    x = torch.from_numpy(rng.standard_normal((2, 3)))
    for i in reversed(range(T)):
        x = sample(
            x, torch.full((2,), i, dtype=torch.long), i, torch.from_numpy(data(2, 3, seed=i))
        )
    return log, x, posterior_variance


@program
def contrastive_learning(torch: ModuleType) -> Any:
    """NT-Xent over normalised projections, a queue of negatives, triplet and supervised losses."""
    nn, F = torch.nn, torch.nn.functional
    encoder = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    fill(torch, encoder)

    def info_nce_loss(features: Any, temperature: float = 0.5) -> Any:
        n = features.shape[0] // 2
        labels = torch.cat([torch.arange(n) for i in range(2)], dim=0)
        labels = (labels.unsqueeze(0) == labels.unsqueeze(1)).float()
        features = F.normalize(features, dim=1)
        similarity = torch.matmul(features, features.T)
        mask = torch.eye(labels.shape[0], dtype=torch.bool)
        labels = labels[~mask].view(labels.shape[0], -1)
        similarity = similarity[~mask].view(similarity.shape[0], -1)
        positives = similarity[labels.bool()].view(labels.shape[0], -1)
        negatives = similarity[~labels.bool()].view(similarity.shape[0], -1)
        logits = torch.cat([positives, negatives], dim=1) / temperature
        return F.cross_entropy(logits, torch.zeros(logits.shape[0], dtype=torch.long))

    @torch.compile
    def nt_xent(z1: Any, z2: Any, tau: float = 0.5) -> Any:
        z = F.normalize(torch.cat([z1, z2]), dim=-1)
        sim = z @ z.t() / tau
        sim.fill_diagonal_(float("-inf"))
        n = z1.size(0)
        target = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
        return F.cross_entropy(sim, target)

    class Queue(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("queue", F.normalize(torch.ones(4, 6).double(), dim=0))
            self.register_buffer("ptr", torch.zeros(1, dtype=torch.long))

        @torch.no_grad()
        def enqueue(self, keys: Any) -> None:
            ptr = int(self.ptr)
            self.queue[:, ptr : ptr + keys.shape[0]] = keys.T
            self.ptr[0] = (ptr + keys.shape[0]) % 6

        def forward(self, q: Any, k: Any) -> Any:
            l_pos = torch.einsum("nc,nc->n", [q, k]).unsqueeze(-1)
            l_neg = torch.einsum("nc,ck->nk", [q, self.queue.clone().detach()])
            logits = torch.cat([l_pos, l_neg], dim=1) / 0.07
            self.enqueue(k.detach())
            return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))

    x = torch.from_numpy(data(3, 6))
    z1, z2 = encoder(x + 0.1), encoder(x * 1.1)
    a = info_nce_loss(torch.cat([z1, z2]))
    b = nt_xent(z1, z2)
    queue = Queue()
    c = queue(F.normalize(z1), F.normalize(z2)) + queue(F.normalize(z2), F.normalize(z1))
    d = nn.TripletMarginLoss(margin=0.5, swap=True)(z1, z2, z1.roll(1, 0))
    e = F.cosine_embedding_loss(z1, z2, torch.tensor([1, -1, 1]), margin=0.2)
    (a + b + c + d + e).backward()
    return a, b, c, d, e, [p.grad for p in encoder.parameters()], queue.queue, queue.ptr


@program
def vector_quantisation(torch: ModuleType) -> Any:
    """A codebook, straight-through gradients, one-hot counts, perplexity, EMA by buffers."""
    nn, F = torch.nn, torch.nn.functional

    class VectorQuantizer(nn.Module):
        def __init__(self, n: int, d: int, commitment: float) -> None:
            super().__init__()
            self.n, self.d, self.commitment = n, d, commitment
            self.embedding = nn.Embedding(n, d)
            self.embedding.weight.data.uniform_(-1 / n, 1 / n)
            self.register_buffer("cluster_size", torch.zeros(n, dtype=torch.float64))

        def forward(self, inputs: Any) -> Any:
            inputs = inputs.permute(0, 2, 3, 1).contiguous()
            input_shape = inputs.shape
            flat = inputs.view(-1, self.d)
            distances = (
                torch.sum(flat**2, dim=1, keepdim=True)
                + torch.sum(self.embedding.weight**2, dim=1)
                - 2 * torch.matmul(flat, self.embedding.weight.t())
            )
            indices = torch.argmin(distances, dim=1).unsqueeze(1)
            encodings = torch.zeros(
                indices.shape[0], self.n, dtype=inputs.dtype, device=inputs.device
            )
            encodings.scatter_(1, indices, 1)
            quantized = torch.matmul(encodings, self.embedding.weight).view(input_shape)
            e_latent_loss = F.mse_loss(quantized.detach(), inputs)
            q_latent_loss = F.mse_loss(quantized, inputs.detach())
            loss = q_latent_loss + self.commitment * e_latent_loss
            quantized = inputs + (quantized - inputs).detach()
            avg_probs = torch.mean(encodings, dim=0)
            perplexity = torch.exp(-torch.sum(avg_probs * torch.log(avg_probs + 1e-10)))
            if self.training:
                self.cluster_size = self.cluster_size * 0.9 + 0.1 * encodings.sum(0)
            return loss, quantized.permute(0, 3, 1, 2).contiguous(), perplexity, indices

    vq = fill(torch, VectorQuantizer(5, 3, 0.25))
    encoder = fill(torch, nn.Conv2d(1, 3, 2, 2), 1)
    run = torch.compile(vq)
    results = []
    for i in range(2):
        x = torch.from_numpy(data(2, 1, 6, 6, seed=i))
        loss, quantized, perplexity, indices = run(encoder(x))
        (loss + quantized.pow(2).mean()).backward()
        results.append((loss, quantized, perplexity, indices))
    return results, vq.embedding.weight.grad, encoder.weight.grad, vq.cluster_size


@program
def mixture_density_network(torch: ModuleType) -> Any:
    """A mixture of normals from `torch.distributions`, and the same by log-sum-exp."""
    nn, D = torch.nn, torch.distributions
    net = fill(torch, nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 9)))

    def by_distributions(x: Any, y: Any) -> Any:
        logits, mu, log_sigma = net(x).chunk(3, dim=-1)
        mixture = D.MixtureSameFamily(D.Categorical(logits=logits), D.Normal(mu, log_sigma.exp()))
        return -mixture.log_prob(y.squeeze(-1)).mean()

    def by_hand(x: Any, y: Any) -> Any:
        pi, mu, log_sigma = torch.split(net(x), 3, dim=1)
        sigma = torch.exp(log_sigma)
        z = (y.expand_as(mu) - mu) / sigma
        log_prob = -0.5 * z**2 - torch.log(sigma) - 0.5 * math.log(2 * math.pi)
        return -torch.logsumexp(log_prob + torch.log_softmax(pi, 1), 1).mean()

    x = torch.linspace(-2, 2, 16, dtype=torch.float64).unsqueeze(1)
    y = x.cos() + 0.1 * torch.from_numpy(data(16, 1))
    a = torch.compile(by_distributions)(x, y)
    b = torch.compile(by_hand)(x, y)
    grads_a = torch.autograd.grad(a, list(net.parameters()))
    grads_b = torch.autograd.grad(b, list(net.parameters()))
    return a, b, grads_a, all(torch.allclose(p, q) for p, q in zip(grads_a, grads_b))


@program
def restricted_boltzmann_machine(torch: ModuleType) -> Any:
    """Contrastive divergence with uniform numbers from outside; energies; no autograd."""
    rng = np.random.default_rng(0)

    class RBM:
        def __init__(self, visible: int, hidden: int) -> None:
            self.W = torch.from_numpy(rng.standard_normal((visible, hidden)) * 0.1)
            self.bv, self.bh = torch.zeros(visible).double(), torch.zeros(hidden).double()

        def sample_h(self, v: Any, u: Any) -> Any:
            p = torch.sigmoid(v @ self.W + self.bh)
            return p, (u < p).to(v.dtype)

        def sample_v(self, h: Any, u: Any) -> Any:
            p = torch.sigmoid(h @ self.W.t() + self.bv)
            return p, torch.where(u < p, torch.ones_like(p), torch.zeros_like(p))

        def free_energy(self, v: Any) -> Any:
            return -(v @ self.bv) - torch.nn.functional.softplus(v @ self.W + self.bh).sum(1)

        def contrast(self, v0: Any, us: Any) -> Any:
            ph0, h = self.sample_h(v0, us[0, :, :4])
            v = v0
            for k in range(3):
                _, v = self.sample_v(h, us[2 * k + 1])
                ph, h = self.sample_h(v, us[2 * k + 2, :, :4])
            self.W += 0.1 * (v0.T @ ph0 - v.T @ ph) / v0.size(0)
            self.bv += 0.1 * (v0 - v).mean(0)
            self.bh += 0.1 * (ph0 - ph).mean(0)
            return (v0 - v).abs().mean()

    rbm = RBM(6, 4)
    v0 = torch.from_numpy((rng.random((5, 6)) > 0.5).astype(np.float64))
    errors = [rbm.contrast(v0, torch.from_numpy(rng.random((7, 5, 6)))) for _ in range(4)]
    return errors, rbm.W, rbm.bv, torch.compile(rbm.free_energy)(v0)


@program
def variational_inference_with_distributions(torch: ModuleType) -> Any:
    """Densities, KL divergences, transforms and their gradients, over many families."""
    D = torch.distributions
    t = lambda *v: torch.tensor(v, dtype=torch.float64, requires_grad=True)  # noqa: E731
    mu, sigma = t(0.3, -0.2), t(0.5, 1.5)
    q, p = D.Normal(mu, sigma), D.Normal(torch.zeros(2).double(), torch.ones(2).double())
    eps = torch.tensor([0.2, -1.0]).double()
    z = mu + sigma * eps
    elbo = (p.log_prob(z) - q.log_prob(z)).sum() - D.kl_divergence(q, p).sum()
    elbo.backward()
    x = torch.tensor([0.3, 0.7]).double()
    a, b = t(2.0, 0.5), t(1.5, 3.0)
    families = [
        D.Beta(a, b), D.Gamma(a, b), D.LogNormal(mu, sigma), D.Laplace(mu, sigma),
        D.Exponential(b), D.StudentT(a, mu, b), D.Cauchy(mu, sigma), D.HalfNormal(sigma),
        D.Gumbel(mu, sigma), D.Weibull(a, b), D.Uniform(torch.zeros(2).double(), b), D.Pareto(x / 2, a),
        D.Dirichlet(a), D.VonMises(mu, b),
    ]  # fmt: skip
    densities = [f.log_prob(x).sum() for f in families]
    total = sum(densities)
    grads = torch.autograd.grad(total, [a, b, mu, sigma])
    discrete = [
        D.Bernoulli(logits=mu).log_prob(torch.ones(2).double()), D.Poisson(b).log_prob(torch.tensor([2.0, 0.0])),
        D.Binomial(5, probs=x).log_prob(torch.tensor([2.0, 3.0])), D.Geometric(x).log_prob(torch.tensor([1.0, 2.0])),
        D.Multinomial(3, probs=x).log_prob(torch.tensor([1.0, 2.0])),
        D.OneHotCategorical(logits=mu).log_prob(torch.tensor([0.0, 1.0])),
        D.NegativeBinomial(3.0, logits=mu).log_prob(torch.tensor([1.0, 2.0])),
    ]  # fmt: skip
    cov = torch.tensor([[2.0, 0.3], [0.3, 1.0]]).double()
    mvn = D.MultivariateNormal(mu, cov)
    squashed = D.TransformedDistribution(D.Normal(mu, sigma), [D.transforms.TanhTransform()])
    independent = D.Independent(D.Normal(mu, sigma), 1)
    moments = [(f.mean, f.variance) for f in families if not isinstance(f, (D.Cauchy, D.VonMises))]
    return (
        elbo, mu.grad, densities, grads, discrete, mvn.log_prob(x), mvn.entropy(), moments,
        squashed.log_prob(x), independent.log_prob(x), independent.event_shape,
        D.kl_divergence(D.Beta(a, b), D.Beta(b, a)), D.kl_divergence(D.Gamma(a, b), D.Gamma(b, a)),
        D.kl_divergence(mvn, D.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())),
        str(q), str(D.Categorical(logits=torch.zeros(3))), str(independent), repr(D.Beta(1.0, 2.0)),
    )  # fmt: skip
