"""Does attention order as the papers say? Each axis changed alone, on G2P and on Multi30k.

python benchmarks/ordering.py [g2p | multi30k] [--jobs N]

What is stored already is not measured again; to begin anew, remove
benchmarks/results/ordering-*.json.
"""

from __future__ import annotations

import argparse
from typing import Any

from cli_runs import evaluate, measure_all, origin, train
from multi30k import SWAPPED, TOK, WORDS

PLAIN = ["coverage=false", "location_width=0"]
"""Of the preset `g2p`, whose attention has more."""
VARIANTS: dict[str, list[str]] = {
    "none": ["score=none", "input_feeding=false"],
    "location": ["score=location"],
    "dot": ["score=dot"],
    "general": [],
    "without input feeding": ["input_feeding=false"],
    "local_p": ["scope=local_p", "window=5"],
    "previous": ["timing=previous"],
    "previous into the RNN": ["timing=previous", "context=rnn_input", "input_feeding=false"],
    "mid into the RNN": ["timing=mid", "context=rnn_input", "input_feeding=false"],
    "additive": ["score=additive"],
    "local_m": ["scope=local_m", "window=5"],
    "coverage": ["coverage=true"],
    "location-aware": ["location_width=5"],
}
"""`general` is current timing, attentional, with input feeding, global; the others change that."""
ON_MULTI30K = {**VARIANTS, "general as dot": VARIANTS["general"]}
NARROW = {name: ["model.encoder.hidden=128"] for name in ("dot", "general as dot")}
"""On Multi30k, where an encoder's states are else twice as long as a decoder's, which `dot` has to
multiply. `general` with such states stands beside it."""
LANGUAGES = ("hun", "kor")
KEYS = ("variant", "language", "seed")
EPOCHS = {"g2p": 10, "multi30k": 2}
LAST_ALONE = ["train.validate_every=1000000"]
"""No choice among checkpoints: the last is judged, which is what is compared."""


def g2p(job: tuple[str, str, int]) -> dict[str, Any]:
    """WER of one variant, one language, one seed."""
    name, language, seed = job
    run, folder = f"ordering-{_file_name(name)}-{language}-{seed}", "sigmorphon2020-g2p"
    files = [f"{folder}/{language}_{part}.tsv" for part in ("train", "dev")]
    budget = [*LAST_ALONE, f"train.max_epochs={EPOCHS['g2p']}", f"train.seed={seed}"]
    settings = [*_settings(name), *budget]
    done = train(run, *files, ["g2p"], settings, threads=1)
    scores = evaluate(run, f"{folder}/{language}_test.tsv", 1)
    row = {"variant": name, "language": language, "seed": seed, "wer": scores["wer"]}
    print(row, flush=True)
    return {**row, **origin(done)}


def multi30k(job: tuple[str]) -> dict[str, Any]:
    """BLEU of one variant, German to English."""
    [name] = job
    run = f"ordering-{_file_name(name)}-multi30k"
    budget = [f"train.max_epochs={EPOCHS['multi30k']}", *LAST_ALONE]
    judged = "evaluation.bleu_tokenize=none"
    settings = [*WORDS, *SWAPPED, *budget, judged, *_settings(name), *NARROW.get(name, [])]
    files = [f"{TOK}/train.tsv.gz", f"{TOK}/val.tsv"]
    done = train(run, *files, ["translation"], settings, threads=1)
    columns = [option for setting in SWAPPED for option in ("--set", setting)]
    scores = evaluate(run, f"{TOK}/test_2016_flickr.tsv", 1, "--beam", "1", *columns)
    row = {"variant": name, "bleu": scores["bleu"], "perplexity": scores["perplexity"]}
    print(row, flush=True)
    return {**row, "updates": done["validations"][-1]["step"], **origin(done)}


def main() -> None:
    """The part named on the command line, or both."""
    parser = argparse.ArgumentParser(description="Each axis of attention changed alone.")
    parts = ["g2p", "multi30k"]
    parser.add_argument("part", nargs="?", choices=parts, help="both if left out")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    options = parser.parse_args()
    parts = [options.part] if options.part else parts
    if "g2p" in parts:
        seeds = (1, 2, 3)
        jobs = [(name, tongue, seed) for name in VARIANTS for tongue in LANGUAGES for seed in seeds]
        measure_all("ordering-g2p", g2p, jobs, KEYS, options.jobs)
    if "multi30k" in parts:
        jobs = [(name,) for name in ON_MULTI30K]
        measure_all("ordering-multi30k", multi30k, jobs, KEYS[:1], options.jobs)


def _file_name(variant: str) -> str:
    return variant.replace(",", "").replace(" ", "-")


def _settings(name: str) -> list[str]:
    return [f"model.attention.{setting}" for setting in [*PLAIN, *ON_MULTI30K[name]]]


if __name__ == "__main__":
    main()
