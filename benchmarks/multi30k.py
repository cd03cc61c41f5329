"""Multi30k: English to German, and the ladder German to English at equal sizes and budget.

python benchmarks/multi30k.py [tok] [raw] [ladder]
"""

from __future__ import annotations

import sys
from typing import Any

from cli_runs import evaluate, origin, store, train

TOK, RAW = "multi30k-en-de-tok", "multi30k-en-de"
WORDS = [
    f"text.{side}.{key}"
    for side in ("source", "target")
    for key in ("kind=word", "min_count=2", "vocab_size=20000")
]
UNTIL_TIME_IS_UP = ["train.max_epochs=40", "train.patience=40"]
"""More than one core reaches in the minutes; the schedule then falls to zero with the time."""
LADDER = {
    "no attention": ["model.attention.score=none", "model.attention.input_feeding=false"],
    "peek": ["model.attention.score=peek", "model.attention.input_feeding=false"],
    "attention": [],
}
SWAPPED = ["data.source_column=2", "data.target_column=1"]
BUDGET = 10
"""Minutes for each rung of the ladder."""


def one(name: str, folder: str, settings: list[str], minutes: int) -> dict[str, Any]:
    """Train on one core for ``minutes`` at most, judge on test_2016_flickr."""
    tokenize = "none" if folder == TOK else "13a"
    settings = [
        *UNTIL_TIME_IS_UP,
        *settings,
        f"train.max_minutes={minutes}",
        f"evaluation.bleu_tokenize={tokenize}",
    ]
    run = f"multi30k-{name.replace(' ', '-')}"
    done = train(
        run, f"{folder}/train.tsv.gz", f"{folder}/val.tsv", ["translation"], settings, threads=1
    )
    test = f"{folder}/test_2016_flickr.tsv"
    columns = [option for s in settings if s in SWAPPED for option in ("--set", s)]
    greedy, beam = (evaluate(run, test, 1, "--beam", size, *columns) for size in ("1", "5"))
    row = {
        "model": name,
        "greedy": greedy,
        "beam5": beam,
        **origin(done),
        "validations": [
            {k: v[k] for k in ("epoch", "seconds", "bleu")} for v in done["validations"]
        ],
    }
    print(f"{name}: BLEU {greedy['bleu']:.2f} greedy, {beam['bleu']:.2f} beam 5", flush=True)
    return row


def main() -> None:
    """The parts named on the command line, or all."""
    parts = sys.argv[1:] or ["tok", "ladder", "raw"]
    if "tok" in parts:
        store("multi30k-tok", [one("en-de-tok", TOK, WORDS, minutes=45)])
    if "ladder" in parts:
        rows = [
            one(f"de-en-{name}", TOK, WORDS + SWAPPED + settings, minutes=BUDGET)
            for name, settings in LADDER.items()
        ]
        store("multi30k-ladder", rows)
    if "raw" in parts:
        store("multi30k-raw", [one("en-de-raw", RAW, [], minutes=20)])


if __name__ == "__main__":
    main()
