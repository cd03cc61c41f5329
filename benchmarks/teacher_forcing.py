"""Teacher forcing, scheduled sampling, and the model's own tokens from the start.

python benchmarks/teacher_forcing.py [g2p | chat] [--jobs N]

What is stored already is not measured again; to begin anew, remove
benchmarks/results/teacher-forcing.json.
"""

from __future__ import annotations

import argparse
from typing import Any

from cli_runs import evaluate, measure_all, origin, train

KEYS = ("data", "variant", "seed")
SEEDS = (1, 2, 3)
FORCING = "train.teacher_forcing."
DATA = {
    "g2p": ("sigmorphon2020-g2p/kor_{}.tsv", ["g2p"], 30, 57),
    "chat": ("chatbot-ko/{}.tsv", ["chat"], 8, 143),
}
"""Files, preset, epochs, and updates of an epoch."""


def variants(updates: int) -> dict[str, list[str]]:
    """Of a run of so many updates: in a line down to a quarter of given tokens at its end; or along
    a sigmoid, by which half are given a little after its middle."""
    return {
        "teacher forcing": [],
        "scheduled, linear": [f"{FORCING}decay=linear", f"{FORCING}c={0.75 / updates:.3g}"],
        "scheduled, inverse sigmoid": [
            f"{FORCING}decay=inverse_sigmoid",
            f"{FORCING}k={round(updates / 9)}",
        ],
        "scheduled, linear, drawn": [
            f"{FORCING}decay=linear",
            f"{FORCING}c={0.75 / updates:.3g}",
            f"{FORCING}own=sample",
        ],
        "always its own": [f"{FORCING}rate=0"],
    }


def one(job: tuple[str, str, int]) -> dict[str, Any]:
    """Quality of one run, and its gap between given and own tokens."""
    data, variant, seed = job
    files, presets, epochs, per_epoch = DATA[data]
    run = f"forcing-{data}-{variant.replace(',', '').replace(' ', '-')}-{seed}"
    settings = [
        *variants(epochs * per_epoch)[variant],
        f"train.max_epochs={epochs}",
        f"train.patience={epochs}",
        f"train.seed={seed}",
    ]
    done = train(run, files.format("train"), files.format("dev"), presets, settings, threads=1)
    scores = evaluate(f"{run}/last", files.format("test"), 1, "--beam", "1")
    last = done["validations"][-1]
    row = {
        "data": data,
        "variant": variant,
        "seed": seed,
        "given": last["teacher_forcing"],
        "forced_token_error": last["forced_token_error"],
        "token_error": last["token_error"],
        "gaps": [v["token_error"] - v["forced_token_error"] for v in done["validations"]],
        "scores": {key: scores[key] for key in ("wer", "per", "bleu", "exact_match")},
    }
    print(row, flush=True)
    return {**row, **origin(done)}


def main() -> None:
    """The part named on the command line, or both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=list(DATA), help="both if left out")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    options = parser.parse_args()
    parts = [options.part] if options.part else list(DATA)
    jobs = [(d, v, seed) for seed in SEEDS for d in parts for v in variants(1)]
    measure_all("teacher-forcing", one, jobs, KEYS, options.jobs)


if __name__ == "__main__":
    main()
