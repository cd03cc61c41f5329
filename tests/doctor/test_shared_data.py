"""What the notes beside the public data sets tell of them is found, with the numbers they give."""

from functools import cache

import numpy as np
import pytest

from jumok.config import TextConfig
from jumok.doctor.kinds import BITS
from jumok.doctor.outliers import find_outliers
from jumok.doctor.repeats import find_duplicates, find_overlap
from jumok.doctor.scan import Scan


def counts(flags):
    found = {name: int(np.count_nonzero(flags & bit)) for name, bit in BITS.items()}
    return {name: count for name, count in found.items() if count}


@pytest.fixture(scope="module")
def columns(shared_data):
    """The numbers of files, each read once."""

    @cache
    def read(*names, lowercase=False):
        text = TextConfig.model_validate({"source": {"lowercase": lowercase}})
        return Scan([shared_data / name for name in names], text=text).columns

    return read


@pytest.fixture(scope="module")
def alone(columns):
    """Findings of a file by itself."""

    def find(name):
        found = columns(name, lowercase=False)
        return counts(found.flags | find_duplicates(found) | find_outliers(found))

    return find


@pytest.fixture(scope="module")
def overlap(columns):
    """How many pairs, sources and targets of the second files stand in the first."""

    def find(train, *tests, lowercase=False):
        ours, theirs = columns(train, lowercase=lowercase), columns(*tests, lowercase=lowercase)
        found = counts(find_overlap(theirs, ours))
        return tuple(found.get(f"overlap-{kind}", 0) for kind in ("pair", "source", "target"))

    return find


def test_multi30k(alone, overlap):
    """One English validation sentence also stands in train; 9 captions occur twice there."""
    found = alone("multi30k-en-de/train.tsv.gz")
    assert found["duplicate-pair"] + found["duplicate-source"] == 9
    assert overlap("multi30k-en-de/train.tsv.gz", "multi30k-en-de/val.tsv")[1] == 1


def test_sigmorphon(alone, overlap):
    """307 of the 450 Korean test words of 2020 are in train of 2021; NFC throughout."""
    assert overlap("sigmorphon2021-g2p/kor_train.tsv", "sigmorphon2020-g2p/kor_test.tsv")[1] == 307
    for year, japanese in (("2020", "jpn"), ("2021", "jpn_hira")):
        for language in ("kor", japanese):
            train, *rest = (
                f"sigmorphon{year}-g2p/{language}_{part}.tsv" for part in ("train", "dev", "test")
            )
            found = alone(train)
            assert not {"not-nfc", "duplicate-pair", "duplicate-source"} & set(found)
            assert overlap(train, *rest)[:2] == (0, 0)


def test_chatbot(overlap):
    """About 46 % of the answers of dev also occur in train; no question does."""
    pair, source, target = overlap("chatbot-ko/train.tsv", "chatbot-ko/dev.tsv")
    assert (pair, source) == (0, 0)
    assert round(100 * target / 1169) in (46, 47)


def test_tanaka(overlap):
    """60 of 500 test and 76 of 500 dev English sentences also occur in train with another
    Japanese side; no Japanese sentence does."""
    for part, count in (("test", 60), ("dev", 76)):
        found = overlap("tanaka-en-ja/train.tsv.gz", f"tanaka-en-ja/{part}.tsv")
        assert found == (0, count, 0)


def test_cmudict(columns, overlap):
    """250 exact duplicates in train; 3,744 of the 8,336 words that sigmorphon 2021 has for dev and
    test are in it, in capitals."""
    train = "cmudict-g2p/train.tsv.gz"
    assert counts(find_duplicates(columns(train, lowercase=True)))["duplicate-pair"] == 250
    tests = [f"sigmorphon2021-g2p/eng_us_{part}.tsv" for part in ("dev", "test")]
    assert overlap(train, *tests, lowercase=True)[1] == 3744


def test_inflection(overlap):
    """train_medium is contained in train_high."""
    folder = "inflection-german"
    assert overlap(f"{folder}/train_high.tsv", f"{folder}/train_medium.tsv") == (1000, 1000, 1000)


def test_dates(alone, overlap):
    """Lines repeat, but no line of an evaluation part stands in train."""
    train = "dlfs2-date/train.tsv.gz"
    assert alone(train)["duplicate-pair"] == 36910 - 31938
    assert overlap(train, "dlfs2-date/dev.tsv", "dlfs2-date/test.tsv")[:2] == (0, 0)


def test_hansards(alone):
    """6 of the 447 lines are repeats."""
    assert alone("word-alignment/en-fr.hansards-test.tsv")["duplicate-pair"] == 6
