"""Do words look at their translations? Alignment error rate of attention, beside the diagonal's.

python benchmarks/alignment.py [en-ja] [en-fr] [--minutes N] [--jobs N]

The gold sets (KFTT, Hansards) are of other domains than the training pairs (Tanaka, Multi30k), so
models are compared with each other here, not with published figures. Texts are cut by BPE, in
lower case: many words of the gold sets never came up in training and would all be one unknown
token, while their pieces are known; the attention of pieces is merged to words.
"""

from __future__ import annotations

import argparse
import gzip
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from cli_runs import DATA, RUNS, align, origin, store, train
from multi30k import SWAPPED, UNTIL_TIME_IS_UP
from ordering import PLAIN, VARIANTS

from jumok.config import DataConfig
from jumok.data import read_pairs
from jumok.explain import symmetrise
from jumok.metrics import GoldLinks, alignment_scores, read_links

Links = list[frozenset[tuple[int, int]]]

MINUTES = 6
"""Of training, for each model, on one core."""
ONE_WAY = ("general", "additive", "location-aware", "local_p")
BOTH_WAYS = ("general", "additive")
JOINED = ("intersection", "grow-diag-final-and")
BPE = [
    f"text.{side}.{key}"
    for side in ("source", "target")
    for key in ("kind=bpe", "vocab_size=6000", "lowercase=true")
]


class GoldSet(NamedTuple):
    """Pairs to train on, and pairs with links."""

    folder: str
    dev: str
    gold: str
    raw: bool
    """Whether the training pairs are not yet divided into tokens, as those with links are."""


SETS = {
    "en-ja": GoldSet("tanaka-en-ja", "dev.tsv", "en-ja.kftt.tsv.gz", raw=False),
    "en-fr": GoldSet("multi30k-en-fr", "val.tsv", "en-fr.hansards-test.tsv", raw=True),
}


def one_set(name: str, minutes: float, jobs: int) -> list[dict[str, Any]]:
    """Rows of one gold set: the diagonal, each attention, and both directions of some."""
    sizes, gold = _gold(DATA / "word-alignment" / SETS[name].gold)
    work = [(variant, False) for variant in ONE_WAY] + [(variant, True) for variant in BOTH_WAYS]
    if SETS[name].raw:
        _write_tokenised(name)
    with ThreadPoolExecutor(jobs) as pool:
        done = pool.map(lambda job: _links(name, *job, minutes), work)
        found = dict(zip(work, done, strict=True))
    rows = [_row(name, "diagonal", "forward", [_diagonal(*size) for size in sizes], gold, {})]
    for variant in ONE_WAY:
        there, made = found[variant, False]
        rows.append(_row(name, variant, "forward", there, gold, made))
        if variant in BOTH_WAYS:
            back, made_back = found[variant, True]
            rows.append(_row(name, variant, "reverse", back, gold, made_back))
            for how in JOINED:
                both = [symmetrise(a, b, how) for a, b in zip(there, back, strict=True)]
                rows.append(_row(name, variant, how, both, gold, {}))
    return rows


def main() -> None:
    """The sets named on the command line, or both."""
    parser = argparse.ArgumentParser(description="AER of attention.")
    parser.add_argument("sets", nargs="*", help=f"of {', '.join(SETS)}; both if left out")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of training for each model")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    options = parser.parse_args()
    names = options.sets or list(SETS)
    rows = [row for name in names for row in one_set(name, options.minutes, options.jobs)]
    store("alignment", rows)


def _links(name: str, variant: str, reverse: bool, minutes: float) -> tuple[Links, dict[str, Any]]:
    """Train a model of one direction and align the gold pairs; the links as (source, target)."""
    gold = SETS[name]
    run = f"alignment-{name}-{variant}{'-reverse' if reverse else ''}"
    folder = _tokenised(name) if gold.raw else DATA / gold.folder
    turned = SWAPPED if reverse else []
    attention = [f"model.attention.{setting}" for setting in [*PLAIN, *VARIANTS[variant]]]
    budget = [*UNTIL_TIME_IS_UP, f"train.max_minutes={minutes:g}", "evaluation.metric=perplexity"]
    files = [str(folder / file) for file in ("train.tsv.gz", gold.dev)]
    done = train(run, *files, ["translation"], [*budget, *BPE, *turned, *attention], threads=1)
    columns = [option for setting in turned for option in ("--set", setting)]
    lines = align(run, f"word-alignment/{gold.gold}", 1, *columns)
    links = [read_links(line).sure for line in lines]
    if reverse:
        links = [frozenset((i, j) for j, i in one) for one in links]
    return links, origin(done)


def _row(
    name: str, attention: str, way: str, links: Links, gold: list[GoldLinks], made: dict[str, Any]
) -> dict[str, Any]:
    scores = alignment_scores(links, gold)._asdict()
    row = {"set": name, "attention": attention, "links": way, **scores}
    print(row, flush=True)
    return {**row, **made}


def _gold(path: Path) -> tuple[list[tuple[int, int]], list[GoldLinks]]:
    """How many source and target words each pair has, and its links."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    sizes = [(len(source.split()), len(target.split())) for source, target, _ in rows]
    return sizes, [read_links(links) for _, _, links in rows]


def _diagonal(sources: int, targets: int) -> frozenset[tuple[int, int]]:
    """Each target word with the source word that is as far into its text."""
    return frozenset(((2 * j + 1) * sources // (2 * targets), j) for j in range(targets))


def _tokenised(name: str) -> Path:
    return RUNS / f"alignment-{name}-pairs"


def _write_tokenised(name: str) -> None:
    """The training pairs in words and marks, as Hansards are: woman 's, and de hommes for
    d'hommes."""
    gold = SETS[name]
    _tokenised(name).mkdir(parents=True, exist_ok=True)
    for file in ("train.tsv.gz", gold.dev):
        pairs = read_pairs(DATA / gold.folder / file, DataConfig()).pairs
        whole = [(source, re.sub(_ELISION, r"\1e ", target)) for source, target in pairs]
        content = "".join(f"{_words(s)}\t{_words(t)}\n" for s, t in whole).encode()
        if file.endswith(".gz"):
            content = gzip.compress(content, mtime=0)
        (_tokenised(name) / file).write_bytes(content)


_ELISION = r"(?i)\b(\w|\w*qu)['’]"


def _words(text: str) -> str:
    return " ".join(re.findall(r"'s\b|\w+(?:-\w+)*|[^\w\s]", text))


if __name__ == "__main__":
    main()
