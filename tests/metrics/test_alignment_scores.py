"""AER, precision and recall: by hand, against nltk, and the gold sets as they are known."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nltk.translate import Alignment
from nltk.translate.metrics import alignment_error_rate

from jumok.metrics import GoldLinks, alignment_scores, read_links

links = st.frozensets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8)


@st.composite
def golds(draw) -> GoldLinks:
    sure = draw(links)
    return GoldLinks(sure, sure | draw(links))


def test_links_are_read():
    assert read_links("0-0 10-2 3?4") == ({(0, 0), (10, 2)}, {(0, 0), (10, 2), (3, 4)})
    assert read_links("") == (set(), set())


@pytest.mark.parametrize("bad", ["0", "0:1", "a-b", "0-1-2", "-1-2", "٣-1", "0-1,"])
def test_what_is_no_link_is_refused(bad):
    with pytest.raises(ValueError, match="Links are written as '0-0 1\\?2', but '"):
        read_links(f"0-0 {bad}")


def test_by_hand():
    gold = [read_links("0-0 1-1 2?1"), read_links("0-0 0?1")]
    found = [frozenset({(0, 0), (2, 1), (2, 2)}), frozenset({(0, 1)})]
    aer, precision, recall = alignment_scores(found, gold)
    # 4 links, of which 3 are possible (0-0, 2-1; 0-1) and 1 is sure; 3 sure links in all
    assert precision == pytest.approx(100 * 3 / 4)
    assert recall == pytest.approx(100 * 1 / 3)
    assert aer == pytest.approx(100 * (1 - 4 / 7))


def test_all_that_is_possible_is_no_error():
    gold = [read_links("0-0 1?1")]
    for found in ({(0, 0)}, {(0, 0), (1, 1)}):
        assert alignment_scores([frozenset(found)], gold).aer == 0
    assert alignment_scores([frozenset()], gold) == (100, 100, 0)
    assert alignment_scores([frozenset()], [read_links("0?0")]) == (0, 100, 100)


@given(pairs=st.lists(st.tuples(links, golds()), min_size=1, max_size=5))
def test_as_nltk_and_by_counting(pairs):
    found, gold = zip(*pairs, strict=True)
    assume(any(one.possible for one in gold))

    def apart(some) -> Alignment:
        """All pairs as one: each in a corner of its own."""
        return Alignment((10 * k + i, 10 * k + j) for k, one in enumerate(some) for i, j in one)

    a, s, p = apart(found), apart(g.sure for g in gold), apart(g.possible for g in gold)
    assume(a or s)
    scores = alignment_scores(found, gold)
    assert scores.aer == pytest.approx(100 * alignment_error_rate(s, a, p))
    if a:
        assert scores.precision == pytest.approx(100 * sum(link in p for link in a) / len(a))
    if s:
        assert scores.recall == pytest.approx(100 * sum(link in a for link in s) / len(s))
    if s == p and a:  # then it is 1 - F1
        right = scores.precision + scores.recall
        f1 = 2 * scores.precision * scores.recall / right if right else 0
        assert scores.aer == pytest.approx(100 - f1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="2 alignments and 1 of gold came"):
        alignment_scores([frozenset(), frozenset()], [read_links("0-0")])
    for gold in ([], [read_links("")]):
        with pytest.raises(ValueError, match="no gold links"):
            alignment_scores([frozenset() for _ in gold], gold)


def test_the_gold_sets_have_the_links_that_are_published(shared_data):
    """Mihalcea & Pedersen 2003: 447 sentences, 4,038 sure and 13,400 possible links."""
    folder = shared_data / "word-alignment"
    lines = (folder / "en-fr.hansards-test.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    gold = [read_links(row[2]) for row in rows]
    sure = sum(len(one.sure) for one in gold)
    assert (len(gold), sure) == (447, 4038)
    assert sum(len(one.possible) for one in gold) - sure == 13400
    with gzip.open(folder / "en-ja.kftt.tsv.gz", "rt", encoding="utf-8") as file:
        rows += [line.rstrip("\n").split("\t") for line in file]
    for source, target, text in rows:
        sizes = len(source.split()), len(target.split())
        assert all(i < sizes[0] and j < sizes[1] for i, j in read_links(text).possible)
