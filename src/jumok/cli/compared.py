"""A comparison as tables for people, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from jumok.comparison import Comparison, Estimate, Example, Group, Right
from jumok.comparison.report import p_text
from jumok.explain.labels import shorten, visible

_WIDTH = 80


def render_comparison(comparison: Comparison, form: str) -> str:
    """Figures, the verdict, groups and examples in 80 columns, and sacrebleu's signatures; or one
    JSON."""
    if form == "json":
        return json.dumps(comparison.to_dict(), ensure_ascii=False, indent=2)
    a, b = comparison.names
    head = (
        f"{comparison.pairs:,} pairs, {comparison.sources:,} different sources; "
        f"{comparison.resamples:,} resamples, seed {comparison.seed}"
    )
    parts = [
        [_line(f"A: {a}"), _line(f"B: {b}"), head],
        _scores(comparison),
        [comparison.verdict, _right(comparison.right)],
        *(_group(comparison.metric, group) for group in comparison.groups),
        _examples("A", comparison.a_better),
        _examples("B", comparison.b_better),
        [f"{name}: {text}" for name, text in comparison.signatures.items()],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _scores(comparison: Comparison) -> list[str]:
    lines = [f"{'':<11}{'A':>14}{'B':>14}{'B - A':>8}{'95 % interval':>19}{'p':>7}{'B wins':>7}"]
    for name, score in comparison.scores.items():
        wins = f"{100 * score.b_wins / comparison.resamples:.0f} %"
        lines.append(
            f"{name:<11}{_plus_minus(score.a):>14}{_plus_minus(score.b):>14}"
            f"{_change(score.difference)}{p_text(score.p):>7}{wins:>7}"
        )
    lines += [
        f"no perplexity: that of {side.upper()}, which takes a target to be impossible, is infinite"
        for side in comparison.infinite
    ]
    return lines


def _right(right: Right) -> str:
    return (
        f"right: both {right.both:,}, only A {right.only_a:,}, only B {right.only_b:,}, "
        f"neither {right.neither:,}"
    )


def _group(metric: str, group: Group) -> list[str]:
    units = group.grouping.units
    told = {
        "length": f"source length in {units}s",
        "frequency": f"how often the training sources have the rarest {units}",
    }
    lines = [
        f"{metric} by {told[group.grouping.by]}",
        f"{'':<11}{'items':>8}{'A':>15}{'B':>15}{'B - A':>8}{'95 % interval':>19}",
    ]
    for bucket, score in group.buckets:
        lines.append(
            f"{bucket.label:<11}{len(bucket.items):>8,}{_plus_minus(score.a):>15}"
            f"{_plus_minus(score.b):>15}{_change(score.difference)}"
        )
    return lines


def _examples(letter: str, examples: Sequence[Example]) -> list[str]:
    lines = [f"{letter} is better on"] if examples else []
    for example in examples:
        lines += [
            _line(f"  source     {example.source}"),
            *(_line(f"  reference  {text}") for text in example.references),
            _line(f"  A          {example.a}"),
            _line(f"  B          {example.b}"),
            "",
        ]
    return lines[:-1]


def _plus_minus(found: Estimate) -> str:
    return f"{found.value:.2f} ± {(found.high - found.low) / 2:.2f}"


def _change(found: Estimate) -> str:
    return f"{found.value:>+8.2f}{f'{found.low:+.2f} to {found.high:+.2f}':>19}"


def _line(text: str) -> str:
    """One line that does no harm, whatever a model wrote."""
    return shorten(visible(text), _WIDTH)
