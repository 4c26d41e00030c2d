"""Programs about sequences: language models, recurrent layers, seq2seq, forecasting, words."""

# ruff: noqa: B007, B905, E501, RUF059 - programs as people write them

from __future__ import annotations

import collections
import math
import re
from types import ModuleType
from typing import Any

import numpy as np

from tests.parity.programs import fill, program

_TEXT = """the time traveller for so it will be convenient to speak of him
was expounding a recondite matter to us his grey eyes shone and twinkled
and his usually pale face was flushed and animated"""


class Vocab:
    """Tokens and their numbers, the rare ones left out."""

    def __init__(self, tokens: Any, min_freq: int = 0) -> None:
        counter = collections.Counter(tokens)
        self.token_freqs = sorted(counter.items(), key=lambda x: x[1], reverse=True)
        self.idx_to_token = ["<unk>"] + [t for t, f in self.token_freqs if f >= min_freq]
        self.token_to_idx = {token: idx for idx, token in enumerate(self.idx_to_token)}

    def __len__(self) -> int:
        return len(self.idx_to_token)

    def __getitem__(self, tokens: Any) -> Any:
        if not isinstance(tokens, (list, tuple)):
            return self.token_to_idx.get(tokens, 0)
        return [self.__getitem__(token) for token in tokens]


def corpus() -> tuple[list[int], Vocab]:
    """The text as numbers of its characters."""
    tokens = list(re.sub("[^A-Za-z]+", " ", _TEXT).strip().lower())
    vocab = Vocab(tokens)
    return vocab[tokens], vocab


@program
def recurrent_network_from_scratch(torch: ModuleType) -> Any:
    """One-hot inputs, parameters in a list, state as a tuple, clipping by hand, prediction."""
    F = torch.nn.functional
    ids, vocab = corpus()
    num_hiddens = 12
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return torch.tensor(rng.standard_normal(shape) * 0.1)

    def three() -> Any:
        return (
            normal(len(vocab), num_hiddens), normal(num_hiddens, num_hiddens),
            torch.zeros(num_hiddens, dtype=torch.float64),
        )  # fmt: skip

    def rnn_params() -> Any:
        return [*three(), normal(num_hiddens, len(vocab)), torch.zeros(len(vocab)).double()]

    def gru_params() -> Any:
        return [*three(), *three(), *three(), normal(num_hiddens, len(vocab)),
                torch.zeros(len(vocab)).double()]  # fmt: skip

    def rnn(inputs: Any, state: Any, params: Any) -> Any:
        W_xh, W_hh, b_h, W_hq, b_q = params
        (H,) = state
        outputs = []
        for X in inputs:
            H = torch.tanh(torch.mm(X, W_xh) + torch.mm(H, W_hh) + b_h)
            Y = torch.mm(H, W_hq) + b_q
            outputs.append(Y)
        return torch.cat(outputs, dim=0), (H,)

    def gru(inputs: Any, state: Any, params: Any) -> Any:
        W_xz, W_hz, b_z, W_xr, W_hr, b_r, W_xh, W_hh, b_h, W_hq, b_q = params
        (H,) = state
        outputs = []
        for X in inputs:
            Z = torch.sigmoid((X @ W_xz) + (H @ W_hz) + b_z)
            R = torch.sigmoid((X @ W_xr) + (H @ W_hr) + b_r)
            H_tilda = torch.tanh((X @ W_xh) + ((R * H) @ W_hh) + b_h)
            H = Z * H + (1 - Z) * H_tilda
            outputs.append(H @ W_hq + b_q)
        return torch.cat(outputs, dim=0), (H,)

    class RNNModelScratch:
        def __init__(self, params: Any, forward_fn: Any) -> None:
            self.params, self.forward_fn = params, forward_fn
            for param in self.params:
                param.requires_grad_(True)

        def __call__(self, X: Any, state: Any) -> Any:
            X = F.one_hot(X.T, len(vocab)).type(torch.float64)
            return self.forward_fn(X, state, self.params)

        def begin_state(self, batch_size: int) -> Any:
            return (torch.zeros((batch_size, num_hiddens), dtype=torch.float64),)

    def grad_clipping(params: Any, theta: float) -> None:
        norm = torch.sqrt(sum(torch.sum(p.grad**2) for p in params))
        if norm > theta:
            for param in params:
                param.grad[:] *= theta / norm

    results = []
    for make, forward in ((rnn_params, rnn), (gru_params, gru)):
        net = RNNModelScratch(make(), forward)
        loss = torch.nn.CrossEntropyLoss()

        def train_batch(X: Any, Y: Any, state: Any, net: Any = net, loss: Any = loss) -> Any:
            for param in net.params:
                if param.grad is not None:
                    param.grad.zero_()
            y = Y.T.reshape(-1)
            y_hat, state = net(X, state)
            l = loss(y_hat, y.long()).mean()
            l.backward()
            grad_clipping(net.params, 1)
            with torch.no_grad():
                for param in net.params:
                    param -= 1.0 * param.grad
            return l, state

        train_batch = torch.compile(train_batch)
        state = net.begin_state(2)
        perplexities = []
        Xs = torch.tensor(ids[:100]).reshape(2, -1)
        Ys = torch.tensor(ids[1:101]).reshape(2, -1)
        for i in range(0, 45, 9):
            for s in state:
                s.detach_()
            l, state = train_batch(Xs[:, i : i + 9], Ys[:, i : i + 9], state)
            perplexities.append(math.exp(l.item()))
        outputs, state = [vocab["t"]], net.begin_state(1)
        get_input = lambda: torch.tensor([outputs[-1]]).reshape((1, 1))  # noqa: E731, B023
        for y in "ime ":
            _, state = net(get_input(), state)
            outputs.append(vocab[y])
        for _ in range(6):
            y, state = net(get_input(), state)
            outputs.append(int(y.argmax(dim=1).reshape(1)))
        results.append((perplexities, "".join(vocab.idx_to_token[i] for i in outputs)))
        results.append([p.grad.abs().max() for p in net.params])
    return results


