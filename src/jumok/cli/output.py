"""Results as text for people and programs."""

from __future__ import annotations

import json
import os
import shutil
import sys

from jumok.evaluation import Report
from jumok.explain import render_terminal
from jumok.prediction import Prediction


def render(prediction: Prediction, form: str) -> str:
    """One source's outputs: a line each (``text``, ``tsv``: source, output, score), or one JSON."""
    if form == "jsonl":
        return json.dumps(prediction.to_dict(), ensure_ascii=False) + "\n"
    every = [prediction, *prediction.alternatives]
    if form == "tsv":
        lines = [f"{_flat(p.source)}\t{_flat(p.text)}\t{p.score:.4f}" for p in every]
    else:
        lines = [_flat(p.text) for p in every]
    return "".join(line + "\n" for line in lines)


def render_scores(report: Report, form: str) -> str:
    """Scores as an aligned table with sacrebleu's signatures below, or as JSON."""
    if form == "json":
        rest = {k: v for k, v in report._asdict().items() if k != "scores"}
        return json.dumps({**report.scores, **rest}, ensure_ascii=False, indent=2)
    lines = [
        f"{report.pairs:,} pairs, {report.sources:,} different sources; unknown tokens: "
        f"{report.unknown_source:.2f} % of the source, {report.unknown_target:.2f} % of the target"
    ]
    for name, value in report.scores.items():
        unit = " %" if name in ("exact_match", "wer", "per", "cer") else ""
        lines.append(f"{name:<12}{value:>9.2f}{unit}")
    lines += [f"{name}: {text}" for name, text in report.signatures.items()]
    return "\n".join(lines)


def show_attention(prediction: Prediction, head: int | None = None) -> str:
    """The attention map for this terminal: one head's, or all of it."""
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = shutil.get_terminal_size((100, 24)).columns
    return render_terminal(prediction.attention_map(head), width=width, color=color)


def _flat(text: str) -> str:
    """A line is a line and a column a column, whatever the model wrote."""
    return text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
