"""What CUDA graphs and kernels bring on a GPU: whole updates, and the additive score.

    python benchmarks/gpu.py --data ../shared/data/multi30k-en-de-tok        a few minutes, on a GPU

Updates: of a model on Multi30k (words of two or more, batch 64), with everything that belongs to
them: batches made and copied, forward, loss, backward, clipping, Adam. (A run makes the next batch
while the GPU works; here nothing is next.) The same sixteen batches are gone through again and
again, and the median of the last passes counts; what the second one costs more, which records most
shapes, is told beside it. Roads: `graphs` is what training takes, `fast` the same without
graphs, `plain` is train.fast=false, and `tutorial` is `plain_loop.py`. They take turns.

A whole run: the translation preset on words for ten epochs, with its validations, through `jumok`
as a user has it; BLEU on test_2016_flickr.

The additive score: batch 32, key size 512, forward and backward, against the formula written out;
memory is what is allocated at most beside inputs, scores and gradients.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu
import torch
from environment import ROOT, environment
from plain_loop import PlainLoop
from torch.nn.functional import nll_loss

import jumok
from jumok.nn.additive import additive_score
from jumok.text import BOS, EOS, PAD
from jumok.training.corpus import Corpus, make_corpus
from jumok.training.interrupt import StopRequest
from jumok.training.progress import SilentReporter
from jumok.training.ranks import Ranks
from jumok.training.run import _arithmetic, _new_model, _trainer, configure
from jumok.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "gpu.json"
DATA = ROOT.parent / "shared" / "data" / "multi30k-en-de-tok"
UPDATES = 16
FED = {"score": "general", "timing": "current", "context": "attentional", "input_feeding": True}
MODELS: dict[str, dict[str, Any]] = {
    "general, fed (luong2015)": FED,
    "general, not fed": {**FED, "input_feeding": False},
    "additive (bahdanau2015)": {
        "score": "additive",
        "timing": "previous",
        "context": "rnn_input",
        "input_feeding": False,
    },
}
CASES = [
    ("general, fed (luong2015)", 256, "fp32"),
    ("general, fed (luong2015)", 512, "fp32"),
    ("general, fed (luong2015)", 512, "tf32"),
    ("general, fed (luong2015)", 512, "bf16"),
    ("general, fed (luong2015)", 1024, "tf32"),
    ("general, fed (luong2015)", 1024, "bf16"),
    ("general, not fed", 512, "fp32"),
    ("additive (bahdanau2015)", 512, "fp32"),
    ("additive (bahdanau2015)", 512, "tf32"),
]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of train.tsv.gz, val.tsv")
    parser.add_argument("--cases", type=int, default=len(CASES), help="how many")
    parser.add_argument("--passes", type=int, default=5, help="timed ones")
    parser.add_argument("--lengths", type=int, nargs="*", default=[50, 200, 800])
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file to write")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("This measures a GPU, and torch sees none here")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with gzip.open(options.data / "train.tsv.gz", "rb") as file:
            (folder / "train.tsv").write_bytes(file.read())
        for model, hidden, precision in CASES[: options.cases]:
            row = {"model": model, "hidden": hidden, "precision": precision}
            row |= measure(folder, options.data / "val.tsv", row, options.passes)
            rows.append(row)
            print(row, flush=True)
    whole = whole_run(options.data)
    print(whole, flush=True)
    score = []
    for length in options.lengths:
        score.append(measure_score(length))
        print(score[-1], flush=True)
    report = {
        **environment(),
        "measure": "real target tokens per second of whole updates; milliseconds of the score",
        "updates": UPDATES,
        "passes": options.passes,
        "batch": 64,
        "rows": rows,
        "whole": whole,
        "score": score,
    }
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    options.output.write_text(text, encoding="utf-8")


def measure(folder: Path, dev: Path, row: dict[str, Any], passes: int) -> dict[str, Any]:
    """Every road on the same batches."""
    settings = {
        "train.device": "cuda",
        "train.batch_size": 64,
        "train.precision": row["precision"],
        **{f"text.{side}.kind": "split" for side in ("source", "target")},
        **{f"text.{side}.min_count": 2 for side in ("source", "target")},
        "model.encoder.hidden": row["hidden"] // 2,
        "model.decoder.hidden": row["hidden"],
        "model.attention.hidden": row["hidden"],
        **{f"model.{side}.embedding": row["hidden"] for side in ("encoder", "decoder")},
        **{f"model.attention.{axis}": value for axis, value in MODELS[row["model"]].items()},
    }
    config = configure(folder / "train.tsv", dev, (), None, settings)
    corpus = make_corpus(config, quiet=True)
    trainers = {
        road: trainer_of(corpus, folder / "run", road) for road in ("graphs", "fast", "plain")
    }
    updates = list(trainers["graphs"].updates_of_epoch())
    chosen = [updates[i] for i in np.linspace(0, len(updates) - 1, UPDATES).astype(int)]
    batches = [batch for (batch,) in chosen]
    tokens = int(sum(corpus.train.target_lengths[batch].sum() for batch in batches))

    def passing(trainer: Trainer) -> Callable[[], None]:
        def once() -> None:
            for batch in batches:
                trainer.update([batch])

        return once

    roads = {road: passing(trainer) for road, trainer in trainers.items()}
    if MODELS[row["model"]] is FED and row["precision"] == "fp32":
        roads["tutorial"] = tutorial(corpus, batches, row["hidden"])
    first, taken = {}, {road: list[float]() for road in roads}
    with _arithmetic(config):
        for turn in range(3 + passes):
            for road, once in roads.items():
                seconds = timed(once)
                if turn == 1:
                    first[road] = seconds
                if turn >= 3:
                    taken[road].append(seconds)
    seconds_of = {road: statistics.median(every) for road, every in taken.items()}
    return {
        "tokens_per_second": {road: round(tokens / s) for road, s in seconds_of.items()},
        "milliseconds_an_update": {
            road: round(1000 * s / UPDATES, 2) for road, s in seconds_of.items()
        },
        "spread": {
            road: round((max(every) - min(every)) / statistics.median(every), 3)
            for road, every in taken.items()
        },
        "recording_seconds": round(first["graphs"] - seconds_of["graphs"], 2),
        "recorded": trainers["graphs"].graphs.recorded,
    }


def whole_run(data: Path) -> dict[str, Any]:
    """Seconds and BLEU."""
    settings = {
        "train.device": "cuda",
        "train.max_epochs": 10,
        "evaluation.bleu_tokenize": "none",
        **{f"text.{side}.kind": "word" for side in ("source", "target")},
        **{f"text.{side}.min_count": 2 for side in ("source", "target")},
        **{f"text.{side}.vocab_size": 20000 for side in ("source", "target")},
    }
    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        began = time.monotonic()
        model = jumok.train(
            data / "train.tsv.gz",
            dev=data / "val.tsv",
            preset="translation",
            output=run,
            settings=settings,
        )
        seconds = time.monotonic() - began
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        validations = [json.loads(line) for line in lines]
        memory = torch.cuda.max_memory_reserved() / 2**20
        pairs = [line.split("\t") for line in read(data / "test_2016_flickr.tsv").splitlines()]
        found = {}
        for name, beam in (("greedy", 1), ("beam5", 5)):
            outputs = model.predict([source for source, _ in pairs], beam=beam)
            bleu = sacrebleu.corpus_bleu(
                [one.text for one in outputs], [[target for _, target in pairs]], tokenize="none"
            )
            found[name] = round(bleu.score, 2)
    return {
        "settings": settings,
        "seconds": round(seconds, 1),
        "validation_seconds": round(sum(one["validation_seconds"] for one in validations), 1),
        "epochs": [{k: one[k] for k in ("epoch", "seconds", "bleu")} for one in validations],
        "tokens_per_second": [one["tokens_per_second"] for one in validations],
        "reserved_mib": round(memory),
        "bleu": found,
    }


def read(path: Path) -> str:
    """UTF-8 text."""
    return path.read_text(encoding="utf-8")


def trainer_of(corpus: Corpus, folder: Path, road: str) -> Trainer:
    """A trainer that takes one road."""
    train = corpus.config.train.model_copy(update={"fast": road != "plain"})
    corpus = corpus._replace(config=corpus.config.model_copy(update={"train": train}))
    trainer = _trainer(
        _new_model(corpus.config, corpus.tokenizers),
        corpus,
        folder,
        SilentReporter(),
        StopRequest(lambda: None),
        Ranks(),
    )
    if road == "fast":
        trainer.graphs = None
    return trainer


def tutorial(corpus: Corpus, batches: list[np.ndarray], hidden: int) -> Callable[[], None]:
    """Updates of the tutorial's loop on the same pairs."""
    torch.manual_seed(1)
    sizes = [tokenizer.vocab_size for tokenizer in corpus.tokenizers]
    model = PlainLoop(*sizes, hidden, hidden).cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def padded(side: Any, rows: np.ndarray, first: list[int], last: list[int]) -> torch.Tensor:
        ids = [torch.tensor(first + side[int(i)].tolist() + last) for i in rows]
        return torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PAD)

    def once() -> None:
        for rows in batches:
            source = padded(corpus.train.source, rows, [], [EOS])
            lengths = (source != PAD).sum(dim=1)
            before = padded(corpus.train.target, rows, [BOS], []).cuda()
            target = padded(corpus.train.target, rows, [], [EOS]).cuda()
            found = model(source.cuda(), lengths, before)
            loss = nll_loss(found.flatten(0, 1), target.flatten(), ignore_index=PAD)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()

    return once


