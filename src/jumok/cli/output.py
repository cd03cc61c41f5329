"""Results as text for people and programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jumok.explain import Units, pharaoh, render_terminal
from jumok.prediction import Prediction
from jumok.text.normal import one_line

if TYPE_CHECKING:  # a first answer need not wait for them
    from pathlib import Path

    from jumok.alignment import Alignment
    from jumok.bundle import Shortlist
    from jumok.evaluation import Report
    from jumok.export import Exports
    from jumok.predictor import Perplexities
    from jumok.shortlist import LinkCounts
    from jumok.training.forecast import Forecast


def render(prediction: Prediction, form: str) -> str:
    """One source's outputs: a line each (``text``, ``tsv``: source, output, score), or one JSON."""
    if form == "jsonl":
        return json.dumps(prediction.to_dict(), ensure_ascii=False) + "\n"
    every = [prediction, *prediction.alternatives]
    if form == "tsv":
        lines = [f"{one_line(p.source)}\t{one_line(p.text)}\t{p.score:.4f}" for p in every]
    else:
        lines = [one_line(p.text) for p in every]
    return "".join(line + "\n" for line in lines)


def render_alignment(alignment: Alignment | None, form: str) -> str:
    """One pair's links: Pharaoh's, or one JSON. A line without a pair has none, or null."""
    if form == "jsonl":
        found = None if alignment is None else alignment.to_dict()
        return json.dumps(found, ensure_ascii=False) + "\n"
    return ("" if alignment is None else pharaoh(alignment.links)) + "\n"


def render_scores(report: Report, form: str) -> str:
    """Scores as an aligned table with sacrebleu's signatures below, or as JSON."""
    if form == "json":
        rest = {k: v for k, v in report._asdict().items() if k != "scores"}
        return json.dumps({**_finite(report.scores), **rest}, ensure_ascii=False, indent=2)
    lines = [
        f"{report.pairs:,} pairs, {report.sources:,} different sources; unknown tokens: "
        f"{report.unknown_source:.2f} % of the source, {report.unknown_target:.2f} % of the target"
    ]
    for name, value in report.scores.items():
        unit = " %" if name in ("exact_match", "wer", "per", "cer") else ""
        lines.append(f"{name:<12}{value:>9.2f}{unit}")
    if "perplexity" not in report.scores:
        lines.append("no perplexity: scores beside a language model are no probabilities")
    lines += [f"{name}: {text}" for name, text in report.signatures.items()]
    return "\n".join(lines)


def render_forecast(report: Sequence[str], found: Forecast) -> str:
    """What there is to say of the files, and what a training would take."""
    whole = sum(found.parameters.values())
    width = max(map(len, found.parameters))
    minutes, seconds = divmod(round(found.seconds), 60)
    hours, minutes = divmod(minutes, 60)
    peak = f"{found.peak_bytes / 1e6:,.0f} MB" if found.peak_bytes else "not told by this system"
    return "\n".join(
        [
            *report,
            f"{whole:,} parameters",
            *(f"  {name:<{width}}{size:>12,}" for name, size in found.parameters.items()),
            f"an epoch: {found.pairs:,} pairs, {found.target_tokens:,} target tokens, "
            f"{found.updates_per_epoch:,} updates",
            f"at most {found.updates:,} updates, {1000 * found.seconds_per_update:,.1f} ms each: "
            f"at most {hours}:{minutes:02d}:{seconds:02d}, validations not counted",
            f"memory: {found.state_bytes / 1e6:,.0f} MB of weights, gradients and optimizer; with "
            f"all else {peak} at the largest batch",
        ]
    )


def render_perplexities(found: Perplexities, texts: int, form: str) -> str:
    """Perplexities as an aligned table, or as JSON."""
    if form == "json":
        return json.dumps({**_finite(found._asdict()), "texts": texts}, indent=2)
    head = f"{texts:,} texts; unknown tokens: {found.unknown:.2f} %. Perplexity per"
    units = ("token", "character", "word")
    return "\n".join([head, *(f"{unit:<12}{getattr(found, unit):>9.2f}" for unit in units)])


def render_export(made: Exports) -> str:
    """What was written, and how well it agrees with the model."""
    lines = [f"{name:<18}{size / 1e6:>8.2f} MB" for name, size in made.sizes.items()]
    lines.append(f"{'in all':<18}{sum(made.sizes.values()) / 1e6:>8.2f} MB in {made.folder}")
    told = {
        "fp32": "largest difference from the model, of log-probabilities and attention",
        "int8": "mean distance of next-token distributions from the model's (0 to 1)",
    }
    lines += [f"{key}: {told[key]}: {value:.1e}" for key, value in made.differences.items()]
    return "\n".join(lines)


def render_shortlist(found: Shortlist, counts: LinkCounts, path: Path) -> str:
    """What was counted, and where the list is."""
    listed = np.diff(found.indptr)
    some = listed[listed > 0]
    long = counts.too_long
    left_out = f", and {long:,} left out: longer than search.max_source_length" if long else ""
    return (
        f"{counts.pairs:,} pairs{left_out}\n"
        f"{len(some):,} of {len(listed):,} source tokens have target tokens, "
        f"{some.mean() if len(some) else 0:.1f} on average; and the {len(found.frequent):,} most "
        f"frequent for all\nwritten to {path}"
    )


class Telling:
    """Texts on stdout while they are drawn: the first as it comes, the others in their turn.

    The end of a text is told only when it can no longer change: ᄀ may become 가, and 가 각.
    """

    def __init__(self, n: int) -> None:
        self._texts = [""] * n
        self._turn, self._told = 0, 0

    def __enter__(self) -> Telling:
        return self

    def __exit__(self, *error: object) -> None:
        if self._told:  # a text that was broken off gets its line's end
            sys.stdout.write("\n")
            sys.stdout.flush()

    def __call__(self, number: int, text: str) -> None:
        """A text has come so far."""
        self._texts[number] = text
        if number == self._turn:
            self._tell(one_line(text)[:-1])

    def end(self, predictions: Sequence[Prediction]) -> None:
        """All texts are there."""
        for self._turn, prediction in enumerate(predictions):
            self._tell(one_line(prediction.text))
            sys.stdout.write("\n")
            self._told = 0
        sys.stdout.flush()

    def _tell(self, text: str) -> None:
        sys.stdout.write(text[self._told :])
        sys.stdout.flush()
        self._told = max(self._told, len(text))


def show_attention(prediction: Prediction, head: int | None = None, units: Units = "token") -> str:
    """The attention map for this terminal, as `Prediction.attention_map` has it."""
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = shutil.get_terminal_size((100, 24)).columns
    return render_terminal(prediction.attention_map(head, units), width=width, color=color)


def _finite(scores: Mapping[str, float]) -> dict[str, float]:
    """JSON has no infinity: an infinite perplexity is the highest number that it has."""
    return {name: min(value, sys.float_info.max) for name, value in scores.items()}
