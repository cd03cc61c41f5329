"""Korean to English on 4,520 pairs: a model that answers at `jumok predict -`, and its picture.

python benchmarks/korean.py
"""

from __future__ import annotations

import subprocess
import sys

from cli_runs import ROOT, RUNS, evaluate, origin, store, train

SMALL = [
    *[f"text.{side}.vocab_size=2000" for side in ("source", "target")],
    *[f"model.{side}.embedding=128" for side in ("encoder", "decoder")],
    *[f"model.{side}.dropout=0.3" for side in ("encoder", "decoder")],
    "model.encoder.hidden=128",
    "model.decoder.hidden=256",
    "train.batch_size=16",
    "train.max_epochs=25",
    "train.patience=25",
]
"""Few pairs want small batches, few subwords and a small model (Sennrich & Zhang 2019)."""
SENTENCE = "톰은 어제 학교에 가지 않았어."
TYPED = [
    "나는 학생이야.",
    "고마워!",
    "톰은 피곤해 보여.",
    "톰은 프랑스어를 할 수 있어.",
    "도와줘.",
    SENTENCE,
]


def main() -> None:
    """Train, judge, translate what a person would type, draw."""
    folder = "tatoeba-ko-en"
    done = train(
        "tatoeba-ko-en",
        f"{folder}/train.tsv",
        f"{folder}/dev.tsv",
        ["translation"],
        SMALL,
        threads=1,
    )
    scores = evaluate("tatoeba-ko-en", f"{folder}/test.tsv", 1)
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
        **origin(done),
        "typed": dict(zip(TYPED, answers, strict=True)),
    }
    print(row)
    store("korean", [row])


if __name__ == "__main__":
    main()