def timed(once: Callable[[], None]) -> float:
    """Seconds until the GPU has done it."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    once()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def written_out(query: torch.Tensor, keys: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Bahdanau et al. 2015, A.1.2."""
    return torch.tanh(query[:, :, None] + keys[:, None]) @ v


def measure_score(length: int, batch: int = 32, size: int = 512) -> dict[str, Any]:
    """Kernels and formula in turns; the formula where its tensors fit."""
    torch.manual_seed(1)
    query, keys = torch.randn(2, batch, length, size, device="cuda").unbind()
    inputs = [x.detach().requires_grad_() for x in (query, keys, torch.randn(size, device="cuda"))]
    d = torch.randn(batch, length, length, device="cuda")
    scores = {"kernels": additive_score, "formula": written_out}
    if length > 400:  # each of some tensors would have 42 GB
        del scores["formula"]
    results, memory, taken = {}, {}, {name: list[float]() for name in scores}
    for turn in range(9):
        for name, score in scores.items():
            results.pop(name, None)
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()

            def once(name: str = name, score: Any = score) -> None:
                made = score(*inputs)
                results[name] = [made.detach(), *torch.autograd.grad(made, inputs, d)]

            seconds = timed(once)
            if turn >= 2:
                taken[name].append(seconds)
            kept = sum(x.numel() * x.element_size() for x in results[name])
            memory[name] = torch.cuda.max_memory_allocated() - before - kept
    found: dict[str, Any] = {"length": length}
    for name in scores:
        found[f"{name}_ms"] = round(1000 * statistics.median(taken[name]), 3)
        found[f"{name}_mib"] = round(memory[name] / 2**20, 1)
    if "formula" in scores:
        found["times_faster"] = round(found["formula_ms"] / found["kernels_ms"], 2)
        found["error"] = max(errors(results["kernels"], results["formula"]))
    return found


def errors(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> Iterator[float]:
    """Relative differences."""
    for one, other in zip(found, wanted, strict=True):
        yield float((one - other).norm() / other.norm())


if __name__ == "__main__":
    main()
