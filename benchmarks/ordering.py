"""Does attention order as the papers say? Each axis changed alone, on G2P and on Multi30k.

python benchmarks/ordering.py [g2p] [multi30k] [--jobs N]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cli_runs import evaluate, origin, store, train
from multi30k import SWAPPED, TOK, UNTIL_TIME_IS_UP, WORDS

PLAIN = ["coverage=false", "location_width=0"]
"""Of the preset `g2p`, whose attention has more."""
VARIANTS: dict[str, list[str]] = {
    "none": ["score=none", "input_feeding=false"],
    "location": ["score=location"],
    "dot": ["score=dot"],
    "general": [],
    "additive": ["score=additive"],
    "without input feeding": ["input_feeding=false"],
    "local_m": ["scope=local_m", "window=5"],
    "local_p": ["scope=local_p", "window=5"],
    "coverage": ["coverage=true"],
    "location-aware": ["location_width=5"],
    "location-aware, coverage": ["coverage=true", "location_width=5"],
    "previous": ["timing=previous"],
    "previous into the RNN": ["timing=previous", "context=rnn_input", "input_feeding=false"],
    "mid into the RNN": ["timing=mid", "context=rnn_input", "input_feeding=false"],
}
"""`general` is current timing, attentional, with input feeding, global; the others change that."""
LANGUAGES = ("hun", "kor")
EPOCHS = 20
MINUTES = 10


def g2p(job: tuple[str, str, int]) -> dict[str, Any]:
    """WER of one variant, one language, one seed."""
    name, language, seed = job
    run, folder = f"ordering-{_file_name(name)}-{language}-{seed}", "sigmorphon2020-g2p"
    files = [f"{folder}/{language}_{part}.tsv" for part in ("train", "dev")]
    settings = [*_settings(name), f"train.max_epochs={EPOCHS}", f"train.seed={seed}"]
    done = train(run, *files, ["g2p"], settings, threads=1)
    scores = evaluate(run, f"{folder}/{language}_test.tsv", 1)
    row = {"variant": name, "language": language, "seed": seed, "wer": scores["wer"]}
    print(row, flush=True)
    return {**row, **origin(done)}


def multi30k(name: str) -> dict[str, Any]:
    """BLEU of one variant, German to English, after `MINUTES` on one core."""
    run = f"ordering-{_file_name(name)}-multi30k"
    budget = [f"train.max_minutes={MINUTES}", "evaluation.bleu_tokenize=none"]
    settings = [*UNTIL_TIME_IS_UP, *WORDS, *SWAPPED, *budget, *_settings(name)]
    files = [f"{TOK}/train.tsv.gz", f"{TOK}/val.tsv"]
    done = train(run, *files, ["translation"], settings, threads=1)
    columns = [option for setting in SWAPPED for option in ("--set", setting)]
    scores = evaluate(run, f"{TOK}/test_2016_flickr.tsv", 1, "--beam", "1", *columns)
    row = {"variant": name, "bleu": scores["bleu"], "perplexity": scores["perplexity"]}
    print(row, flush=True)
    return {**row, "updates": done["validations"][-1]["step"], **origin(done)}


def main() -> None:
    """The parts named on the command line, or both."""
    parser = argparse.ArgumentParser(description="Each axis of attention changed alone.")
    parser.add_argument("parts", nargs="*", help="g2p, multi30k; both if left out")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    options = parser.parse_args()
    parts = options.parts or ["g2p", "multi30k"]
    if "g2p" in parts:
        seeds = (1, 2, 3)
        jobs = [(name, tongue, seed) for seed in seeds for tongue in LANGUAGES for name in VARIANTS]
        store("ordering-g2p", _all(g2p, jobs, options.jobs))
    if "multi30k" in parts:
        store("ordering-multi30k", _all(multi30k, list(VARIANTS), options.jobs))


def _all(work: Callable[[Any], dict[str, Any]], jobs: list[Any], at_a_time: int) -> list[Any]:
    with ThreadPoolExecutor(at_a_time) as pool:
        return list(pool.map(work, jobs))


def _file_name(variant: str) -> str:
    return variant.replace(",", "").replace(" ", "-")


def _settings(name: str) -> list[str]:
    return [f"model.attention.{setting}" for setting in [*PLAIN, *VARIANTS[name]]]


if __name__ == "__main__":
    main()