@program
def recurrent_layers_concise(torch: ModuleType) -> Any:
    """`nn.RNN`, `nn.GRU`, `nn.LSTM` in one model that asks `isinstance`; state kept and detached."""
    nn, F = torch.nn, torch.nn.functional
    ids, vocab = corpus()

    class RNNModel(nn.Module):
        def __init__(self, rnn_layer: Any, vocab_size: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.rnn = rnn_layer
            self.vocab_size = vocab_size
            self.num_hiddens = self.rnn.hidden_size
            self.num_directions = 2 if self.rnn.bidirectional else 1
            self.linear = nn.Linear(self.num_hiddens * self.num_directions, self.vocab_size)

        def forward(self, inputs: Any, state: Any) -> Any:
            X = F.one_hot(inputs.T.long(), self.vocab_size)
            X = X.to(torch.float64)
            Y, state = self.rnn(X, state)
            output = self.linear(Y.reshape((-1, Y.shape[-1])))
            return output, state

        def begin_state(self, batch_size: int = 1) -> Any:
            shape = (self.num_directions * self.rnn.num_layers, batch_size, self.num_hiddens)
            if not isinstance(self.rnn, nn.LSTM):
                return torch.zeros(shape, dtype=torch.float64)
            return (torch.zeros(shape).double(), torch.zeros(shape).double())

    results = []
    V = len(vocab)
    layers = (
        nn.RNN(V, 8), nn.GRU(V, 8, num_layers=2), nn.LSTM(V, 8), nn.LSTM(V, 6, 2, bidirectional=True)
    )  # fmt: skip
    X, Y = torch.tensor(ids[:40]).reshape(4, 10), torch.tensor(ids[1:41]).reshape(4, 10)
    for layer in layers:
        model = fill(torch, RNNModel(layer, V))
        run = torch.compile(model)
        trainer = torch.optim.SGD(model.parameters(), lr=0.5)
        state, losses = None, []
        for i in range(3):
            if state is None:
                state = model.begin_state(batch_size=4)
            elif isinstance(model, nn.Module) and not isinstance(state, tuple):
                state.detach_()
            else:
                for s in state:
                    s.detach_()
            y_hat, state = run(X, state)
            loss = F.cross_entropy(y_hat, Y.T.reshape(-1))
            trainer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            trainer.step()
            losses.append(loss.item())
        results.append((losses, state, str(model)))
    return results


@program
def sequence_to_sequence(torch: ModuleType) -> Any:
    """Encoder and decoder with GRUs, context repeated, masked softmax loss, greedy prediction."""
    nn = torch.nn

    class Encoder(nn.Module):
        def __init__(self, vocab_size: int, embed: int, hidden: int, layers: int) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocab_size, embed)
            self.rnn = nn.GRU(embed, hidden, layers)

        def forward(self, X: Any, *args: Any) -> Any:
            return self.rnn(self.embedding(X).permute(1, 0, 2))

    class Decoder(nn.Module):
        def __init__(self, vocab_size: int, embed: int, hidden: int, layers: int) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocab_size, embed)
            self.rnn = nn.GRU(embed + hidden, hidden, layers)
            self.dense = nn.Linear(hidden, vocab_size)

        def init_state(self, enc_outputs: Any, *args: Any) -> Any:
            return enc_outputs[1]

        def forward(self, X: Any, state: Any) -> Any:
            X = self.embedding(X).permute(1, 0, 2)
            context = state[-1].repeat(X.shape[0], 1, 1)
            output, state = self.rnn(torch.cat((X, context), 2), state)
            return self.dense(output).permute(1, 0, 2), state

    class EncoderDecoder(nn.Module):
        def __init__(self, encoder: Any, decoder: Any) -> None:
            super().__init__()
            self.encoder, self.decoder = encoder, decoder

        def forward(self, enc_X: Any, dec_X: Any, *args: Any) -> Any:
            enc_outputs = self.encoder(enc_X, *args)
            return self.decoder(dec_X, self.decoder.init_state(enc_outputs, *args))

    def sequence_mask(X: Any, valid_len: Any, value: float = 0) -> Any:
        maxlen = X.size(1)
        mask = (
            torch.arange((maxlen), dtype=torch.float32, device=X.device)[None, :]
            < valid_len[:, None]
        )
        X[~mask] = value
        return X

    class MaskedSoftmaxCELoss(nn.CrossEntropyLoss):
        def forward(self, pred: Any, label: Any, valid_len: Any) -> Any:
            weights = sequence_mask(torch.ones_like(label), valid_len)
            unweighted = super().forward(pred.permute(0, 2, 1), label)
            return (unweighted * weights).mean(dim=1)

    masked = torch.compile(sequence_mask)(torch.ones(2, 3, 4), torch.tensor([1, 2]), value=-1)
    net = fill(torch, EncoderDecoder(Encoder(10, 5, 6, 2), Decoder(11, 5, 6, 2)))
    loss = MaskedSoftmaxCELoss(reduction="none")
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)

    @torch.compile
    def step(X: Any, Y: Any, Y_valid_len: Any) -> Any:
        optimizer.zero_grad()
        bos = torch.tensor([1] * Y.shape[0]).reshape(-1, 1)
        dec_input = torch.cat([bos, Y[:, :-1]], 1)
        Y_hat, _ = net(X, dec_input)
        l = loss(Y_hat, Y, Y_valid_len)
        l.sum().backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), 1)
        optimizer.step()
        return l, norm

    rng = np.random.default_rng(0)
    log = []
    for _ in range(3):
        X, Y = (torch.from_numpy(rng.integers(2, 10, (3, 7))) for _ in range(2))
        log.append(step(X, Y, torch.tensor([3, 7, 5])))
    net.eval()
    enc_outputs = net.encoder(X[:1])
    state = net.decoder.init_state(enc_outputs)
    dec_X, output = torch.unsqueeze(torch.tensor([1]), dim=0), []
    for _ in range(5):
        Y, state = net.decoder(dec_X, state)
        dec_X = Y.argmax(dim=2)
        output.append(dec_X.squeeze(dim=0).type(torch.int32).item())
    return masked, log, output, net.decoder.dense.weight.grad


