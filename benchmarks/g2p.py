"""SIGMORPHON 2020 G2P: one model per language, one common setting, three seeds.

python benchmarks/g2p.py [--jobs N] [LANGUAGE ...]
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from statistics import mean

from cli_runs import evaluate, origin, store, train

LANGUAGES = ("kor", "fre", "hun", "ice", "jpn")
SEEDS = (1, 2, 3)


def one(language: str, seed: int) -> dict[str, object]:
    """Train and test one model on one core."""
    run, folder = f"g2p-{language}-{seed}", "sigmorphon2020-g2p"
    files = [f"{folder}/{language}_{part}.tsv" for part in ("train", "dev")]
    done = train(run, *files, ["g2p"], [f"train.seed={seed}"], threads=1)
    scores = evaluate(run, f"{folder}/{language}_test.tsv", 1)
    best = min(v["wer"] for v in done["validations"])
    row = {
        "language": language,
        "seed": seed,
        "wer": scores["wer"],
        "per": scores["per"],
        "dev_wer_greedy": best,
        **origin(done),
    }
    print(f"{language} seed {seed}: WER {row['wer']:.2f} PER {row['per']:.2f}", flush=True)
    return row


def main() -> None:
    """All languages and seeds, one core each."""
    parser = argparse.ArgumentParser(description="SIGMORPHON 2020 G2P with three seeds.")
    parser.add_argument("languages", nargs="*", help="some languages only; nothing is stored then")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    options = parser.parse_args()
    languages = options.languages or LANGUAGES
    work = [(language, seed) for seed in SEEDS for language in languages]
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(lambda item: one(*item), work))
    for language in languages:
        wers = [row["wer"] for row in rows if row["language"] == language]
        print(f"{language}: mean WER {mean(wers):.2f} of {len(wers)} seeds")
    if not options.languages:
        store("g2p", rows)


if __name__ == "__main__":
    main()
