"""BLEU, chrF and TER equal direct calls of sacrebleu; everything about the lists of references."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sacrebleu

from jumok.errors import ConfigError, MissingExtra
from jumok.metrics import METRICS, bleu_signature, group_references, metric_value, score_outputs

HYPOTHESES = ["the cat sat on the mat .", "Hello, world!", "a dog runs in the big park"]
SINGLE = [["the cat is on the mat ."], ["Hello world!"], ["the dog runs in a big park"]]
RAGGED = [
    ["the cat is on the mat .", "there is a cat on the mat ."],
    ["Hello world!"],
    ["the dog runs in a big park", "a dog is running in the park", ""],
]
CLASSES = {"bleu": sacrebleu.BLEU, "chrf": sacrebleu.CHRF, "ter": sacrebleu.TER}


@pytest.mark.parametrize("name", CLASSES)
def test_one_reference_each(name):
    direct = CLASSES[name]()
    expected = direct.corpus_score(HYPOTHESES, [[refs[0] for refs in SINGLE]])
    assert metric_value(name, HYPOTHESES, SINGLE) == expected.score
    assert bleu_signature(SINGLE)[name] == str(direct.get_signature())


@pytest.mark.parametrize("name", CLASSES)
def test_ragged_references(name):
    streams = [
        ["the cat is on the mat .", "Hello world!", "the dog runs in a big park"],
        ["there is a cat on the mat .", None, "a dog is running in the park"],
        [None, None, ""],
    ]
    direct = CLASSES[name]()
    expected = direct.corpus_score(HYPOTHESES, streams)
    assert metric_value(name, HYPOTHESES, RAGGED) == expected.score
    assert bleu_signature(RAGGED)[name] == str(direct.get_signature())
    assert "nrefs:var" in bleu_signature(RAGGED)[name]


def test_bleu_tokenizer_is_used_and_signed():
    direct = sacrebleu.BLEU(tokenize="char")
    expected = direct.corpus_score(HYPOTHESES, [[refs[0] for refs in SINGLE]])
    assert metric_value("bleu", HYPOTHESES, SINGLE, bleu_tokenize="char") == expected.score
    assert "tok:char" in bleu_signature(SINGLE, bleu_tokenize="char")["bleu"]


def test_score_outputs_has_every_metric():
    scores = score_outputs(HYPOTHESES, RAGGED)
    assert tuple(scores) == METRICS
    for name, value in scores.items():
        assert value == metric_value(name, HYPOTHESES, RAGGED)


def test_empty_outputs_are_scored():
    scores = score_outputs(["", ""], [["a b"], ["c"]])
    assert scores["bleu"] == scores["chrf"] == scores["exact_match"] == 0.0
    assert scores["ter"] == scores["per"] == scores["cer"] == scores["wer"] == 100.0


def test_tokenized_text_warns_nobody(capfd, caplog):
    metric_value("bleu", ["a b ."] * 150, [["a b ."]] * 150)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ([], [], "no outputs"),
        (["a"], [], "1 outputs and 0 lists"),
        (["a", "b"], [["a"], []], "Output 2 has no reference"),
        (["a"], ["a"], "a string came"),
        (["a"], "a", "a string came"),
    ],
)
def test_lists_that_do_not_fit(hypotheses, references, message):
    with pytest.raises(ValueError, match=message):
        metric_value("bleu", hypotheses, references)
    with pytest.raises(ValueError, match=message):
        metric_value("exact_match", hypotheses, references)


def test_unknown_names():
    with pytest.raises(ValueError, match=r"one of exact_match, wer, .*, but 'rouge' came"):
        metric_value("rouge", ["a"], [["a"]])


@pytest.mark.parametrize("tokenize", ["14a", "spm", "flores101", "flores200"])
def test_tokenizers_that_are_not_offered(tokenize):
    """Among them those that sacrebleu would download a model for."""
    with pytest.raises(ConfigError, match=rf"must be one of 13a, none, .*, but '{tokenize}' came"):
        metric_value("bleu", ["a"], [["a"]], bleu_tokenize=tokenize)


@pytest.mark.parametrize(
    ("tokenize", "error", "command"),
    [("ko-mecab", MissingExtra, "jumok\\[ko\\]"), ("ja-mecab", ConfigError, "sacrebleu\\[ja\\]")],
)
def test_tokenizer_that_is_not_installed(monkeypatch, tokenize, error, command):
    from sacrebleu.tokenizers import tokenizer_ja_mecab, tokenizer_ko_mecab

    monkeypatch.setattr(tokenizer_ko_mecab, "MeCab", None)
    monkeypatch.setattr(tokenizer_ja_mecab, "MeCab", None)
    with pytest.raises(error, match=command):
        metric_value("bleu", ["가"], [["가"]], bleu_tokenize=tokenize)


def test_group_references_by_hand():
    pairs = [("read", "r iy d"), ("lead", "l eh d"), ("read", "r eh d"), ("read", "r iy d")]
    expected = ["read", "lead"], [["r iy d", "r eh d"], ["l eh d"]], [0, 1, 0, 0]
    assert group_references(pairs) == expected
    assert group_references([]) == ([], [], [])


def test_one_source_in_other_forms_is_one_item():
    pairs = [("caf\u00e9", "1"), ("cafe\u0301", "2"), ("Caf\u00e9", "3")]
    expected = ["caf\u00e9", "Caf\u00e9"], [["1", "2"], ["3"]], [0, 0, 1]
    assert group_references(pairs) == expected
    assert group_references(pairs, str.casefold).places == [0, 1, 0]


def test_import_is_cheap():
    code = (
        "import sys, jumok.metrics; print([m for m in ('sacrebleu', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