@program
def forecast_with_an_lstm(torch: ModuleType) -> Any:
    """Sliding windows, a state per batch, an LSTM cell unrolled into the future, MinMax scaling."""
    nn = torch.nn
    series = np.sin(np.arange(60) * 0.3) + np.linspace(0, 1, 60)
    lo, hi = series.min(), series.max()
    scaled = torch.tensor((series - lo) / (hi - lo)).view(-1)

    def create_inout_sequences(input_data: Any, tw: int) -> Any:
        return [
            (input_data[i : i + tw], input_data[i + tw : i + tw + 1])
            for i in range(len(input_data) - tw)
        ]

    class LSTM(nn.Module):
        def __init__(self, input_size: int = 1, hidden: int = 6, output_size: int = 1) -> None:
            super().__init__()
            self.hidden_layer_size = hidden
            self.lstm = nn.LSTM(input_size, hidden)
            self.linear = nn.Linear(hidden, output_size)

        def forward(self, input_seq: Any) -> Any:
            lstm_out, (h, c) = self.lstm(input_seq.view(len(input_seq), 1, -1))
            predictions = self.linear(lstm_out.view(len(input_seq), -1))
            return predictions[-1]

    model = fill(torch, LSTM())
    loss_function = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    @torch.compile
    def step(seq: Any, label: Any) -> Any:
        optimizer.zero_grad()
        single_loss = loss_function(model(seq), label)
        single_loss.backward()
        optimizer.step()
        return single_loss

    for seq, labels in create_inout_sequences(scaled, 12)[:15]:
        last = step(seq, labels)
    test_inputs = scaled[-12:].tolist()
    model.eval()
    predict = torch.compile(model)
    for i in range(4):
        seq = torch.DoubleTensor(test_inputs[-12:])
        with torch.no_grad():
            test_inputs.append(predict(seq).item())

    cell = fill(torch, nn.LSTMCell(1, 4))
    head = fill(torch, nn.Linear(4, 1), 1)

    @torch.compile
    def unroll(x: Any, future: int = 0) -> Any:
        outputs = []
        h_t = torch.zeros(x.size(0), 4, dtype=torch.double)
        c_t = torch.zeros(x.size(0), 4, dtype=torch.double)
        for input_t in x.split(1, dim=1):
            h_t, c_t = cell(input_t, (h_t, c_t))
            output = head(h_t)
            outputs += [output]
        for i in range(future):
            h_t, c_t = cell(output, (h_t, c_t))
            output = head(h_t)
            outputs += [output]
        return torch.cat(outputs, dim=1)

    return last, test_inputs[12:], unroll(scaled[:20].view(2, 10), future=3)


