"""The additive score against the formula written out: processor time and memory, one thread.

    python benchmarks/additive.py                  a few minutes, and 9 GiB of memory
    python benchmarks/additive.py --naive-up-to 50        without the 9 GiB

Forward and backward, batch 32, key size 512, source and target of one length. The two take turns,
so that a change of the machine's mood meets them both, and processor time is counted, so that
other programs cost little; medians, and the median of the turns' ratios. Memory is a fresh
process's peak less that of one which only makes the inputs, the scores and the gradients; a few
MiB can hide in what a process has freed before.

torch's default arithmetic: the formula's product with v is slower on the road that training takes
(jumok.nn.arithmetic), and ours has no product of matrices.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from environment import environment
from torch import Tensor

from jumok.nn.additive import additive_score

RESULTS = Path(__file__).parent / "results" / "additive.json"
LONG = 400
"""From this length on, one turn is enough: it takes long, and there is nothing to compare with."""


def naive(query: Tensor, keys: Tensor, v: Tensor) -> Tensor:
    """Bahdanau et al. 2015, A.1.2."""
    return (torch.tanh(query[:, :, None] + keys[:, None]) @ v[:, None]).squeeze(-1)


SCORES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "naive": naive,
    "jumok": additive_score,
}


class Case:
    """Inputs, and the gradient of the scores."""

    def __init__(self, length: int, batch: int, size: int) -> None:
        torch.manual_seed(1)
        self.query, self.keys = torch.randn(2, batch, length, size).unbind()
        self.v = torch.empty(size).uniform_(-0.1, 0.1)
        self.inputs = [x.requires_grad_() for x in (self.query, self.keys, self.v)]
        self.d = torch.randn(batch, length, length)

    def results(self, name: str) -> tuple[Tensor, ...]:
        """Scores and gradients."""
        scores = SCORES[name](self.query, self.keys, self.v)
        return scores.detach(), *torch.autograd.grad(scores, self.inputs, self.d)

    def places(self) -> list[Tensor]:
        """Tensors as large as the results, in memory."""
        return [torch.full_like(x, 1.0) for x in (self.d, *self.inputs)]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Measure the additive score on one thread.")
    parser.add_argument("--lengths", type=int, nargs="+", default=[50, 200, 800])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=512, help="of a key")
    parser.add_argument("--repeats", type=int, default=7, help="turns of both at length 50")
    parser.add_argument("--naive-up-to", type=int, default=200, help="longest for the formula")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file to write")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak_of:
        print(peak(options.peak_of, Case(options.lengths[0], options.batch, options.size)))
        return
    # memory first: a process begins with its parent's peak
    rows = [measure_memory(length, options) for length in options.lengths]
    for row in rows:
        row.update(measure_time(row["length"], options))
        row["times_faster"] = row.pop("ratio")
        print_row(row)
    report = {
        **environment(),
        "measure": "forward and backward: seconds of processor time, MiB of memory in between",
        "batch": options.batch,
        "size": options.size,
        "rows": rows,
    }
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    options.output.write_text(text, encoding="utf-8")


def names(length: int, options: argparse.Namespace) -> list[str]:
    """What is measured at this length."""
    return [name for name in SCORES if name == "jumok" or length <= options.naive_up_to]


def measure_time(length: int, options: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of each, and of the ratios. A first turn warms up, uncounted."""
    case = Case(length, options.batch, options.size)
    seconds: dict[str, list[float]] = {name: [] for name in names(length, options)}
    repeats = options.repeats if length <= 50 else max(1, options.repeats // 2)
    warming = 0 if length >= LONG else 1
    for turn in range(warming + (1 if length >= LONG else repeats)):
        for name, found in seconds.items():
            began = time.process_time()
            case.results(name)
            if turn >= warming:
                found.append(time.process_time() - began)
    median = {name: round(statistics.median(found), 4) for name, found in seconds.items()}
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)] if "naive" in median else []
    return {
        "seconds": median,
        "repeats": len(seconds["jumok"]),
        "ratio": round(statistics.median(ratios), 2) if ratios else None,
    }


def measure_memory(length: int, options: argparse.Namespace) -> dict[str, Any]:
    """MiB of each beyond inputs and results."""

    def fresh(name: str) -> float:
        sizes = ["--lengths", str(length), "--batch", str(options.batch), "--size"]
        command = [sys.executable, __file__, *sizes, str(options.size), "--peak-of", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return float(done.stdout)

    base = fresh("nothing")
    extra = {name: round(fresh(name) - base, 1) for name in names(length, options)}
    part = extra["jumok"] / extra["naive"] if extra.get("naive") else None
    return {
        "length": length,
        "extra_mib": extra,
        "part_of_memory": None if part is None else round(part, 4),
    }


def peak(name: str, case: Case) -> float:
    """Peak MiB of this process after the results, or after only making room for them."""
    warm = Case(12, 8, 64)  # large enough for tiles; what the libraries take for themselves
    for score in SCORES:
        warm.results(score)
    _held = case.places() if name == "nothing" else case.results(name)
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def print_row(row: dict[str, Any]) -> None:
    """The results of one length for a person."""
    print(f"source = target = {row['length']}:", end="")
    for name, seconds in row["seconds"].items():
        print(f"  {name} {seconds:.3f} s, {row['extra_mib'][name]:,.0f} MiB extra;", end="")
    if row["times_faster"]:
        print(f"  {row['times_faster']:.2f} x faster", end="")
    if row["part_of_memory"]:
        print(f", 1/{1 / row['part_of_memory']:.0f} of the memory", end="")
    print(flush=True)


if __name__ == "__main__":
    main()
