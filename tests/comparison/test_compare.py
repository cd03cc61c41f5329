"""Models and files of outputs side by side, as `evaluate` judges each of them."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from functools import partial
from xml.etree import ElementTree

import pytest
from tiny import tiny_predictor

import jumok
from jumok.cli.compared import render_comparison
from jumok.comparison import compare, write_plot
from jumok.config import TokenizerConfig
from jumok.errors import ConfigError, DataError, InputError, MissingExtra
from jumok.evaluation import evaluate_report, validate
from jumok.metrics import METRICS
from jumok.predictor import Predictor
from jumok.text import train_tokenizer

PAIRS = [("abc", "x y z"), ("de", "y x"), ("abc", "z  w"), ("가", "z w v u"), ("힣각", "x")]
GOLD = ["x y z", "y x", "z w v u", "x"]


@pytest.fixture(scope="module")
def models():
    return tiny_predictor("luong2015", 0), tiny_predictor("bahdanau2015", 1)


def test_figures_are_those_of_evaluate(models):
    compared = compare(*models, PAIRS, resamples=100, beam=2)
    for side, model in zip("ab", models, strict=True):
        expected = jumok.evaluate(model, PAIRS, beam=2)
        found = {name: getattr(score, side).value for name, score in compared.scores.items()}
        assert found == pytest.approx(expected)
    assert (compared.pairs, compared.sources) == (5, 4)


def test_it_is_told_how_far_each_model_has_come(models):
    told, settings = [], {"resamples": 100, "tell": lambda *now: told.append(now)}
    compare(*models, PAIRS, names=("one", "two"), batch_size=8, **settings)
    assert told == [
        (f"{name}: {what}", done, done / total)
        for what, total in (("perplexity", 5), ("outputs", 4))
        for name in ("one", "two")
        for done in (0, total)
    ]
    told.clear()
    compare(GOLD, GOLD, PAIRS, **settings)
    assert told == []


def test_outputs_count_like_the_model_that_wrote_them(models):
    one, other = models
    written = [p.text for p in one.predict(["abc", "de", "가", "힣각"])]
    by_models = compare(one, other, PAIRS, resamples=100)
    by_file = compare(written, other, PAIRS, resamples=100)
    assert by_file.scores.keys() == set(METRICS)  # outputs have no perplexity
    assert by_file.scores == {name: by_models.scores[name] for name in METRICS}
    for_each_pair = [written[0], written[1], written[0], written[2], written[3]]
    assert compare(for_each_pair, other, PAIRS, resamples=100).scores == by_file.scores


def test_perplexity_needs_the_same_tokens(models):
    source = models[0].source_tokenizer
    target = train_tokenizer(["x y z w v u t"], TokenizerConfig(kind="split"))
    unlike = tiny_predictor("luong2015", 0, between=(source, target))
    assert "perplexity" not in compare(models[0], unlike, PAIRS, resamples=100).scores
    with pytest.raises(ConfigError, match=r"perplexity for two models with the same .* Set eval"):
        compare(models[0], unlike, PAIRS, metric="perplexity")
    by_it = compare(*models, PAIRS, metric="perplexity", resamples=100)
    assert by_it.verdict.startswith("perplexity: ")
    [shortest, *_] = by_it.groups[0].buckets
    assert shortest.bucket.items == [2]
    assert shortest.score.a.value == pytest.approx(
        jumok.evaluate(models[0], PAIRS[3:4])["perplexity"]
    )


def test_where_one_knows_lower_case_alone_all_are_judged_in_it():
    target = train_tokenizer(["x y z w"], TokenizerConfig(kind="split", lowercase=True))
    source = train_tokenizer(["ab"], TokenizerConfig(kind="char"))
    model = tiny_predictor("luong2015", 0, between=(source, target))
    pairs = [("a", "X  Y"), ("b", "z")]
    assert compare(["x y", "Z"], model, pairs, resamples=100).scores["exact_match"].a.value == 100
    assert compare(["x  y", "Z"], ["", ""], pairs, resamples=100).scores["exact_match"].a.value == 0


FORMS = [("caf\u00e9", "x y"), ("cafe\u0301", "y x"), ("Caf\u00e9", "z"), ("b", "x y")]
"""Pairs of one source in two normal forms and two cases, and of another."""


def reader(lowercase):
    source = train_tokenizer(["caf\u00e9b"], TokenizerConfig(kind="jamo", lowercase=lowercase))
    target = train_tokenizer(["x y z"], TokenizerConfig(kind="split"))
    return tiny_predictor("luong2015", 0, between=(source, target))


@pytest.mark.parametrize(("lowercase", "sources"), [(False, 3), (True, 2)])
def test_a_source_is_one_where_the_model_reads_one(lowercase, sources):
    model = reader(lowercase)
    assert evaluate_report(model, FORMS).sources == sources
    compared = compare(model, model, FORMS, resamples=100)
    assert compared.sources == sources
    figures = {name: score.a.value for name, score in compared.scores.items()}
    assert figures == pytest.approx(jumok.evaluate(model, FORMS))
    [tokens] = {one.text for one in model.predict([FORMS[0][0], FORMS[1][0]])}
    assert validate(model, FORMS[:2]).metric == 100 * (tokens in ("x y", "y x"))


def test_a_source_that_is_too_long_is_told_by_its_first_pair():
    model, pairs = reader(False), [("b", "x"), ("b", "y"), ("bb", "x"), ("bb", "y")]
    for judge in (jumok.evaluate, partial(compare, ["x", "y"], resamples=100)):
        with pytest.raises(InputError, match="max_source_length=1") as caught:
            judge(model, pairs, max_source_length=1)
        assert caught.value.index == 2


def test_of_systems_that_read_unlike_a_source_is_what_no_one_reads_as_two():
    outputs = ["x y", "x y", "z", "x y"]
    for other in (reader(False), outputs, outputs[1:]):
        assert compare(reader(True), other, FORMS, resamples=100).sources == 3
    with pytest.raises(InputError, match="output 2 for 'caf\u00e9' is '\\?' where an earlier one"):
        compare(reader(True), ["x y", "?", "z", "x y"], FORMS)


def test_spaces_that_subwords_cannot_write_are_no_fault(monkeypatch):
    target = train_tokenizer(["x y z w"], TokenizerConfig(kind="bpe"))
    source = train_tokenizer(["ab"], TokenizerConfig(kind="char"))
    model = tiny_predictor("luong2015", 0, between=(source, target))
    pairs = [("a", "   x"), ("b", "y▁z")]
    written = [target.encode(text) for _, text in pairs]
    outputs = [target.decode(one.ids) for one in written]
    scores = compare(outputs, model, pairs, resamples=100).scores
    assert scores["exact_match"].a.value == 100
    found = [
        replace(one, text=text, tokens=[*right.tokens, "</s>"])
        for one, text, right in zip(model.predict(["a", "b"]), outputs, written, strict=True)
    ]
    monkeypatch.setattr(model, "predict", lambda *args, **kwargs: found)
    assert jumok.evaluate(model, pairs)["exact_match"] == 100
    assert validate(model, pairs).token_error == 0


def test_who_is_right_and_examples():
    a = ["x y z", "y", "z w v u", "?"]
    b = ["x y", "y x", "z w v u", "x y"]
    compared = compare(a, b, PAIRS, resamples=100)
    assert compared.right == (1, 1, 1, 1)
    [better] = compared.a_better
    assert better[:4] == ("abc", ["x y z", "z  w"], "x y z", "x y")
    assert better.a_chrf == 100 > better.b_chrf
    # first the one that is right, then the one that is less wrong
    assert [example.source for example in compared.b_better] == ["de", "힣각"]
    assert [e.source for e in compare(a, b, PAIRS, examples=1, resamples=100).b_better] == ["de"]


def test_groups_hold_the_metric_of_their_items():
    outputs = ["x y z", "y x", "?", "?"]
    compared = compare(outputs, GOLD, PAIRS, train=["abc"], resamples=100)
    lengths, frequencies = compared.groups
    assert [(b.bucket.label, b.score.a.value) for b in lengths.buckets] == [
        ("1", 0), ("2", 50), ("3", 100)
    ]  # fmt: skip
    # "abc" was seen as a word, the other three were not
    assert frequencies.grouping.units == "word"
    assert [(b.bucket.label, b.bucket.items) for b in frequencies.buckets] == [
        ("0", [1, 2, 3]), ("1", [0])
    ]  # fmt: skip
    assert [b.score.a.value for b in frequencies.buckets] == pytest.approx([100 / 3, 100])


def test_few_items_are_not_to_be_trusted():
    few = compare(["?"] * 4, GOLD, PAIRS, resamples=100)
    assert few.verdict == (
        "exact_match: 4 items are too few (+100.00, 95 %: +100.00 to +100.00, p 0.010)"
    )
    table, _ = render_comparison(few, "table").split("\nbleu: nrefs")
    assert max(map(len, table.splitlines())) <= 80
    pairs = [(str(n), "x") for n in range(50)]
    assert compare(["?"] * 50, ["x"] * 50, pairs, resamples=100).verdict.startswith(
        "exact_match: B is better (+100.00, "
    )


def test_p_is_never_told_as_nothing():
    pairs = [(str(n), "x") for n in range(50)]
    clear = compare(["?"] * 50, ["x"] * 50, pairs, resamples=3000, examples=0)
    assert clear.verdict.endswith("p <0.001)")


def test_json_says_all_and_has_sacrebleus_signature():
    found = compare(GOLD, ["?"] * 4, PAIRS, names=("하나", "둘"), resamples=100, seed=5).to_dict()
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(found, allow_nan=False))
    assert (found["a"], found["b"], found["metric"]) == ("하나", "둘", "exact_match")
    assert found["scores"]["wer"]["better"] is None  # of four items
    assert found["infinite_perplexity"] == []
    assert found["scores"]["wer"]["difference"] == {"value": 100, "low": 100, "high": 100}
    assert found["buckets"]["length"]["units"] == "character"
    assert found["signatures"]["bleu"].startswith("nrefs:var|bs:100|seed:5|case:mixed|")


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (["x"], r"should have 4 \(one for each different source, in order\) or 5 .* but 1 came"),
        (["x", "y", "z", "w", "v"], r"'abc' is 'z' where an earlier one is 'x'. Give one for"),
    ],
)
def test_outputs_that_do_not_stand_beside_the_pairs(outputs, message):
    with pytest.raises(InputError, match=message):
        compare(GOLD, outputs, PAIRS)


def test_what_cannot_be_compared():
    with pytest.raises(InputError, match="must be pairs to compare on"):
        compare(GOLD, GOLD, [])
    with pytest.raises(InputError, match="must be pairs to judge the model by"):
        jumok.evaluate(tiny_predictor("luong2015", 0), [])
    with pytest.raises(ConfigError, match="a list of outputs, but one string came"):
        compare("abcd", ["x"] * 4, [(letter, "x") for letter in "abcd"])
    with pytest.raises(ConfigError, match=r"no model searches for them: leave search\.beam out"):
        compare(GOLD, GOLD, PAIRS, beam=3)
    with pytest.raises(ConfigError, match=r"must be one of exact_match, .* but rouge came"):
        compare(GOLD, GOLD, PAIRS, metric="rouge")
    for wrong in ({"resamples": 99}, {"seed": -1}, {"examples": -1}):
        [(name, value)] = wrong.items()
        with pytest.raises(ConfigError, match=f"100 resamples or more.* {name}={value}"):
            compare(GOLD, GOLD, PAIRS, **wrong)


def test_what_is_wrong_with_what_is_given_is_said_before_a_model_searches(models, monkeypatch):
    def bad_file():
        yield "abc"
        raise DataError("no UTF-8")

    for name in ("predict", "score"):
        monkeypatch.setattr(Predictor, name, lambda *_, **__: pytest.fail("a model has begun"))
    with pytest.raises(InputError, match="but 1 came"):
        compare(models[0], ["x"], PAIRS)
    with pytest.raises(ConfigError, match="but '14a' came"):
        compare(*models, PAIRS, bleu_tokenize="14a")
    with pytest.raises(DataError):
        compare(*models, PAIRS, train=bad_file())


def test_an_infinite_perplexity_is_said(models, monkeypatch):
    score = Predictor.score

    def impossible(self, pairs, **search):
        found = score(self, pairs, **search)
        if self is models[1]:
            found[0] = replace(found[0], token_log_probs=[-math.inf] * len(found[0].tokens))
        return found

    monkeypatch.setattr(Predictor, "score", impossible)
    compared = compare(*models, PAIRS, resamples=100)
    assert "perplexity" not in compared.scores
    assert compared.to_dict()["infinite_perplexity"] == ["b"]
    assert "\nno perplexity: that of B, which" in render_comparison(compared, "table")
    with pytest.raises(ConfigError, match=r"perplexity of B is infinite.* set evaluation\.metric"):
        compare(*models, PAIRS, metric="perplexity")


@pytest.fixture
def compared():
    return compare(GOLD, ["x"] * 4, PAIRS, names=("a", "$b$"), train=["abc"], resamples=100)


def test_the_picture_is_drawn(compared, tmp_path):
    pytest.importorskip("matplotlib")
    write_plot(compared, tmp_path / "c.png")
    raw = (tmp_path / "c.png").read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(raw[16:20]) > 1500  # three panels
    write_plot(compared, tmp_path / "c.svg")
    assert ElementTree.parse(tmp_path / "c.svg").getroot().tag.endswith("svg")
    comments = (tmp_path / "c.svg").read_text(encoding="utf-8")  # matplotlib's beside each text
    for text in ("exact_match ↑", "wer ↓", "B  $b$", "n=1", compared.verdict):
        assert f"<!-- {text} -->" in comments


def test_what_cannot_be_drawn(compared, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"ending in \.svg or \.png, but 'c\.pdf' came"):
        write_plot(compared, tmp_path / "c.pdf")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"jumok\[plot\]"):
        write_plot(compared, tmp_path / "c.svg")