@program
def word_vectors(torch: ModuleType) -> Any:
    """Skip-gram with negative sampling: masks, `bmm` of embeddings, cosine neighbours."""
    nn = torch.nn
    ids, vocab = corpus()

    class SigmoidBCELoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()

        def forward(self, inputs: Any, target: Any, mask: Any = None) -> Any:
            out = nn.functional.binary_cross_entropy_with_logits(
                inputs, target, weight=mask, reduction="none"
            )
            return out.mean(dim=1)

    def skip_gram(center: Any, contexts_and_negatives: Any, embed_v: Any, embed_u: Any) -> Any:
        v = embed_v(center)
        u = embed_u(contexts_and_negatives)
        return torch.bmm(v, u.permute(0, 2, 1))

    net = fill(torch, nn.Sequential(
        nn.Embedding(num_embeddings=len(vocab), embedding_dim=4), nn.Embedding(len(vocab), 4)
    ))  # fmt: skip
    loss = SigmoidBCELoss()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    rng = np.random.default_rng(0)

    @torch.compile
    def step(center: Any, context_negative: Any, mask: Any, label: Any) -> Any:
        optimizer.zero_grad()
        pred = skip_gram(center, context_negative, net[0], net[1])
        l = (
            loss(pred.reshape(label.shape).double(), label.double(), mask)
            / mask.sum(axis=1)
            * mask.shape[1]
        )
        l.sum().backward()
        optimizer.step()
        return l.sum()

    log = []
    for i in range(4):
        context = torch.from_numpy(rng.integers(0, len(vocab), (5, 6)))
        mask = torch.from_numpy(rng.integers(0, 2, (5, 6)).astype(np.float64))
        mask[:, 0] = 1
        label = torch.tensor([[1, 1, 0, 0, 0, 0]] * 5)
        log.append(step(torch.tensor(ids[i : i + 5]).view(-1, 1), context, mask, label))
    W = net[0].weight.data
    x = W[vocab["e"]]
    cos = torch.mv(W, x) / torch.sqrt(torch.sum(W * W, dim=1) * torch.sum(x * x) + 1e-9)
    topk = torch.topk(cos, k=4)[1].numpy().astype("int32")
    return log, [(vocab.idx_to_token[i], f"{float(cos[i]):.3f}") for i in topk[1:]]


