"""Greedy decoding as tutorials write it, with a model of `plain_loop.py`.

python plain_greedy.py MODEL.safetensors SOURCES --batch-size 64
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from plain_loop import BOS, EOS, PAD, UNK, PlainLoop, to_ids
from safetensors import safe_open
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

MOST = 50
"""Tokens of an output."""


def main() -> None:
    """Print an output for every line; sentences of similar length share a batch."""
    parser = argparse.ArgumentParser(description="A tutorial's greedy decoding.")
    parser.add_argument("model", type=Path)
    parser.add_argument("sources", type=Path)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with safe_open(options.model, "pt") as file:
        source_words, target_words = (json.loads(file.metadata()[s]) for s in ("source", "target"))
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    sizes = (UNK + 1 + len(words) for words in (source_words, target_words))
    embedding, hidden = weights["read.weight"].shape[1], weights["key.weight"].shape[0]
    model = PlainLoop(*sizes, embedding, hidden)
    model.load_state_dict(weights)
    model.eval()
    lines = options.sources.read_text(encoding="utf-8").splitlines()
    sources = to_ids([line.split() for line in lines], source_words)
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    outputs = [""] * len(sources)
    for start in range(0, len(order), options.batch_size):
        chosen = order[start : start + options.batch_size]
        for i, ids in zip(chosen, greedy(model, [sources[i] for i in chosen]), strict=True):
            outputs[i] = " ".join(target_words[y - UNK - 1] for y in ids)
    print("\n".join(outputs))


@torch.no_grad()
def greedy(model: PlainLoop, sources: list[Tensor]) -> list[list[int]]:
    """Ids of the outputs, up to their </s>; no output has an unknown word."""
    source = pad_sequence(sources, batch_first=True)
    states, (h, c) = model.encode(source, (source != PAD).sum(dim=1))
    feed, y = torch.zeros_like(h), torch.full((len(sources),), BOS)
    made, done = [], torch.zeros(len(sources), dtype=torch.bool)
    for _ in range(MOST):
        h, c, feed, found = model.step(y, h, c, feed, states, source)
        found[:, [PAD, BOS, UNK]] = -torch.inf
        y = found.argmax(dim=1)
        made.append(y)
        done |= y == EOS
        if done.all():
            break
    rows = torch.stack(made, dim=1).tolist()
    return [row[: row.index(EOS)] if EOS in row else row for row in rows]


if __name__ == "__main__":
    main()
