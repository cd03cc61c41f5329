"""Pictures for docs/attention.md: each mechanism trained on Korean G2P and drawn on one word.

python benchmarks/gallery.py [NAME ...]
"""

from __future__ import annotations

import subprocess
import sys

from cli_runs import ROOT, RUNS, train
from ordering import PLAIN

WORD = "전라도"
SMALL = [
    *[f"model.{side}.embedding=64" for side in ("encoder", "decoder")],
    "model.encoder.hidden=64",
    "model.encoder.layers=1",
    "model.decoder.hidden=128",
    "train.max_epochs=10",
]
GALLERY: dict[str, list[str]] = {
    "general": [],
    "dot": ["score=dot"],
    "additive": ["score=additive"],
    "location": ["score=location"],
    "local_m": ["scope=local_m", "window=2"],
    "local_p": ["scope=local_p", "window=2"],
    "sparsemax": ["normaliser=sparsemax"],
    "entmax15": ["normaliser=entmax15"],
    "heads": ["heads=4"],
    "coverage": ["coverage=true"],
    "location_aware": ["location_width=5"],
    "previous": ["timing=previous", "context=rnn_input", "input_feeding=false"],
    "mid": ["timing=mid", "context=rnn_input", "input_feeding=false"],
    "no_feeding": ["input_feeding=false"],
}
COPY = [
    *SMALL[:-1],
    "model.encoder.features=tokens",
    "model.attention.copy_tokens=true",
    "text.source.kind=char",
    "text.target.kind=char",
    "evaluation.metric=exact_match",
    "train.learning_rate=0.002",
    "train.max_epochs=4",
]


def draw(run: str, text: str, name: str, *options: str) -> None:
    """One picture of the run's model."""
    path = ROOT / "docs" / "images" / "attention" / f"{name}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "jumok", "explain", str(RUNS / run), text, *options]
    subprocess.run([*command, "--output", str(path)], check=True)


def main() -> None:
    """The pictures named on the command line, or all."""
    names = sys.argv[1:] or [*GALLERY, "copy"]
    for name in names:
        run = f"gallery-{name}"
        if name == "copy":
            files = [f"inflection-german/{part}.tsv" for part in ("train_high", "dev")]
            train(run, *files, [], COPY, threads=1)
            draw(run, "V;IND;PST;3;SG aufwachen", name)
            continue
        files = [f"sigmorphon2020-g2p/kor_{part}.tsv" for part in ("train", "dev")]
        axes = [*PLAIN, *GALLERY[name]]
        settings = [*SMALL, *(f"model.attention.{setting}" for setting in axes)]
        train(run, *files, ["g2p"], settings, threads=1)
        draw(run, WORD, name)
        if name == "heads":
            draw(run, WORD, "head1", "--head", "1")


if __name__ == "__main__":
    main()