@program
def text_classification_with_convolutions(torch: ModuleType) -> Any:
    """Parallel 1-d convolutions over two embeddings, pooled over time; a padded LSTM beside it."""
    nn = torch.nn

    class TextCNN(nn.Module):
        def __init__(self, vocab: int, embed: int, kernel_sizes: Any, num_channels: Any) -> None:
            super().__init__()
            self.embedding = nn.Embedding(vocab, embed, padding_idx=0)
            self.constant_embedding = nn.Embedding(vocab, embed)
            self.dropout = nn.Dropout(0.0)
            self.decoder = nn.Linear(sum(num_channels), 2)
            self.pool = nn.AdaptiveAvgPool1d(1)
            self.relu = nn.ReLU()
            self.convs = nn.ModuleList()
            for c, k in zip(num_channels, kernel_sizes):
                self.convs.append(nn.Conv1d(2 * embed, c, k))

        def forward(self, inputs: Any) -> Any:
            embeddings = torch.cat((self.embedding(inputs), self.constant_embedding(inputs)), dim=2)
            embeddings = embeddings.permute(0, 2, 1)
            encoding = torch.cat(
                [
                    torch.squeeze(self.relu(self.pool(conv(embeddings))), dim=-1)
                    for conv in self.convs
                ],
                dim=1,
            )
            return self.decoder(self.dropout(encoding))

    net = fill(torch, TextCNN(12, 3, [2, 3, 4], [2, 2, 3]))
    net.constant_embedding.weight.requires_grad = False
    trainer = torch.optim.Adam((p for p in net.parameters() if p.requires_grad), lr=0.1)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 12, (4, 9)))

    @torch.compile
    def step() -> Any:
        trainer.zero_grad(set_to_none=False)
        l = nn.functional.cross_entropy(net(ids), torch.tensor([0, 1, 1, 0]), reduction="sum")
        l.backward()
        trainer.step()
        return l

    log = [step().item() for _ in range(4)]
    lengths = [9, 5, 4, 1]
    rows = [net.embedding(row[:n]) for row, n in zip(ids, lengths)]
    padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1.0)
    lstm = fill(torch, nn.LSTM(3, 4, batch_first=True, bidirectional=True))
    output, (h, c) = lstm(padded)
    last = output[torch.arange(4), torch.tensor(lengths) - 1]
    return log, net.embedding.weight.grad[0], padded, last, torch.cat((h[-2], h[-1]), 1)
