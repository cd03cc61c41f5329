"""Edit distance figures: by hand, and against a textbook dynamic program written here."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumok.metrics import metric_value, perplexity

WORDS = st.text(alphabet="ab ", max_size=8)
CORPUS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=4)


def levenshtein(a: list[str], b: list[str]) -> int:
    """Wagner and Fischer 1974."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def naive_rate(corpus: list[tuple[str, list[str]]], split) -> float:
    edits = length = 0
    for hypothesis, references in corpus:
        best = None
        for reference in references:
            cut = split(reference)
            found = (levenshtein(split(hypothesis), cut), -len(cut))
            best = found if best is None else min(best, found)
        edits, length = edits + best[0], length - best[1]
    return 100 * edits / length if length else (100.0 if edits else 0.0)


@given(CORPUS)
def test_rates_equal_the_textbook(corpus):
    hypotheses, references = [h for h, _ in corpus], [r for _, r in corpus]
    assert metric_value("per", hypotheses, references) == pytest.approx(
        naive_rate(corpus, str.split)
    )
    assert metric_value("cer", hypotheses, references) == pytest.approx(naive_rate(corpus, list))


def test_per_by_hand():
    # 1 substitution of 3 phones, 1 deletion of 4, none of 1: 2 edits over 8 phones
    hypotheses = ["k ae d", "d ao g", "a"]
    references = [["k ae t"], ["d ao g z"], ["a"]]
    assert metric_value("per", hypotheses, references) == 25.0


def test_cer_by_hand_counts_spaces():
    assert metric_value("cer", ["ab c"], [["abc"]]) == pytest.approx(100 / 3)
    assert metric_value("cer", ["kitten"], [["sitting"]]) == pytest.approx(300 / 7)


def test_wer_is_the_share_of_wrong_outputs():
    hypotheses = ["k ae t", "d ao g", "p i g", "f"]
    references = [["k ae t"], ["d o g", "d ao g"], ["p ih g"], ["v"]]
    assert metric_value("exact_match", hypotheses, references) == 50.0
    assert metric_value("wer", hypotheses, references) == 50.0


def test_nearest_reference_counts_and_the_longer_of_two_equals():
    assert metric_value("per", ["a b"], [["x y z", "a b"]]) == 0.0
    # both are one edit away: "a" has 1 phone, "a b c" has 3
    assert metric_value("per", ["a b"], [["a", "a b c"]]) == pytest.approx(100 / 3)


def test_normal_form_does_not_matter():
    decomposed = unicodedata.normalize("NFD", "주목")
    assert metric_value("exact_match", [decomposed], [["주목"]]) == 100.0
    assert metric_value("cer", [decomposed], [["주몽"]]) == 50.0
    assert metric_value("per", [f"{decomposed} a"], [["주목 b"]]) == 50.0


def test_empty_texts():
    assert metric_value("cer", [""], [["abcd"]]) == 100.0
    assert metric_value("per", ["", ""], [[""], [""]]) == 0.0
    assert metric_value("per", ["a b"], [[""]]) == 100.0


def test_a_cheap_metric_does_not_load_sacrebleu(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)  # an import now fails
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    for name in ("exact_match", "wer", "per", "cer"):
        assert metric_value(name, ["a"], [["a"]]) in (0.0, 100.0)


def test_perplexity_by_hand():
    assert perplexity(-2.772588722239781, 4) == pytest.approx(2.0)  # ln 2 per token
    assert perplexity(0.0, 1) == 1.0
    assert perplexity(-1e9, 1) == float("inf")
    with pytest.raises(ValueError, match="at least one token, but 0"):
        perplexity(-1.0, 0)
