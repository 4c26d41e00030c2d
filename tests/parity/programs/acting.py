"""Programs that learn to act: environments written in NumPy or plain Python, policies, values."""

# ruff: noqa: B007, B905, C417, E501 - programs as people write them

from __future__ import annotations

import collections
import copy
import random
from itertools import count
from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import data, fill, program


class CartPole:
    """The pole on a cart, in Gym's form."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def reset(self) -> Any:
        self.state = self.rng.uniform(-0.05, 0.05, 4)
        self.steps = 0
        return np.array(self.state, dtype=np.float32), {}

    def step(self, action: int) -> Any:
        x, v, th, w = self.state
        force = 10.0 if action == 1 else -10.0
        temp = (force + 0.05 * w**2 * np.sin(th)) / 1.1
        acc = (9.8 * np.sin(th) - np.cos(th) * temp) / (0.5 * (4 / 3 - 0.1 * np.cos(th) ** 2 / 1.1))
        a = temp - 0.05 * acc * np.cos(th) / 1.1
        self.state = np.array([x + 0.02 * v, v + 0.02 * a, th + 0.02 * w, w + 0.02 * acc])
        self.steps += 1
        done = bool(abs(self.state[0]) > 2.4 or abs(self.state[2]) > 0.2095)
        return np.array(self.state, dtype=np.float32), 1.0, done, self.steps >= 40, {}


@program
def reinforce(torch: ModuleType) -> Any:
    """The official example: saved log probabilities, a deque of returns, `cat` and `sum`."""
    nn, F = torch.nn, torch.nn.functional

    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.affine1 = nn.Linear(4, 16)
            self.dropout = nn.Dropout(p=0.0)
            self.affine2 = nn.Linear(16, 2)
            self.saved_log_probs: list[Any] = []
            self.rewards: list[float] = []

        def forward(self, x: Any) -> Any:
            x = self.dropout(self.affine1(x))
            x = F.relu(x)
            return F.softmax(self.affine2(x), dim=1)

    policy = fill(torch, Policy())
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    eps = np.finfo(np.float32).eps.item()
    chooser = np.random.default_rng(7)
    run = torch.compile(policy)

    def select_action(state: Any) -> int:
        state = torch.from_numpy(state).double().unsqueeze(0)
        probs = run(state)
        m = torch.distributions.Categorical(probs)
        action = torch.tensor([int(chooser.random() > probs[0, 0].item())])
        policy.saved_log_probs.append(m.log_prob(action))
        return action.item()

    def finish_episode() -> Any:
        R, policy_loss, returns = 0, [], collections.deque()
        for r in policy.rewards[::-1]:
            R = r + 0.99 * R
            returns.appendleft(R)
        returns = torch.tensor(returns)
        returns = (returns - returns.mean()) / (returns.std() + eps)
        for log_prob, R in zip(policy.saved_log_probs, returns):
            policy_loss.append(-log_prob * R)
        optimizer.zero_grad()
        policy_loss = torch.cat(policy_loss).sum()
        policy_loss.backward()
        optimizer.step()
        del policy.rewards[:]
        del policy.saved_log_probs[:]
        return policy_loss.item()

    env, log = CartPole(0), []
    for episode in range(3):
        state, _ = env.reset()
        for t in range(1, 100):
            action = select_action(state)
            state, reward, done, truncated, _ = env.step(action)
            policy.rewards.append(reward)
            if done or truncated:
                break
        log.append((t, finish_episode()))
    return log, policy.affine2.weight


@program
def deep_q_network(torch: ModuleType) -> Any:
    """A replay memory of named tuples, `zip(*batch)`, masks of final states, soft updates."""
    nn = torch.nn
    Transition = collections.namedtuple("Transition", ("state", "action", "next_state", "reward"))
    chooser = random.Random(0)

    class ReplayMemory:
        def __init__(self, capacity: int) -> None:
            self.memory = collections.deque(maxlen=capacity)

        def push(self, *args: Any) -> None:
            self.memory.append(Transition(*args))

        def sample(self, batch_size: int) -> Any:
            return chooser.sample(self.memory, batch_size)

        def __len__(self) -> int:
            return len(self.memory)

    policy_net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    fill(torch, policy_net)
    target_net = copy.deepcopy(policy_net)
    target_net.load_state_dict(policy_net.state_dict())
    optimizer = torch.optim.AdamW(policy_net.parameters(), lr=1e-2, amsgrad=True)
    memory = ReplayMemory(100)
    criterion = nn.SmoothL1Loss()

    @torch.compile
    def learn(states: Any, actions: Any, rewards: Any, mask: Any, next_states: Any) -> Any:
        state_action_values = policy_net(states).gather(1, actions)
        with torch.no_grad():
            next_values = torch.where(mask, target_net(next_states).max(1).values, 0.0)
        expected = (next_values * 0.99) + rewards
        loss = criterion(state_action_values, expected.unsqueeze(1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(policy_net.parameters(), 0.1)
        optimizer.step()
        return loss

    def optimize_model() -> Any:
        if len(memory) < 8:
            return None
        batch = Transition(*zip(*memory.sample(8)))
        mask = torch.tensor(tuple(map(lambda s: s is not None, batch.next_state)), dtype=torch.bool)
        next_states = torch.zeros(8, 4).double()
        if mask.any():
            next_states[mask] = torch.cat([s for s in batch.next_state if s is not None])
        loss = learn(
            torch.cat(batch.state),
            torch.cat(batch.action),
            torch.cat(batch.reward),
            mask,
            next_states,
        )
        target, source = target_net.state_dict(), policy_net.state_dict()
        for key in source:
            target[key] = source[key] * 0.05 + target[key] * 0.95
        target_net.load_state_dict(target)
        return loss.item()

    env, losses, durations = CartPole(1), [], []
    for _ in range(2):
        state, _info = env.reset()
        state = torch.tensor(state, dtype=torch.float64).unsqueeze(0)
        for t in count():
            if chooser.random() > 0.3:
                with torch.no_grad():
                    action = policy_net(state).max(1).indices.view(1, 1)
            else:
                action = torch.tensor([[chooser.randrange(2)]], dtype=torch.long)
            observation, reward, done, truncated, _ = env.step(action.item())
            reward = torch.tensor([reward]).double()
            following = (
                None if done else torch.tensor(observation, dtype=torch.float64).unsqueeze(0)
            )
            memory.push(state, action, following, reward)
            state = following
            losses.append(optimize_model())
            if done or truncated:
                durations.append(t + 1)
                break
    return losses, durations, target_net[0].weight


@program
def actor_critic(torch: ModuleType) -> Any:
    """Two heads, saved actions as named tuples, advantages without gradient, summed losses."""
    nn, F = torch.nn, torch.nn.functional
    SavedAction = collections.namedtuple("SavedAction", ["log_prob", "value"])

    class ActorCritic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.affine1 = nn.Linear(4, 12)
            self.action_head, self.value_head = nn.Linear(12, 2), nn.Linear(12, 1)

        def forward(self, x: Any) -> Any:
            x = F.relu(self.affine1(x))
            return F.softmax(self.action_head(x), dim=-1), self.value_head(x)

    model = fill(torch, ActorCritic())
    run = torch.compile(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    env, chooser, log = CartPole(2), np.random.default_rng(1), []
    for _ in range(2):
        state, _info = env.reset()
        saved, rewards, entropy = [], [], 0
        while True:
            probs, value = run(torch.from_numpy(state).double())
            m = torch.distributions.Categorical(probs)
            action = torch.tensor(int(chooser.integers(2)))
            entropy = entropy + m.entropy()
            saved.append(SavedAction(m.log_prob(action), value))
            state, reward, done, truncated, _ = env.step(int(action))
            rewards.append(reward)
            if done or truncated:
                break
        R, returns = 0, []
        for r in rewards[::-1]:
            R = r + 0.99 * R
            returns.insert(0, R)
        returns = torch.tensor(returns, dtype=torch.float64)
        policy_losses, value_losses = [], []
        for (log_prob, value), R in zip(saved, returns):
            advantage = R - value.item()
            policy_losses.append(-log_prob * advantage)
            value_losses.append(F.smooth_l1_loss(value, torch.tensor([R])))
        optimizer.zero_grad()
        loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum() - 0.01 * entropy
        loss.backward()
        optimizer.step()
        log.append((loss.item(), len(rewards)))
    return log, [p.grad.abs().sum() for p in model.parameters()]


@program
def proximal_policy_optimisation(torch: ModuleType) -> Any:
    """Buffers filled by index, generalised advantages, clipped ratios, epochs of mini-batches."""
    nn = torch.nn
    Normal = torch.distributions.Normal

    def layer_init(layer: Any, std: float = np.sqrt(2), bias_const: float = 0.0) -> Any:
        torch.nn.init.orthogonal_(layer.weight, std)
        torch.nn.init.constant_(layer.bias, bias_const)
        return layer

    class Agent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.critic = nn.Sequential(
                layer_init(nn.Linear(3, 8)), nn.Tanh(), layer_init(nn.Linear(8, 1), std=1.0)
            )
            self.actor_mean = nn.Sequential(
                layer_init(nn.Linear(3, 8)), nn.Tanh(), layer_init(nn.Linear(8, 2), std=0.01)
            )
            self.actor_logstd = nn.Parameter(torch.zeros(1, 2))

        def get_value(self, x: Any) -> Any:
            return self.critic(x)

        def get_action_and_value(self, x: Any, noise: Any = None, action: Any = None) -> Any:
            action_mean = self.actor_mean(x)
            action_std = torch.exp(self.actor_logstd.expand_as(action_mean))
            probs = Normal(action_mean, action_std)
            if action is None:
                action = action_mean + action_std * noise
            return action, probs.log_prob(action).sum(1), probs.entropy().sum(1), self.critic(x)

    agent = fill(torch, Agent())
    optimizer = torch.optim.Adam(agent.parameters(), lr=3e-3, eps=1e-5)
    num_steps, num_envs, rng = 6, 2, np.random.default_rng(0)
    obs = torch.zeros((num_steps, num_envs) + (3,)).double()
    actions = torch.zeros((num_steps, num_envs) + (2,)).double()
    logprobs, rewards, dones, values = (
        torch.zeros((num_steps, num_envs)).double() for _ in range(4)
    )
    next_obs = torch.Tensor(rng.standard_normal((num_envs, 3))).double()
    next_done = torch.zeros(num_envs).double()
    matrix = torch.from_numpy(data(2, 3, seed=4))
    for step in range(num_steps):
        obs[step], dones[step] = next_obs, next_done
        with torch.no_grad():
            noise = torch.from_numpy(rng.standard_normal((num_envs, 2)))
            action, logprob, _, value = agent.get_action_and_value(next_obs, noise)
            values[step] = value.flatten()
        actions[step], logprobs[step] = action, logprob
        next_obs = (next_obs + action @ matrix * 0.1).clip(-2, 2)
        rewards[step] = -next_obs.square().sum(1)
        next_done = torch.tensor(rng.random(num_envs) < 0.2).double()

    @torch.compile
    def advantages_of(
        rewards: Any, values: Any, dones: Any, next_value: Any, next_done: Any
    ) -> Any:
        advantages = torch.zeros_like(rewards)
        lastgaelam = 0
        for t in reversed(range(num_steps)):
            if t == num_steps - 1:
                nextnonterminal, nextvalues = 1.0 - next_done, next_value
            else:
                nextnonterminal, nextvalues = 1.0 - dones[t + 1], values[t + 1]
            delta = rewards[t] + 0.99 * nextvalues * nextnonterminal - values[t]
            advantages[t] = lastgaelam = delta + 0.99 * 0.95 * nextnonterminal * lastgaelam
        return advantages, advantages + values

    with torch.no_grad():
        next_value = agent.get_value(next_obs).reshape(-1)
        advantages, returns = advantages_of(rewards, values, dones, next_value, next_done)
    b_obs, b_actions = obs.reshape((-1,) + (3,)), actions.reshape((-1, 2))
    b_logprobs, b_advantages = logprobs.reshape(-1), advantages.reshape(-1)
    b_returns, b_values = returns.reshape(-1), values.reshape(-1)

    @torch.compile
    def update(o: Any, a: Any, old: Any, adv: Any, ret: Any, val: Any) -> Any:
        _, newlogprob, entropy, newvalue = agent.get_action_and_value(o, action=a)
        logratio = newlogprob - old
        ratio = logratio.exp()
        with torch.no_grad():
            approx_kl = ((ratio - 1) - logratio).mean()
            clipfrac = ((ratio - 1.0).abs() > 0.2).float().mean()
        adv = (adv - adv.mean()) / (adv.std() + 1e-8)
        pg_loss = torch.max(-adv * ratio, -adv * torch.clamp(ratio, 1 - 0.2, 1 + 0.2)).mean()
        newvalue = newvalue.view(-1)
        v_clipped = val + torch.clamp(newvalue - val, -0.2, 0.2)
        v_loss = 0.5 * torch.max((newvalue - ret) ** 2, (v_clipped - ret) ** 2).mean()
        loss = pg_loss - 0.01 * entropy.mean() + v_loss * 0.5
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
        optimizer.step()
        return loss, v_loss, approx_kl, clipfrac

    b_inds, log = np.arange(12), []
    for epoch in range(3):
        rng.shuffle(b_inds)
        for start in range(0, 12, 4):
            mb = b_inds[start : start + 4]
            log.append(update(
                b_obs[mb], b_actions[mb], b_logprobs[mb], b_advantages[mb], b_returns[mb], b_values[mb]
            ))  # fmt: skip
    y_pred, y_true = b_values.numpy(), b_returns.numpy()
    explained = 1 - np.var(y_true - y_pred) / np.var(y_true)
    return advantages, log, agent.actor_logstd, float(explained)


@program
def soft_actor_critic(torch: ModuleType) -> Any:
    """Twin critics, squashed actions with corrected density, a learned temperature, polyak."""
    nn, F = torch.nn, torch.nn.functional

    def mlp(sizes: Any, activation: Any, output_activation: Any = nn.Identity) -> Any:
        layers = []
        for j in range(len(sizes) - 1):
            act = activation if j < len(sizes) - 2 else output_activation
            layers += [nn.Linear(sizes[j], sizes[j + 1]), act()]
        return nn.Sequential(*layers)

    class Actor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp([3, 8], nn.ReLU, nn.ReLU)
            self.mu, self.log_std = nn.Linear(8, 2), nn.Linear(8, 2)

        def forward(self, obs: Any, noise: Any) -> Any:
            h = self.net(obs)
            mu, log_std = self.mu(h), torch.clamp(self.log_std(h), -20, 2)
            std = torch.exp(log_std)
            u = mu + std * noise
            logp = torch.distributions.Normal(mu, std).log_prob(u).sum(axis=-1)
            logp -= (2 * (np.log(2) - u - F.softplus(-2 * u))).sum(axis=1)
            return torch.tanh(u), logp

    class Q(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q = mlp([5, 8, 1], nn.ReLU)

        def forward(self, obs: Any, act: Any) -> Any:
            return torch.squeeze(self.q(torch.cat([obs, act], dim=-1)), -1)

    actor, q1, q2 = fill(torch, Actor()), fill(torch, Q(), 1), fill(torch, Q(), 2)
    t1, t2 = copy.deepcopy(q1), copy.deepcopy(q2)
    log_alpha = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    q_opt = torch.optim.Adam([*q1.parameters(), *q2.parameters()], lr=1e-2)
    pi_opt = torch.optim.Adam(actor.parameters(), lr=1e-2)
    a_opt = torch.optim.Adam([log_alpha], lr=1e-2)

    @torch.compile
    def update(o: Any, a: Any, r: Any, o2: Any, d: Any, n1: Any, n2: Any) -> Any:
        alpha = log_alpha.exp().detach()
        with torch.no_grad():
            a2, logp_a2 = actor(o2, n1)
            backup = r + 0.99 * (1 - d) * (torch.min(t1(o2, a2), t2(o2, a2)) - alpha * logp_a2)
        loss_q = ((q1(o, a) - backup) ** 2).mean() + ((q2(o, a) - backup) ** 2).mean()
        q_opt.zero_grad()
        loss_q.backward()
        q_opt.step()
        for p in (*q1.parameters(), *q2.parameters()):
            p.requires_grad = False
        pi, logp = actor(o, n2)
        loss_pi = (alpha * logp - torch.min(q1(o, pi), q2(o, pi))).mean()
        pi_opt.zero_grad()
        loss_pi.backward()
        pi_opt.step()
        for p in (*q1.parameters(), *q2.parameters()):
            p.requires_grad = True
        loss_alpha = -(log_alpha * (logp.detach() - 2)).mean()
        a_opt.zero_grad()
        loss_alpha.backward()
        a_opt.step()
        with torch.no_grad():
            for net, target in ((q1, t1), (q2, t2)):
                for p, p_targ in zip(net.parameters(), target.parameters()):
                    p_targ.data.mul_(0.9)
                    p_targ.data.add_((1 - 0.9) * p.data)
        return loss_q, loss_pi, loss_alpha

    rng, log = np.random.default_rng(0), []
    for _ in range(3):
        n = lambda *s: torch.from_numpy(rng.standard_normal(s))  # noqa: E731
        log.append(update(n(6, 3), n(6, 2), n(6), n(6, 3), (n(6) > 1).double(), n(6, 2), n(6, 2)))
    return log, log_alpha, t1.q[0].weight, actor.mu.weight


@program
def bandits_and_dynamic_programming(torch: ModuleType) -> Any:
    """Value iteration with `einsum` until it settles, UCB by scatter, a game tree by recursion."""
    rng = np.random.default_rng(0)
    P = torch.tensor(rng.dirichlet(np.ones(5), (5, 3)))
    R = torch.tensor(rng.standard_normal((5, 3)))

    @torch.compile
    def value_iteration(gamma: float, theta: float) -> Any:
        V = torch.zeros(5, dtype=torch.float64)
        rounds = 0
        while True:
            Q = R + gamma * torch.einsum("san,n->sa", P, V)
            new = Q.max(dim=1)[0]
            delta = torch.max(torch.abs(new - V))
            V = new
            rounds += 1
            if delta < theta:
                break
        return V, Q.argmax(dim=1), rounds

    V, policy, rounds = value_iteration(0.9, 1e-6)
    counts, sums = torch.zeros(4).double(), torch.zeros(4).double()
    means, chosen = torch.tensor([0.1, 0.5, 0.3, 0.45]).double(), []
    for t in range(1, 30):
        ucb = torch.where(
            counts > 0,
            sums / counts.clamp_min(1) + (2 * np.log(t) / counts.clamp_min(1)).sqrt(),
            torch.inf,
        )
        arm = int(torch.argmax(ucb))
        reward = means[arm] + 0.1 * rng.standard_normal()
        counts[arm] += 1
        sums.index_add_(0, torch.tensor([arm]), reward.reshape(1))
        chosen.append(arm)

    def minimax(node: Any, depth: int, maximizing: bool) -> Any:
        if depth == 0:
            return node.sum()
        halves = node.chunk(2)
        values = [minimax(h, depth - 1, not maximizing) for h in halves]
        return torch.stack(values).max() if maximizing else torch.stack(values).min()

    leaves = torch.from_numpy(data(16)).requires_grad_()
    best = torch.compile(minimax)(leaves, 3, True)
    best.backward()
    return V, policy, int(rounds), chosen, counts, sums, best, leaves.grad
