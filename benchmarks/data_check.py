"""Every data set, looked over by `jumok data check`.

python benchmarks/data_check.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from cli_runs import DATA, store

from jumok.cli.data import FOUND


class Set(NamedTuple):
    """Files of one check."""

    name: str
    train: str
    test: Sequence[str] = ()
    settings: Sequence[str] = ()


def sets() -> Iterator[Set]:
    """Each set with its own evaluation files; then those that overlap by their notes."""
    for name, train in (
        ("chatbot-ko", "train.tsv"),
        ("cmudict-g2p", "train.tsv.gz"),
        ("dlfs2-addition", "train.tsv.gz"),
        ("dlfs2-date", "train.tsv.gz"),
        ("email-reply-enron", "train.tsv.gz"),
        ("inflection-finnish", "train_high.tsv.gz"),
        ("inflection-german", "train_high.tsv"),
        ("inflection-korean", "train_large.tsv"),
        ("inflection-turkish", "train_high.tsv.gz"),
        ("tanaka-en-ja", "train.tsv.gz"),
        ("tatoeba-en-fr", "train.tsv"),
        ("tatoeba-ko-en", "train.tsv"),
    ):
        yield Set(name, f"{name}/{train}", [f"{name}/{part}.tsv" for part in ("dev", "test")])
    for name in ("multi30k-en-de", "multi30k-en-de-tok", "multi30k-en-fr"):
        tests = [f"{name}/{part}.tsv" for part in ("val", "test_2016_flickr")]
        yield Set(name, f"{name}/train.tsv.gz", tests)
    name = "email-reply-enron-annotated"
    yield Set(name, f"{name}/train.tsv", [f"{name}/test.tsv"])
    for name in ("jhe-ko-en", "news-ko-en"):
        yield Set(name, f"{name}/dev.tsv")
    for year, languages in (
        ("2020", "fre hun ice jpn kor"),
        ("2021", "eng_us fre hun ice jpn_hira kor"),
    ):
        folder = f"sigmorphon{year}-g2p"
        for language in languages.split():
            train = f"{folder}/{language}_train.tsv" + (".gz" if language == "eng_us" else "")
            tests = [f"{folder}/{language}_{part}.tsv" for part in ("dev", "test")]
            yield Set(f"{folder}, {language}", train, tests)
    for name in ("en-cs.czenali-1.tsv.gz", "en-fr.hansards-test.tsv", "en-ja.kftt.tsv.gz",
                 "en-ko.pud-1.tsv"):  # fmt: skip
        yield Set(f"word-alignment, {name.split('.')[0]}", f"word-alignment/{name}")
    yield Set(
        "sigmorphon2021-g2p kor, tested on 2020",
        "sigmorphon2021-g2p/kor_train.tsv",
        ["sigmorphon2020-g2p/kor_test.tsv"],
    )
    yield Set(
        "cmudict-g2p, tested on sigmorphon2021-g2p eng_us, case ignored",
        "cmudict-g2p/train.tsv.gz",
        [f"sigmorphon2021-g2p/eng_us_{part}.tsv" for part in ("dev", "test")],
        ["text.source.lowercase=true"],
    )
    for language, end in (("finnish", "tsv.gz"), ("german", "tsv"), ("turkish", "tsv.gz")):
        folder = f"inflection-{language}"
        train, test = f"{folder}/train_high.{end}", f"{folder}/train_medium.tsv"
        yield Set(f"{folder} high, tested on medium", train, [test])


def main() -> None:
    """Check one after the other."""
    rows = []
    for one in sets():
        rows.append(check(one))
        print(one.name, rows[-1]["findings"], flush=True)
    store("data-check", rows)


def check(one: Set) -> dict[str, Any]:
    """Findings, the forecast of unknown tokens, and the command."""
    arguments = ["data", "check", one.train]
    arguments += [word for test in one.test for word in ("--test", test)]
    arguments += [word for setting in one.settings for word in ("--set", setting)]
    done = subprocess.run(
        [sys.executable, "-m", "jumok", *arguments, "--format", "json"],
        cwd=DATA,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    if done.returncode not in (0, FOUND):
        raise RuntimeError(f"{one.name} ended with {done.returncode}")
    report = json.loads(done.stdout)
    findings: dict[str, dict[str, int]] = {part["name"]: {} for part in report["parts"]}
    for finding in report["findings"]:
        findings[finding["part"]][finding["name"]] = finding["count"]
    return {
        "set": one.name,
        "passed": report["passed"],
        "lines": {part["name"]: part["lines"] for part in report["parts"]},
        "findings": findings,
        "notes": sorted({f["name"] for f in report["findings"] if f["severity"] == "note"}),
        "unknown": {
            f"{one['side']} {one['kind']}": round(one["unknown"], 5) for one in report["forecast"]
        },
        "command": " ".join(["jumok", *arguments]),
    }


if __name__ == "__main__":
    main()
