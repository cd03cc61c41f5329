"""What a shortlist brings: time and BLEU with and without, on one core.

python benchmarks/shortlist.py [MODEL]

MODEL is the run that benchmarks/multi30k.py trains (tok), or another of multi30k-en-de-tok. It gets
a shortlist of its training pairs, and is exported where it is not yet. What is stored already is
not measured again; to begin anew, remove benchmarks/results/shortlist.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from itertools import product
from pathlib import Path
from typing import Any

from cli_runs import DATA, RUNS, jumok, measure_all

from jumok.bundle import read_bundle, read_exported, write_shortlist
from jumok.config import DataConfig
from jumok.data import read_pairs
from jumok.metrics import metric_value
from jumok.predictor import load
from jumok.shortlist import LinkCounts

TOK = DATA / "multi30k-en-de-tok"
KEYS = ("engine", "beam", "batch")
ENGINES = ("torch", "onnx", "onnx-int8")
BEAMS = (1, 5)
BATCHES = (1, 64)
TURNS = 3


def main() -> None:
    """Measure every engine, beam and batch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, default=RUNS / "multi30k-en-de-tok")
    model = parser.parse_args().model
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch and graphs are loaded
    if read_exported(read_bundle(model)) is None:
        jumok(["export", str(model)], threads=1)
    pairs = read_pairs(TOK / "test_2016_flickr.tsv", DataConfig()).pairs
    sources, references = [pair.source for pair in pairs], [[pair.target] for pair in pairs]
    sizes = make_list(model, sources)

    def one(job: tuple[Any, ...]) -> dict[str, Any]:
        row = {**dict(zip(KEYS, job, strict=True)), **sizes, **measure(model, sources, *job)}
        for name in ("bleu", "bleu_shortlist"):
            row[name] = metric_value("bleu", row[name], references, bleu_tokenize="none")
        print(row, flush=True)
        return row

    measure_all("shortlist", one, list(product(ENGINES, BEAMS, BATCHES)), KEYS, 1)


def make_list(model: Path, sources: list[str]) -> dict[str, Any]:
    """Give the model its list; sizes of the vocabulary, and of the sources' lists on average."""
    bundle = read_bundle(model)
    counts = LinkCounts(load(model))
    counts.add(read_pairs(TOK / "train.tsv.gz", DataConfig()).pairs)
    found = counts.shortlist(50, 100)  # as `jumok shortlist` has it
    write_shortlist(bundle, found)
    read = bundle.source_tokenizer.encode_ids(sources)
    listed = statistics.mean(len({*found.of(ids).tolist()}) for ids in read)
    return {"vocabulary": bundle.target_tokenizer.vocab_size, "listed": round(listed)}


def measure(model: Path, sources: list[str], engine: Any, beam: int, batch: int) -> dict[str, Any]:
    """Outputs, and processor milliseconds a source: medians of turns, and of the ratios within.

    A first turn of a few sources warms up, uncounted.
    """
    predictor = load(model, engine=engine)
    taken: dict[bool, list[float]] = {False: [], True: []}
    outputs: dict[bool, list[str]] = {}
    for turn in range(TURNS + 1):
        for short, times in taken.items():
            some = sources if turn else sources[:batch]
            began = time.process_time()
            found = predictor.predict(some, beam=beam, batch_size=batch, shortlist=short)
            if turn:
                times.append(1000 * (time.process_time() - began) / len(some))
            outputs[short] = [one.text for one in found]
    ratios = [a / b for a, b in zip(taken[False], taken[True], strict=True)]
    return {
        "milliseconds": round(statistics.median(taken[False]), 3),
        "milliseconds_shortlist": round(statistics.median(taken[True]), 3),
        "times_faster": round(statistics.median(ratios), 2),
        "bleu": outputs[False],
        "bleu_shortlist": outputs[True],
    }


if __name__ == "__main__":
    main()
