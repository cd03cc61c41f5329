"""What a shortlist brings: seconds and BLEU with and without, on one core.

python benchmarks/shortlist.py MODEL [--pairs FILE] [--engines torch onnx] [--limit 200] ...

MODEL was trained on multi30k-en-de-tok, and `jumok shortlist MODEL FILE...` has been run on its
training pairs (and `jumok export MODEL` for the engines onnx and onnx-int8).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli_runs import DATA, RESULTS
from environment import environment

from jumok.bundle import read_bundle, read_shortlist
from jumok.config import DataConfig
from jumok.data import Pair, read_pairs
from jumok.metrics import metric_value
from jumok.predictor import Predictor, load


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    pairs = DATA / "multi30k-en-de-tok" / "test_2016_flickr.tsv"
    parser.add_argument("--pairs", type=Path, default=pairs)
    engines = ["torch", "onnx", "onnx-int8"]
    parser.add_argument("--engines", nargs="+", default=engines, choices=engines)
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--limit", type=int, help="Take the first so many pairs only.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokenize", default="none", help="For BLEU: sacrebleu's tokenizer.")
    parser.add_argument("--output", type=Path, default=RESULTS / "shortlist.json")
    options = parser.parse_args()
    read = read_pairs([str(options.pairs)], DataConfig()).pairs[: options.limit]
    rows = []
    for engine in options.engines:
        predictor = load(options.model, engine=engine)
        for beam in options.beams:
            judged = bleu(predictor, read, beam, options.tokenize)
            for batch in options.batches:
                sources = [pair.source for pair in read]
                timed = seconds(predictor, sources, beam, batch, options.repeats)
                rows.append({"engine": engine, "beam": beam, "batch": batch, **timed, **judged})
                print(json.dumps(rows[-1]), flush=True)
    report = {**environment(), **columns(options.model, read), "rows": rows}
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    options.output.write_text(text, encoding="utf-8")


def bleu(predictor: Predictor, pairs: Sequence[Pair], beam: int, tokenize: str) -> dict[str, Any]:
    """BLEU with and without."""
    sources, references = [p.source for p in pairs], [[p.target] for p in pairs]
    found = {}
    for name, short in (("bleu", False), ("bleu_shortlist", True)):
        outputs = [p.text for p in predictor.predict(sources, beam=beam, shortlist=short)]
        value = metric_value("bleu", outputs, references, bleu_tokenize=tokenize)
        found[name] = round(value, 2)
    return found


def seconds(
    predictor: Predictor, sources: list[str], beam: int, batch: int, repeats: int
) -> dict[str, Any]:
    """Processor milliseconds a text, the median of turns, and of the ratios within turns.

    A first turn of a few texts warms up, uncounted.
    """
    found: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(repeats + 1):
        for short, taken in found.items():
            some = sources if turn else sources[:batch]
            began = time.process_time()
            predictor.predict(some, beam=beam, batch_size=batch, shortlist=short)
            if turn:
                taken.append(1000 * (time.process_time() - began) / len(some))
    ratios = [a / b for a, b in zip(found[False], found[True], strict=True)]
    return {
        "milliseconds": round(statistics.median(found[False]), 3),
        "milliseconds_shortlist": round(statistics.median(found[True]), 3),
        "times_faster": round(statistics.median(ratios), 2),
    }


def columns(model: Path, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Sizes of the vocabulary and of the texts' lists."""
    bundle = read_bundle(model)
    found = read_shortlist(bundle)
    assert found is not None, f"run first: jumok shortlist {model} PAIRS..."
    encoded = bundle.source_tokenizer.encode_ids([pair.source for pair in pairs])
    sizes = [len({*found.of(ids).tolist()}) for ids in encoded]
    return {"vocabulary": bundle.target_tokenizer.vocab_size, "listed": statistics.mean(sizes)}


if __name__ == "__main__":
    main()
