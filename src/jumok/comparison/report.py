"""What a comparison says: figures, groups, examples, and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from jumok.comparison.bootstrap import FEW, PairedScore
from jumok.comparison.buckets import Bucket, Grouping


class JudgedBucket(NamedTuple):
    """The main metric on some of the items."""

    bucket: Bucket
    score: PairedScore


class Group(NamedTuple):
    """All items, in buckets."""

    grouping: Grouping
    buckets: list[JudgedBucket]


class Right(NamedTuple):
    """How many items have an output that equals a reference, of which system."""

    both: int
    only_a: int
    only_b: int
    neither: int


class Example(NamedTuple):
    """An item on which one system is better, with the chrF of each output."""

    source: str
    references: list[str]
    a: str
    b: str
    a_chrf: float
    b_chrf: float


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same items."""

    names: tuple[str, str]
    pairs: int
    sources: int
    """Different sources: as many items were judged."""
    resamples: int
    seed: int
    metric: str
    """The main metric, which the verdict and the buckets go by."""
    scores: dict[str, PairedScore]
    infinite: list[str]
    """Which systems (a, b) have an infinite perplexity, for which there is no perplexity."""
    right: Right
    groups: list[Group]
    a_better: list[Example]
    b_better: list[Example]
    signatures: dict[str, str]
    """sacrebleu's, of bleu, chrf and ter."""

    @property
    def verdict(self) -> str:
        """What the main metric says, in words."""
        score = self.scores[self.metric]
        value, low, high = score.difference
        found = f"{score.better.upper()} is better" if score.better else "no difference can be told"
        if self.sources < FEW:
            found = f"{self.sources} items are too few"
        return (
            f"{self.metric}: {found} ({value:+.2f}, 95 %: {low:+.2f} to {high:+.2f}, "
            f"p {p_text(score.p)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "a": self.names[0],
            "b": self.names[1],
            "pairs": self.pairs,
            "sources": self.sources,
            "resamples": self.resamples,
            "seed": self.seed,
            "metric": self.metric,
            "verdict": self.verdict,
            "scores": {name: _score(score) for name, score in self.scores.items()},
            "infinite_perplexity": self.infinite,
            "right": self.right._asdict(),
            "buckets": {group.grouping.by: _group(group) for group in self.groups},
            "a_better": [example._asdict() for example in self.a_better],
            "b_better": [example._asdict() for example in self.b_better],
            "signatures": self.signatures,
        }


def p_text(p: float) -> str:
    """A p-value, which is never 0."""
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def _score(score: PairedScore) -> dict[str, Any]:
    estimates = {name: getattr(score, name)._asdict() for name in ("a", "b", "difference")}
    return score._asdict() | estimates


def _group(group: Group) -> dict[str, Any]:
    buckets = [
        {"low": bucket.low, "high": bucket.high, "items": len(bucket.items), **_score(score)}
        for bucket, score in group.buckets
    ]
    return {"units": group.grouping.units, "buckets": buckets}
