"""Buckets: every item in one, within its bounds, and counted as one would by hand."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from jumok.comparison.buckets import by_frequency, by_length

TEXTS = st.lists(st.text(alphabet="ab 가", max_size=12), min_size=1, max_size=40)


def cut(text: str, units: str) -> list[str]:
    return text.split() if units == "word" else [char for char in text if char != " "]


def check(grouping, figures: list[int]) -> None:
    """All items are there once, the bounds hold, and no two buckets overlap."""
    buckets = grouping.buckets
    assert sorted(i for bucket in buckets for i in bucket.items) == list(range(len(figures)))
    for bucket in buckets:
        assert bucket.items
        high = float("inf") if bucket.high is None else bucket.high
        assert all(bucket.low <= figures[i] <= high for i in bucket.items)
    for lower, upper in pairwise(buckets):
        assert lower.high is not None and lower.high < upper.low


@given(TEXTS)
def test_lengths(sources):
    grouping = by_length(sources)
    check(grouping, [len(cut(source, grouping.units)) for source in sources])
    assert len(grouping.buckets) <= 5


@given(TEXTS, TEXTS)
def test_frequencies(sources, train):
    grouping = by_frequency(sources, train)
    counts = Counter(unit for text in train for unit in cut(text, grouping.units))
    check(grouping, [min((counts[u] for u in cut(s, grouping.units)), default=0) for s in sources])


def test_lengths_are_shared_out_evenly():
    grouping = by_length(["a " * n for n in range(1, 101)])
    assert grouping.units == "word"
    assert [bucket.label for bucket in grouping.buckets] == [
        "1-20", "21-40", "41-60", "61-80", "81-100"
    ]  # fmt: skip


def test_words_are_counted_where_they_tell_items_apart():
    verbs = ["V;PST gehen", "V;PST sehen", "N;PL Uhr"]
    assert by_length(verbs).units == "character"  # two words each
    seen = by_frequency(verbs, ["V;PRS gehen", "N;PL Hand", "V;PST stehen", "V;PST gehen"])
    assert seen.units == "word"
    assert [(bucket.label, bucket.items) for bucket in seen.buckets] == [
        ("0", [1, 2]), ("2-4", [0])
    ]  # fmt: skip
    words = by_frequency(["cat", "cot"], ["tact", "act"])  # whole words that nobody has seen
    assert (words.units, [b.label for b in words.buckets]) == ("character", ["0", "2-4"])
    assert words.buckets[0].items == [1]


def test_a_hangul_syllable_is_one_character_however_it_is_typed():
    assert by_length(["가", "\u1100\u1161"]).buckets[0].label == "1"


def test_labels():
    labels = [b.label for b in by_frequency(["x", "y", "z w"], ["x"] * 120 + ["y"]).buckets]
    assert labels == ["0", "1", "100+"]
