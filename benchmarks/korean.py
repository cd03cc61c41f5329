"""Korean to English on 4,520 pairs: a model that answers at `jumok predict -`, and its picture.

python benchmarks/korean.py
"""

from __future__ import annotations

import subprocess
import sys

from cli_runs import ROOT, RUNS, evaluate, store, train

SMALL = [
    "text.source.vocab_size=3000",
    "text.target.vocab_size=3000",
    "model.encoder.dropout=0.4",
    "model.decoder.dropout=0.4",
    "model.encoder.token_dropout=0.1",
    "model.decoder.token_dropout=0.1",
]
LIMITS = [
    "train.schedule=linear",
    "train.max_epochs=40",
    "train.max_minutes=5",
    "train.patience=40",
]
SENTENCE = "톰은 어제 학교에 가지 않았어."
TYPED = ["나는 학생이야.", "고마워!", "톰은 피곤해 보여.", SENTENCE]


def main() -> None:
    """Train, judge, translate what a person would type, draw."""
    folder = "tatoeba-ko-en"
    done = train(
        "tatoeba-ko-en",
        f"{folder}/train.tsv",
        f"{folder}/dev.tsv",
        ["translation"],
        [*SMALL, *LIMITS],
        threads=2,
    )
    scores = evaluate("tatoeba-ko-en", f"{folder}/test.tsv", 2)
    model = str(RUNS / "tatoeba-ko-en")
    answers = subprocess.run(
        [sys.executable, "-m", "jumok", "predict", model, "-"],
        input="\n".join(TYPED) + "\n",
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    ).stdout.splitlines()
    picture = ROOT / "docs" / "images" / "korean-english.svg"
    subprocess.run(
        [sys.executable, "-m", "jumok", "explain", model, SENTENCE, "--output", str(picture)],
        check=True,
    )
    row = {
        "test": scores,
        "seconds": done["seconds"],
        "command": done["command"],
        "commit": done["commit"],
        "date": done["date"],
        "typed": dict(zip(TYPED, answers, strict=True)),
    }
    print(row)
    store("korean", [row])


if __name__ == "__main__":
    main()
