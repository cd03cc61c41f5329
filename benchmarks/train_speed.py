"""How fast models train: target tokens per second of processor time, on one thread.

    python benchmarks/train_speed.py                  a few minutes
    python benchmarks/train_speed.py --repeats 2 --updates 2 --output /dev/null

Fixed sizes: bidirectional LSTM of 256 per direction, decoder of 256, embeddings of 256, batches of
64 pairs of 16 tokens each, vocabularies of 10,000. Updates are whole ones: forward, backward,
clipping and Adam. The variants take turns, so that a change of the machine's mood meets them all,
and processor time is counted, so that other programs cost little. Medians are reported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from environment import environment
from torch import Tensor

from jumok.config import ModelConfig, TrainConfig
from jumok.nn import Seq2Seq, initialise
from jumok.nn.arithmetic import cpu_arithmetic
from jumok.training.loss import sequence_loss
from jumok.training.optimizer import make_optimizer

VOCAB, BATCH, LENGTH = 10_000, 64, 16
ATTENTIONS: dict[str, dict[str, Any]] = {
    "general, input feeding": {"score": "general"},
    "general": {"score": "general", "input_feeding": False},
    "additive": {"score": "additive", "input_feeding": False},
    "additive, into the RNN's input": {
        "score": "additive",
        "timing": "previous",
        "context": "rnn_input",
        "input_feeding": False,
    },
    "no attention": {"score": "none", "input_feeding": False},
}
RESULTS = Path(__file__).parent / "results" / "train_speed.json"


class Variant:
    """One model in training."""

    def __init__(self, attention: dict[str, Any]) -> None:
        torch.manual_seed(1)
        self.config = TrainConfig()
        sizes = {"embedding": 256, "hidden": 256}
        model = ModelConfig.model_validate(
            {"encoder": sizes, "decoder": sizes, "attention": {"hidden": 256, **attention}}
        )
        self.model = Seq2Seq(model, VOCAB, VOCAB)
        initialise(self.model)
        self.optimizer = make_optimizer(self.model, self.config)

    def update(self, source: Tensor, target_in: Tensor, target_out: Tensor) -> None:
        """What `Trainer` does for a batch, without its bookkeeping."""
        lengths = torch.full((BATCH,), LENGTH)
        output = self.model(source, lengths, target_in)
        mask = torch.ones_like(target_out, dtype=torch.bool)
        loss = sequence_loss(self.model, output, target_out, mask)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Measure training speed on one thread.")
    parser.add_argument("--repeats", type=int, default=9, help="turns of every variant")
    parser.add_argument("--updates", type=int, default=5, help="updates in a turn")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file to write")
    options = parser.parse_args()
    with cpu_arithmetic(threads=1) as fast:
        speeds = measure(options.repeats, options.updates)
    rows = summary(speeds)
    print_table(rows)
    report = {
        "environment": environment(),
        "measure": "target tokens per second of processor time, whole training updates",
        "sizes": {"vocab": VOCAB, "batch": BATCH, "source": LENGTH, "target": LENGTH},
        "fast_float32": fast,
        "repeats": options.repeats,
        "updates_per_repeat": options.updates,
        "results": rows,
    }
    text = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
    options.output.write_text(text, encoding="utf-8")


def measure(repeats: int, updates: int) -> dict[str, list[float]]:
    """Tokens per second of each variant, once per repeat. A first turn warms up, uncounted."""
    generator = torch.Generator().manual_seed(1)
    batches = [
        tuple(torch.randint(4, VOCAB, (BATCH, LENGTH), generator=generator) for _ in range(3))
        for _ in range(updates)
    ]
    variants = {name: Variant(attention) for name, attention in ATTENTIONS.items()}
    names = list(variants)
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats + 1):
        start = turn % len(names)  # nobody always comes first
        for name in names[start:] + names[:start]:
            began = time.process_time()
            for batch in batches:
                variants[name].update(*batch)
            seconds = time.process_time() - began
            if turn:
                speeds[name].append(updates * BATCH * LENGTH / seconds)
    return speeds


def summary(speeds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Median, range, and the ratio to the first variant (the median of each turn's ratios)."""
    base = next(iter(speeds.values()))
    return [
        {
            "attention": name,
            "tokens_per_second": round(statistics.median(found), 1),
            "lowest": round(min(found), 1),
            "highest": round(max(found), 1),
            "ratio": round(statistics.median(a / b for a, b in zip(found, base, strict=True)), 3),
        }
        for name, found in speeds.items()
    ]


def print_table(rows: list[dict[str, Any]]) -> None:
    """The results for a person."""
    print(f"{'attention':<32}{'tokens/s':>10}{'lowest':>10}{'highest':>10}{'ratio':>8}")
    for row in rows:
        print(
            f"{row['attention']:<32}{row['tokens_per_second']:>10,.0f}{row['lowest']:>10,.0f}"
            f"{row['highest']:>10,.0f}{row['ratio']:>8.2f}"
        )


if __name__ == "__main__":
    main()
