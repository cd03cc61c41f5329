"""What the fast roads of a model bring: an update on them and on the plain ones, on one core.

    python benchmarks/fast_roads.py              ten minutes

Forward, loss and backward without the optimizer, on one batch of 64 rows with source and target of
one length: LSTMs of 256, embeddings of 128, a bidirectional encoder, 100 characters.
Plain is `train.fast=false` but for the products, which are oneDNN's on both. The two take turns;
processor time; medians, and the median of the turns' ratios.

And what it brings that freed memory stays with the process (`jumok.training.heap`): whole updates
of a model of 8,000 words, lengths 8 to 20, each way in processes of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import torch
from environment import environment

from jumok.config import resolve
from jumok.nn import Seq2Seq, initialise
from jumok.nn.arithmetic import cpu_arithmetic
from jumok.training.heap import kept_heap
from jumok.training.loss import sequence_loss

RESULTS = Path(__file__).parent / "results" / "fast-roads.json"
BATCH, HIDDEN, EMBEDDING, VOCABULARY, WORDS = 64, 256, 128, 100, 8000
HEAPS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "kept": kept_heap,
    "usual": nullcontext,
}
MODELS = {
    "general, fed (luong2015)": {"score": "general", "input_feeding": True},
    "general, not fed": {"score": "general", "input_feeding": False},
    "additive (bahdanau2015)": {
        "score": "additive",
        "hidden": HIDDEN,
        "timing": "previous",
        "context": "rnn_input",
        "input_feeding": False,
    },
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[15, 30, 80, 150])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file to write")
    parser.add_argument("--updates", type=int, default=40, help="with and without kept memory")
    parser.add_argument("--with-heap", choices=HEAPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.with_heap:
        print(updates(HEAPS[options.with_heap], options.updates))
        return
    rows = []
    with cpu_arithmetic(threads=1):
        for name, length, precision in product(MODELS, options.lengths, ("fp32", "bf16")):
            row = {"model": name, "length": length, "precision": precision}
            row |= measure(name, length, precision, options.repeats)
            rows.append(row)
            print(row, flush=True)
    heap = measure_heap(options)
    print(heap, flush=True)
    report = {
        **environment(),
        "measure": "milliseconds of processor time: forward, loss and backward, one core",
        "batch": BATCH,
        "hidden": HIDDEN,
        "embedding": EMBEDDING,
        "vocabulary": VOCABULARY,
        "repeats": options.repeats,
        "rows": rows,
        "heap": heap,
    }
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    options.output.write_text(text, encoding="utf-8")


def measure(name: str, length: int, precision: str, repeats: int) -> dict[str, Any]:
    """Both, after a turn that warms up."""
    settings = {
        "model.encoder.hidden": HIDDEN // 2,
        "model.decoder.hidden": HIDDEN,
        **{f"model.{side}.embedding": EMBEDDING for side in ("encoder", "decoder")},
        **{f"model.attention.{axis}": value for axis, value in MODELS[name].items()},
    }
    torch.manual_seed(1)
    model = Seq2Seq(resolve(settings=settings).model, VOCABULARY, VOCABULARY)
    initialise(model)
    source, target = torch.randint(4, VOCABULARY, (2, BATCH, length)).unbind()
    lengths = torch.full((BATCH,), length)
    mask = torch.ones(BATCH, length, dtype=torch.bool)
    taken: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(repeats + 1):
        for fast in (True, False) if turn % 2 else (False, True):
            model.use_fast_roads(fast)
            model.zero_grad()
            began = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = sequence_loss(model, model(source, lengths, target), target, mask)
            loss.backward()  # type: ignore[no-untyped-call]
            del loss
            if turn:
                taken[fast].append(time.process_time() - began)
    ratios = [plain / fast for fast, plain in zip(taken[True], taken[False], strict=True)]
    return {
        "fast_ms": round(1000 * statistics.median(taken[True]), 1),
        "plain_ms": round(1000 * statistics.median(taken[False]), 1),
        "times": round(statistics.median(ratios), 2),
    }


def measure_heap(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of an update each way, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in HEAPS}
    for turn in range(options.repeats):
        for name in list(HEAPS)[:: 1 if turn % 2 else -1]:
            command = [sys.executable, __file__, "--with-heap", name]
            command += ["--updates", str(options.updates)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            taken[name].append(float(done.stdout))
    ratios = [usual / kept for kept, usual in zip(taken["kept"], taken["usual"], strict=True)]
    return {
        **{f"{name}_ms": round(statistics.median(found), 1) for name, found in taken.items()},
        "times": round(statistics.median(ratios), 2),
    }


def updates(heap: Callable[[], AbstractContextManager[None]], count: int) -> float:
    """Mean milliseconds of an update; five before them warm up."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    settings = {"model.encoder.hidden": HIDDEN // 2, "model.decoder.hidden": HIDDEN}
    model = Seq2Seq(resolve(settings=settings).model, WORDS, WORDS)
    initialise(model)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    began = 0.0
    with cpu_arithmetic(threads=1), heap():
        for update in range(count + 5):
            if update == 5:
                began = time.process_time()
            length = int(torch.randint(8, 21, ()))
            source, target = torch.randint(4, WORDS, (2, BATCH, length)).unbind()
            mask = torch.ones(BATCH, length, dtype=torch.bool)
            optimizer.zero_grad()
            output = model(source, torch.full((BATCH,), length), target)
            sequence_loss(model, output, target, mask).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return 1000 * (time.process_time() - began) / count


if __name__ == "__main__":
    main()
