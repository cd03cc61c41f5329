"""A translation model as tutorials write it: the yardstick that everybody knows.

python plain_loop.py TRAIN.tsv --hidden 256 --updates 120 --report 40

One loop over target positions, with everything in it: the cell, the keys' projection (Luong et al.
2015, "general"), the readout and its log-probabilities. Sentences of similar length share a batch.
It needs torch, and safetensors to keep what it learned (--save); `rivals.py` trains it beside
jumok, and `plain_greedy.py` decodes with it.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import log_softmax, nll_loss
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

PAD, BOS, EOS, UNK = range(4)
BATCH = 64


class PlainLoop(nn.Module):
    """Bidirectional LSTM encoder; LSTM decoder with general attention and input feeding."""

    def __init__(self, source_vocab: int, target_vocab: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.read = nn.Embedding(source_vocab, embedding, padding_idx=PAD)
        self.write = nn.Embedding(target_vocab, embedding, padding_idx=PAD)
        self.encoder = nn.LSTM(embedding, hidden // 2, bidirectional=True, batch_first=True)
        self.cell = nn.LSTMCell(embedding + hidden, hidden)
        self.key = nn.Linear(hidden, hidden, bias=False)
        self.combine = nn.Linear(2 * hidden, hidden)
        self.readout = nn.Linear(hidden, target_vocab)
        self.dropout = nn.Dropout(0.1)

    def forward(self, source: Tensor, lengths: Tensor, target_in: Tensor) -> Tensor:
        """Log-probabilities of every next token, batch x length x vocabulary."""
        states, (h, c) = self.encode(source, lengths)
        feed, made = torch.zeros_like(h), []
        for y in target_in.unbind(dim=1):
            h, c, feed, found = self.step(y, h, c, feed, states, source)
            made.append(found)
        return torch.stack(made, dim=1)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """States, batch x length x hidden, and what the decoder begins with."""
        read = self.dropout(self.read(source))
        packed = pack_padded_sequence(read, lengths, batch_first=True, enforce_sorted=False)
        states, (hidden, cell) = self.encoder(packed)
        states, _ = pad_packed_sequence(states, batch_first=True)
        h, c = (torch.cat([both[0], both[1]], dim=1) for both in (hidden, cell))
        return states, (h, c)

    def step(
        self, y: Tensor, h: Tensor, c: Tensor, feed: Tensor, states: Tensor, source: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One token further: the new h, c and feed, and the log-probabilities of the next token."""
        h, c = self.cell(torch.cat([self.dropout(self.write(y)), feed], dim=1), (h, c))
        scores = (self.key(states) @ h[:, :, None])[:, :, 0]
        weights = scores.masked_fill(source == PAD, -1e9).softmax(dim=1)
        context = (weights[:, None] @ states)[:, 0]
        feed = torch.tanh(self.combine(torch.cat([context, h], dim=1)))
        return h, c, feed, log_softmax(self.readout(self.dropout(feed)), dim=1)


def main() -> None:
    """Train for some updates; say after every ``--report`` how many target tokens there were."""
    parser = argparse.ArgumentParser(description="A tutorial's training loop.")
    parser.add_argument("train", type=Path)
    parser.add_argument("--embedding", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--min-count", type=int, default=2)
    parser.add_argument("--updates", type=int, default=120)
    parser.add_argument("--report", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, help="write weights and words here in the end")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    lines = options.train.read_text(encoding="utf-8").splitlines()
    sides = list(zip(*(line.split("\t") for line in lines), strict=True))
    (sources, source_words), (targets, target_words) = (
        encode([text.split() for text in side], options.min_count) for side in sides
    )
    sizes = (UNK + 1 + len(words) for words in (source_words, target_words))
    model = PlainLoop(*sizes, options.embedding, options.hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    order = batches([len(s) for s in sources])
    tokens = 0
    for update in range(1, options.updates + 1):
        chosen = order[update % len(order)]
        source, target = (
            pad_sequence([side[i] for i in chosen], batch_first=True) for side in (sources, targets)
        )
        before = torch.cat([torch.full((len(chosen), 1), BOS), target[:, :-1]], dim=1)
        found = model(source, (source != PAD).sum(dim=1), before)
        loss = nll_loss(found.flatten(0, 1), target.flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        tokens += int((target != PAD).sum())
        if update % options.report == 0:
            print(f"step {update} tokens {tokens} loss {float(loss.detach()):.3f}", flush=True)
    if options.save:
        words = {"source": json.dumps(source_words), "target": json.dumps(target_words)}
        save_file(model.state_dict(), options.save, metadata=words)


def encode(texts: list[list[str]], min_count: int) -> tuple[list[Tensor], list[str]]:
    """Ids with </s> at the end, and the words that have ids, in order from UNK + 1."""
    counts = Counter(word for text in texts for word in text)
    words = sorted(word for word, count in counts.items() if count >= min_count)
    return to_ids(texts, words), words


def to_ids(texts: list[list[str]], words: list[str]) -> list[Tensor]:
    """Ids with </s> at the end."""
    ids = {word: number for number, word in enumerate(words, start=UNK + 1)}
    return [torch.tensor([*(ids.get(word, UNK) for word in text), EOS]) for text in texts]


def batches(lengths: list[int]) -> list[list[int]]:
    """Neighbours in length share a batch; batches in random order."""
    draw = random.Random(1)
    order = list(range(len(lengths)))
    draw.shuffle(order)
    order.sort(key=lengths.__getitem__)
    found = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    draw.shuffle(found)
    return found


if __name__ == "__main__":
    main()
