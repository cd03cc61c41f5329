"""The commands as a user meets them, through the real entry point."""

import json
import math
import shutil
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import yaml
from rich.cells import cell_len
from runs import SIZES, as_options, backwards, letters, run_cli, train_small, write_pairs

import jumok
from jumok.config import preset_names
from jumok.metrics import metric_value
from jumok.predictor import Predictor

EIGHT = {"exact_match", "wer", "per", "cer", "bleu", "chrf", "ter", "perplexity"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("cli"), {"train.max_epochs": 3})


def lines(*texts):
    return "".join(text + "\n" for text in texts).encode()


def test_train_writes_a_run_and_says_where(tmp_path):
    write_pairs(tmp_path / "p.tsv", backwards(letters(60, 2, 4)))
    write_pairs(tmp_path / "d.tsv", backwards(letters(10, 2, 4, seed=1)))
    args = ["train", tmp_path / "p.tsv", "--dev", tmp_path / "d.tsv", "--output", tmp_path / "new"]
    result = run_cli(*args, "--preset", "luong2015", "--set", "model.decoder.bridge=learned",
                     *as_options(SIZES))  # fmt: skip
    assert (result.code, result.out) == (0, "")
    assert "60 training pairs, 10 validation pairs" in result.err
    assert f"model in {tmp_path / 'new' / 'best'}" in result.err
    names = {p.name for p in (tmp_path / "new").iterdir()}
    kept = {"best", "last", ".last.old"}  # the checkpoint before, should the newest be torn
    assert names == {*kept, "config.yaml", "metrics.jsonl", "train.log"}
    config = yaml.safe_load((tmp_path / "new" / "config.yaml").read_text(encoding="utf-8"))
    assert config["presets"] == ["luong2015"]
    assert config["model"]["encoder"]["hidden"] == 16
    # the same lines stay in the log
    assert (tmp_path / "new" / "train.log").read_text(encoding="utf-8") == result.err


def test_the_model_card_tells_scores_and_no_speeds(run):
    card = (run / "best" / "README.md").read_text(encoding="utf-8")
    for name in ("exact_match", "train_loss", "dev_loss", "dev_perplexity"):
        assert f"| {name} | " in card
    assert "tokens_per_second" not in card
    assert "learning_rate" not in card
    assert "between two validations" in (run / "last" / "README.md").read_text(encoding="utf-8")


def test_every_file_of_a_model_can_be_read_by_others(run):
    modes = {p.name: p.stat().st_mode & 0o777 for p in (run / "last").iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_predict_reads_a_file_or_stdin_the_same_and_as_the_library(run, tmp_path):
    texts = ["abc", "edcba", "aab"]
    (tmp_path / "in.txt").write_bytes(lines(*texts))
    from_file = run_cli("predict", run, tmp_path / "in.txt")
    from_stdin = run_cli("predict", run, "-", stdin=lines(*texts))
    assert from_file == from_stdin == run_cli("predict", run / "best", stdin=lines(*texts))
    assert (from_file.code, from_file.err) == (0, "")
    expected = [p.text for p in jumok.load(run).predict(texts)]
    assert from_file.out.splitlines() == expected


@pytest.mark.parametrize("inside", [".", "best"])
def test_a_model_is_called_by_where_one_is(run, tmp_path, monkeypatch, inside):
    (tmp_path / "in.txt").write_bytes(lines("abc"))
    write_pairs(tmp_path / "p.tsv", backwards(letters(10, 2, 4)))
    shutil.copytree(run, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run" / inside)
    commands = [("predict", "{}", tmp_path / "in.txt"), ("explain", "{}", "abc"),
                ("evaluate", "{}", tmp_path / "p.tsv"), ("align", "{}", tmp_path / "p.tsv"),
                ("predict", run, tmp_path / "in.txt", "--ensemble", "{}"),
                ("compare", "{}", run, tmp_path / "p.tsv", "--format", "json"),
                ("shortlist", "{}", tmp_path / "p.tsv")]  # fmt: skip
    for command in commands:
        here = run_cli(*(str(word).format(".") for word in command))
        assert (here.code, "Traceback" in here.err) == (0, False), here.err
        there = run_cli(*(str(word).format(tmp_path / "run") for word in command))
        whole = str(tmp_path / "run"), "."
        if command[0] != "shortlist":  # which says where the file is
            assert here.out == there.out.replace(*whole)
    here = run_cli("predict", "", tmp_path / "in.txt")
    assert here == run_cli("predict", run, tmp_path / "in.txt")
    if inside == ".":
        resumed = run_cli("train", "--resume", ".", "--set", "train.max_epochs=4")
        assert resumed.code == 0, resumed.err


def test_a_path_without_a_name_is_a_folder_or_a_sentence(run, tmp_path, monkeypatch):
    (tmp_path / "in.txt").write_bytes(lines("abc"))
    write_pairs(tmp_path / "p.tsv", backwards(letters(60, 2, 4)))
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    for args, code, words in (
        (("predict", "/", tmp_path / "in.txt"), 5, "/ is not a model directory"),
        (("average", run / "best", run / "last", "--output", "."), 3, "Give a new one in it"),
        (("average", run / "best", run / "last", "--output", "/"), 3, "is not empty"),
        (("predict", run, tmp_path / "in.txt", "--output", "."), 3, ". is a folder"),
        (("predict", run, tmp_path / "in.txt", "--output", "/", "--resume"), 3, "/ is a folder"),
    ):
        result = run_cli(*args)
        assert (result.code, words in result.err) == (code, True), result.err
    trained = run_cli("train", tmp_path / "p.tsv", "--output", ".", "--set", "train.max_epochs=1",
                      *as_options(SIZES))  # fmt: skip
    assert trained.code == 0, trained.err
    assert run_cli("average", "best", "last", "--output", "mean").code == 0
    monkeypatch.chdir("mean")
    assert run_cli("predict", ".", tmp_path / "in.txt").code == 0


def test_an_answer_does_not_wait_for_a_bar():
    code = "import sys, jumok.cli.app, jumok.cli.bulk; print('rich.progress' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


def test_empty_lines_keep_their_place(run):
    result = run_cli("predict", run, stdin=b"abc\n\nabc\r\n\n")
    first, empty, third, last = result.out.split("\n")[:4]
    assert first == third != ""
    assert empty == last == ""
    assert result.out.count("\n") == 4
    assert run_cli("predict", run, stdin=b"").out == ""


def test_the_same_korean_text_in_nfc_and_nfd_is_one_text(tmp_path):
    # here the Hangul is read: source and target change sides
    pairs = [(target, source) for source, target in backwards(letters(60, 2, 4))]
    write_pairs(tmp_path / "p.tsv", pairs)
    jumok.train(tmp_path / "p.tsv", output=tmp_path / "run",
                settings={**SIZES, "text.source.kind": "jamo", "train.max_epochs": 1})  # fmt: skip
    nfd = unicodedata.normalize("NFD", "가나다")
    assert nfd != "가나다"
    result = run_cli("predict", tmp_path / "run", "--format", "jsonl", stdin=lines("가나다", nfd))
    one, two = map(json.loads, result.out.splitlines())
    assert one["source"] == "가나다"
    assert two["source"] == nfd
    for line in (one, two):  # places in the text as it came
        assert line["source_offsets"][-1][1] == len(line["source"])
    of_source = {"source": "", "source_offsets": []}
    assert {**one, **of_source} == {**two, **of_source}


def test_a_json_line_holds_the_evidence(run):
    result = run_cli("predict", run, "--format", "jsonl", "--n-best", "3", stdin=lines("abc", ""))
    full, empty = map(json.loads, result.out.splitlines())
    keys = {"source", "text", "score", "tokens", "token_log_probs", "source_tokens", "attention",
            "attention_heads", "feature_attention", "copied", "alternatives", "offsets",
            "source_offsets"}  # fmt: skip
    assert full.keys() == empty.keys() == keys
    assert len(full["alternatives"]) == 2
    for one in [full, *full["alternatives"]]:
        assert one.keys() == keys
        assert len(one["attention"]) == len(one["tokens"]) == len(one["token_log_probs"]) > 0
        assert one["source_tokens"] == ["a", "b", "c", "</s>"]
        letters = [one["text"][start:end] for start, end in one["offsets"]]
        assert letters == [token for token in one["tokens"] if token != "</s>"]
        for row in one["attention"]:
            assert len(row) == 4
            assert sum(row) == pytest.approx(1, abs=1e-5)
    assert (empty["text"], empty["tokens"], empty["alternatives"]) == ("", [], [])


def test_n_best_widens_the_beam_to_itself(run):
    three = run_cli("predict", run, "--n-best", "3", stdin=lines("abcd"))
    assert three.out.count("\n") == 3
    wide = jumok.load(run).predict("abcd", beam=3, n_best=3)
    assert three.out.splitlines() == [p.text for p in [wide, *wide.alternatives]]
    narrow = run_cli("predict", run, "--n-best", "3", "--beam", "2", stdin=lines("abcd"))
    assert narrow.code == 3
    assert "Set search.beam to at least 3" in narrow.err
    assert run_cli("predict", run, "--set", "search.beam=3", "--n-best", "3",
                   stdin=lines("abcd")) == three  # fmt: skip


def test_outputs_begin_with_a_prefix_and_are_among_the_choices(run, tmp_path):
    model = jumok.load(run)
    letter = model.target_tokenizer.tokens([4])[0]
    begun = run_cli("predict", run, "--prefix", letter * 2, stdin=lines("abc", "", "d"))
    assert begun.out.splitlines() == [
        model.predict("abc", prefix=letter * 2).text, "", model.predict("d", prefix=letter * 2).text
    ]  # fmt: skip
    assert begun.out.startswith(letter * 2)
    (tmp_path / "choices.txt").write_bytes(lines(letter, "", letter * 3, ""))
    chosen = run_cli("predict", run, "--choices", tmp_path / "choices.txt", "--n-best", "2",
                     stdin=lines("abc", "d"))  # fmt: skip
    assert sorted(chosen.out.splitlines()) == sorted([letter, letter * 3] * 2)


def test_unknown_letters_are_looked_up_in_a_dictionary(run, tmp_path):
    (tmp_path / "words.tsv").write_bytes(lines("x\tX", "y\tY\tZ"))
    options = ("--set", "search.replace_unknown=true", "--set", "search.min_length=3")
    result = run_cli("predict", run, "--dictionary", tmp_path / "words.tsv", *options,
                     "--format", "jsonl", stdin=lines("xyx"))  # fmt: skip
    same = jumok.load(run).predict(
        "xyx", replace_unknown=True, min_length=3, dictionary={"x": "X", "y": "Y\tZ"}
    )
    assert json.loads(result.out) == json.loads(json.dumps(same.to_dict()))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A language model of words that alternate, and its run."""
    folder = tmp_path_factory.mktemp("lm")
    (folder / "texts.txt").write_bytes(lines(*("가나" * n for n in range(1, 20)), "", "나가나가"))
    settings = {"text.target.kind": "jamo", "model.decoder.hidden": 16, "train.max_epochs": 2}
    result = run_cli("train-lm", folder / "texts.txt", "--output", folder / "run",
                     *as_options(settings))  # fmt: skip
    assert result.code == 0, result.err
    assert "18 training texts, 2 validation texts" in result.err
    assert "source:" not in result.err
    return folder


def test_the_card_of_a_language_model_says_nothing_of_a_source(texts):
    card = (texts / "run" / "best" / "README.md").read_text(encoding="utf-8")
    assert "An RNN language model" in card and "language-model" in card
    for word in ("encoder", "attention", "source"):
        assert word not in card
    assert ".generate(" in card and "validation texts" in card


def test_texts_are_told_as_they_are_drawn(texts):
    model = jumok.load(texts / "run")
    options = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "seed": 5}
    flags = [word for k, v in options.items() for word in (f"--{k.replace('_', '-')}", str(v))]
    result = run_cli("generate", texts / "run", "--prompt", "가", "--n", "3", *flags)
    found = model.generate("가", 3, **options)
    assert result.out.splitlines() == [p.text for p in found]
    assert all(line.startswith("가") for line in result.out.splitlines())


def test_a_language_model_is_judged_on_texts(texts):
    (texts / "test.txt").write_bytes(lines("가나가나", "나가"))
    result = run_cli("evaluate", texts / "run", texts / "test.txt", "--format", "json")
    found = jumok.load(texts / "run").perplexity(["가나가나", "나가"])
    assert json.loads(result.out) == {**found._asdict(), "texts": 2}
    refused = run_cli("evaluate", texts / "run", texts / "test.txt", "--beam", "3")
    assert refused.code == 3 and "without any search: leave search.beam out" in refused.err
    for option in ("data.format=tsv", "data.source_column=1", "data.target_column=2",
                   "data.features_column=3", "evaluation.bleu_tokenize=char"):  # fmt: skip
        refused = run_cli("evaluate", texts / "run", texts / "test.txt", "--set", option)
        assert refused.code == 3, option
        assert f"a whole line: leave {option.partition('=')[0]} out" in refused.err
    refused = run_cli("evaluate", texts / "run", texts / "test.txt", "--language-model",
                      texts / "run")  # fmt: skip
    assert refused.code == 3 and "leave --language-model out" in refused.err
    allowed = ("--set", "data.encoding=utf-8", "--set", "data.skip_bad_lines=true")
    assert run_cli("evaluate", texts / "run", texts / "test.txt", *allowed).code == 0
    table = run_cli("evaluate", texts / "run", texts / "test.txt").out.splitlines()
    assert table[0] == "2 texts; unknown tokens: 0.00 %. Perplexity per"
    assert table[1].split() == ["token", f"{found.token:.2f}"]


def test_a_language_model_goes_on_and_shares_tokens(texts, run, tmp_path):
    more = run_cli("train", "--resume", texts / "run", "--set", "train.max_epochs=3")
    assert more.code == 0 and "done after" in more.err
    again = run_cli("train-lm", texts / "texts.txt", "--config", texts / "run" / "config.yaml",
                    "--output", tmp_path / "again", "--set", "train.max_epochs=1")  # fmt: skip
    assert again.code == 0, again.err
    assert jumok.load(tmp_path / "again").config.model == jumok.load(texts / "run").config.model
    written = lines(*(p.text for p in jumok.load(run).predict(["abc", "ba", "cab", "d"])), "가")
    (tmp_path / "out.txt").write_bytes(written)
    small = as_options({"model.decoder.hidden": 8, "train.max_epochs": 1})
    shared = run_cli("train-lm", tmp_path / "out.txt", "--dev", tmp_path / "out.txt",
                     "--tokens-of", run, "--output", tmp_path / "lm", *small)  # fmt: skip
    assert shared.code == 0, shared.err
    one, other = jumok.load(run), jumok.load(tmp_path / "lm")
    assert one.target_tokenizer.to_json() == other.target_tokenizer.to_json()
    assert one.config.text.target == other.config.text.target
    refused = run_cli("train-lm", tmp_path / "out.txt", "--tokens-of", run, "--output",
                      tmp_path / "no", "--set", "text.target.kind=word")  # fmt: skip
    assert refused.code == 3 and "text.target.kind=word says how to cut texts" in refused.err
    assert f"{run}, which has {one.config.text.target.kind}" in refused.err


def test_beside_a_language_model_there_is_no_perplexity(run, texts, tmp_path):
    written = lines(*(p.text for p in jumok.load(run).predict(["abc", "ba", "cab"])), "가")
    (tmp_path / "out.txt").write_bytes(written)
    small = as_options({"model.decoder.hidden": 8, "train.max_epochs": 1})
    assert run_cli("train-lm", tmp_path / "out.txt", "--tokens-of", run, "--output",
                   tmp_path / "lm", *small).code == 0  # fmt: skip
    (tmp_path / "test.tsv").write_bytes(b"abc\txyz\n")
    beside = ("--language-model", tmp_path / "lm", "--set", "search.lm_weight=0.2")
    table = run_cli("evaluate", run, tmp_path / "test.tsv", *beside)
    assert "no perplexity: scores beside a language model" in table.out
    found = run_cli("evaluate", run, tmp_path / "test.tsv", *beside, "--format", "json")
    assert "perplexity" not in json.loads(found.out) and "bleu" in json.loads(found.out)
    assert "perplexity  " in run_cli("evaluate", run, tmp_path / "test.tsv").out


def test_tsv_has_source_output_and_score(run):
    result = run_cli("predict", run, "--format", "tsv", "--n-best", "2", stdin=lines("abc", "b\tc"))
    rows = [line.split("\t") for line in result.out.splitlines()]
    assert [row[0] for row in rows] == ["abc", "abc", "b\\tc", "b\\tc"]
    scores = [float(row[2]) for row in rows]
    assert scores[0] >= scores[1]
    assert scores[0] < 0
    best = jumok.load(run).predict("abc", beam=2)
    assert rows[0][1:] == [best.text, f"{best.score:.4f}"]


def test_evaluate_measures_all_and_agrees_with_the_library(run):
    pairs = backwards(letters(20, 2, 4, seed=5))
    path = write_pairs(run.parent / "test.tsv", [*pairs, ("abc", "가")])
    result = run_cli("evaluate", run, path, "--format", "json")
    report = json.loads(result.out)
    assert report.keys() == EIGHT | {
        "pairs", "sources", "unknown_source", "unknown_target", "signatures"
    }  # fmt: skip
    expected = jumok.evaluate(jumok.load(run), [*pairs, ("abc", "가")])
    assert {key: report[key] for key in EIGHT} == pytest.approx(expected)
    table = run_cli("evaluate", run, path).out
    for key in EIGHT:
        assert f"\n{key} " in table
    assert table.startswith("21 pairs, ")


def test_an_infinite_perplexity_is_json_that_others_read(run, tmp_path, texts, monkeypatch):
    (tmp_path / "t.tsv").write_bytes("abc\t다나가\n".encode())
    monkeypatch.setattr("jumok.evaluation.perplexity", lambda *_: math.inf)
    monkeypatch.setattr("jumok.predictor.perplexity", lambda *_: math.inf)

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    for model, file, keys in (
        (run, tmp_path / "t.tsv", ["perplexity"]),
        (texts / "run", texts / "texts.txt", ["token", "character", "word"]),
    ):
        told = run_cli("evaluate", model, file, "--format", "json").out
        found = json.loads(told, parse_constant=refuse)
        assert [found[key] for key in keys] == [sys.float_info.max] * len(keys)
        assert " inf" in run_cli("evaluate", model, file).out


def test_evaluate_says_what_it_skips(run, tmp_path):
    (tmp_path / "t.tsv").write_text("abc\t다나가\nabc\nab\t나가\n", encoding="utf-8")
    assert run_cli("evaluate", run, tmp_path / "t.tsv").code == 4
    result = run_cli("evaluate", run, tmp_path / "t.tsv", "--set", "data.skip_bad_lines=true")
    assert (result.code, result.out[:8]) == (0, "2 pairs,")
    assert f"1 bad lines skipped, the first: {tmp_path / 't.tsv'}:2: " in result.err


def test_compare_agrees_with_the_library_and_a_file_of_outputs(run, tmp_path):
    pairs = [*backwards(letters(20, 2, 4, seed=5)), ("abc", "가")]
    path = write_pairs(tmp_path / "test.tsv", pairs)
    sources = list(dict(pairs))
    greedy = run_cli("predict", run, "--beam", "1", stdin=lines(*sources))
    (tmp_path / "greedy.txt").write_text(greedy.out, encoding="utf-8")
    args = ("compare", run / "last", tmp_path / "greedy.txt", path, "--train",
            run.parent / "pairs.tsv", "--resamples", "200", "--set", "evaluation.metric=cer",
            "--beam", "3")  # fmt: skip
    found = json.loads(run_cli(*args, "--format", "json").out)
    expected = jumok.compare(
        jumok.load(run / "last"),
        greedy.out.splitlines(),
        pairs,
        names=(str(run / "last"), str(tmp_path / "greedy.txt")),
        train=[source for source, _ in backwards(letters(160, 2, 5))],
        resamples=200,
        metric="cer",
        beam=3,
    )
    assert found == json.loads(json.dumps(expected.to_dict()))
    table = run_cli(*args, "--plot", tmp_path / "both.svg")
    assert (table.code, table.err) == (0, "")
    assert expected.verdict in table.out.splitlines()
    assert f"B: {tmp_path / 'greedy.txt'}"[:79] in table.out
    assert "cer by source length in characters" in table.out
    assert ET.parse(tmp_path / "both.svg").getroot().tag.endswith("svg")


def test_a_model_equals_its_own_outputs_in_lines(run, tmp_path, monkeypatch):
    predict = Predictor.predict

    def in_lines(self, source, **settings):
        found = predict(self, source, **settings)
        return [replace(one, text=f"{one.source}\n\t\\n\r{one.text}") for one in found]

    monkeypatch.setattr(Predictor, "predict", in_lines)
    sources = ["abc", "ba"]
    path = tmp_path / "greedy.txt"
    path.write_text(run_cli("predict", run, stdin=lines(*sources)).out, encoding="utf-8")
    pairs = [(one.source, one.text) for one in jumok.load(run).predict(sources)]
    records = (json.dumps({"source": source, "target": target}) for source, target in pairs)
    (tmp_path / "pairs.jsonl").write_bytes(lines(*records))
    result = run_cli("compare", run, path, tmp_path / "pairs.jsonl", "--format", "json")
    scores = json.loads(result.out)["scores"]
    assert scores["exact_match"]["a"] == scores["exact_match"]["b"]
    assert scores["exact_match"]["a"]["value"] == scores["bleu"]["b"]["value"] == 100
    # as they are, they count as in evaluate
    outputs = [target.replace("n", "m") for _, target in pairs]
    found = jumok.compare(jumok.load(run), outputs, pairs, resamples=100).scores["per"].b
    assert found.value == metric_value("per", outputs, [[target] for _, target in pairs])


def test_the_table_of_a_comparison_fits_80_columns(run, tmp_path):
    pairs = [("ab" * 30, "가나" * 40), *backwards(letters(60, 2, 4, seed=5))]
    path = write_pairs(tmp_path / "test.tsv", pairs)
    (tmp_path / "gold.txt").write_bytes(lines(*(target for _, target in pairs)))
    result = run_cli("compare", run, tmp_path / "gold.txt", path, "--set",
                     "search.max_source_length=100", "--resamples", "100")  # fmt: skip
    assert "is better on" in result.out
    shown = result.out[: result.out.index("bleu: nrefs")].splitlines()
    assert max(map(cell_len, shown)) <= 80
    same = run_cli("compare", tmp_path / "gold.txt", tmp_path / "gold.txt", path)
    assert (
        "exact_match: no difference can be told (+0.00, 95 %: +0.00 to +0.00, p 1.000)" in same.out
    )
    assert "is better" not in same.out


def test_what_cannot_be_compared_is_said(run, texts, tmp_path):
    path = write_pairs(tmp_path / "test.tsv", backwards(letters(5, 2, 4)))
    (tmp_path / "empty.tsv").touch()
    (tmp_path / "three.txt").write_bytes(lines("a", "b", "c"))
    (tmp_path / "five.txt").write_bytes(lines(*"abcde"))
    for code, words, args in [
        (3, f"but {texts / 'run'} is a language model", (run, texts / "run", path)),
        (4, "there are none", (run, run, tmp_path / "empty.tsv")),
        (
            5,
            "typo.txt is neither a model directory nor a file of outputs",
            (run, tmp_path / "typo.txt", path),
        ),
        (6, "should have 5 outputs, a line each, but 3 came", (run, tmp_path / "three.txt", path)),
        (3, "leave search.beam out", (*[tmp_path / "five.txt"] * 2, path, "--beam", "2")),
        (3, "train.seed is fixed", (run, run, path, "--set", "train.seed=1")),
        (3, "ending in .svg or .png, but 'c.pdf' came", (run, run, path, "--plot", "c.pdf")),
    ]:
        result = run_cli("compare", *args)
        assert (result.code, result.out) == (code, "")
        assert words in result.err


@pytest.mark.filterwarnings("ignore:No installed font has")  # true of some machines
def test_explain_draws_in_every_format(run, tmp_path):
    text = jumok.load(run).predict("abcd").text
    shown = run_cli("explain", run, "abcd")
    assert shown.code == 0
    assert text in shown.out
    assert "\x1b" not in shown.out  # no colours where nobody looks
    for suffix in ("svg", "html", "png", "json"):
        path = tmp_path / f"map.{suffix}"
        result = run_cli("explain", run, "abcd", "--output", path)
        assert result.code == 0
        assert result.out == f"{text}\nwritten to {path}\n"
    assert ET.parse(tmp_path / "map.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert (tmp_path / "map.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert text in (tmp_path / "map.html").read_text(encoding="utf-8")
    weights = json.loads((tmp_path / "map.json").read_text(encoding="utf-8"))
    assert weights["source_tokens"] == ["a", "b", "c", "d", "</s>"]


def test_explain_shows_characters_and_words(tmp_path):
    write_pairs(tmp_path / "p.tsv", [(f"{t} {s}", s) for s, t in backwards(letters(40, 2, 3))])
    kinds = {"text.source.kind": "jamo", "train.max_epochs": 1}
    jumok.train(tmp_path / "p.tsv", output=tmp_path / "run", settings={**SIZES, **kinds})
    for units, count in (("token", 6), ("character", 4), ("word", 2)):
        path = tmp_path / f"{units}.json"
        result = run_cli("explain", tmp_path / "run", "가 나b", "--units", units, "--output", path)
        assert result.code == 0, result.err
        shown = json.loads(path.read_text(encoding="utf-8"))
        assert len(shown["source_tokens"]) == count + 1
        assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in shown["weights"])
    assert shown["source_tokens"] == ["가", "나b", "</s>"]
    drawn = run_cli("explain", tmp_path / "run", "가 나b", "--units", "word").out
    assert "나b" in drawn.split("\n", 3)[3]
    assert run_cli("explain", tmp_path / "run", "가 나b", "--units", "syllable").code == 2


@pytest.fixture(scope="module")
def other_way(run, tmp_path_factory):
    """A model of the other direction."""
    folder = tmp_path_factory.mktemp("back")
    swapped = {"data.source_column": "2", "data.target_column": "1"}
    jumok.train(run.parent / "pairs.tsv", output=folder / "run", settings={**SIZES, **swapped})
    return folder / "run"


GIVEN = [("abc", "다나가"), ("a bc", "다나 가"), ("e", "마")]


def pharaoh(found):
    return [" ".join(f"{i}-{j}" for i, j in sorted(a.links, key=lambda x: x[::-1])) for a in found]


def test_align_links_given_pairs_in_every_format(run, tmp_path):
    model = jumok.load(run)
    expected = pharaoh(jumok.align(model, GIVEN))
    assert [len(links.split()) for links in expected] <= [1, 2, 1]
    write_pairs(tmp_path / "p.tsv", GIVEN)
    (tmp_path / "p.csv").write_bytes(lines("source,target", *(",".join(p) for p in GIVEN)))
    (tmp_path / "p.jsonl").write_bytes(
        lines(*(json.dumps({"one": s, "two": t}, ensure_ascii=False) for s, t in GIVEN))
    )
    for side, name in enumerate(("p.src", "p.tgt")):
        (tmp_path / name).write_bytes(lines(*(pair[side] for pair in GIVEN)))
    fields = ["--set", "data.source_column=one", "--set", "data.target_column=two"]
    two = f"{tmp_path / 'p.src'},{tmp_path / 'p.tgt'}"
    for name, options in (("p.tsv", []), ("p.csv", []), ("p.jsonl", fields), (two, [])):
        result = run_cli("align", run, tmp_path / name, *options)
        assert (result.code, result.err) == (0, "")
        assert result.out.splitlines() == expected
    content = (tmp_path / "p.tsv").read_bytes()
    assert run_cli("align", run, "-", stdin=content).out.splitlines() == expected
    both = run_cli("align", run, tmp_path / "p.tsv", tmp_path / "p.csv")
    assert both.out.splitlines() == expected * 2
    swapped = ["--set", "data.source_column=2", "--set", "data.target_column=1"]
    turned = lines(*("\t".join(pair[::-1]) for pair in GIVEN))
    assert run_cli("align", run, "-", *swapped, stdin=turned).out.splitlines() == expected


def test_align_tells_all_as_json(run, tmp_path):
    write_pairs(tmp_path / "p.tsv", GIVEN)
    result = run_cli("align", run, tmp_path / "p.tsv", "--units", "character", "--format", "jsonl")
    found = jumok.align(jumok.load(run), GIVEN, units="character")
    came = [json.loads(line) for line in result.out.splitlines()]
    assert came == [json.loads(json.dumps(one.to_dict())) for one in found]
    keys = "source target source_tokens tokens source_units target_units weights reverse_weights"
    assert list(came[0]) == [*keys.split(), "links", "score"]
    assert came[1]["source_units"] == ["a", " ", "b", "c", "</s>"]
    assert {len(one["weights"]) for one in came} == {2, 4, 5}


def test_align_joins_two_directions_and_ensembles(run, other_way, tmp_path):
    write_pairs(tmp_path / "p.tsv", GIVEN)
    one, other = jumok.load(run), jumok.load(other_way)
    for method in ("intersection", "union", "grow-diag-final-and", None):
        options = [] if method is None else ["--symmetrise", method]
        result = run_cli("align", run, tmp_path / "p.tsv", "--units", "character",
                         "--reverse-model", other_way, *options)  # fmt: skip
        found = jumok.align(one, GIVEN, other, "character", method)
        assert result.out.splitlines() == pharaoh(found), result.err
    last = run / "last"
    result = run_cli("align", run, tmp_path / "p.tsv", "--ensemble", last, "--reverse-model",
                     other_way, "--reverse-model", other_way / "last")  # fmt: skip
    found = jumok.align(jumok.load([run, last]), GIVEN, jumok.load([other_way, other_way / "last"]))
    assert result.out.splitlines() == pharaoh(found)


def test_lines_that_are_skipped_have_an_empty_line_of_links(run, tmp_path):
    content = lines("abc\t다나가", "abc", "\t가", "e\t마")
    skip = ["--set", "data.skip_bad_lines=true"]
    good = run_cli("align", run, "-", stdin=lines("abc\t다나가", "e\t마")).out.splitlines()
    result = run_cli("align", run, "-", *skip, stdin=content)
    assert result.out.splitlines() == [good[0], "", "", good[1]]
    assert (result.code, "2 bad lines skipped, the first: <stdin>:2: " in result.err) == (0, True)
    result = run_cli("align", run, "-", *skip, "--format", "jsonl", stdin=content)
    assert [json.loads(line) is None for line in result.out.splitlines()] == [
        False, True, True, False
    ]  # fmt: skip


def test_config_prints_what_presets_and_settings_make():
    result = run_cli("config", "--print", "--preset", "g2p", "--set", "train.max_epochs=7")
    tree = yaml.safe_load(result.out)
    assert tree["presets"] == ["g2p"]
    assert tree["train"]["max_epochs"] == 7
    assert tree["evaluation"]["metric"] == "wer"
    listed = run_cli("config").out
    assert all(name in listed for name in preset_names())


def test_the_schema_knows_every_key_that_is_printed():
    schema = json.loads(run_cli("config", "--schema").out)
    tree = yaml.safe_load(run_cli("config", "--print").out)

    def compare(node, values):
        node = schema["$defs"][node["$ref"].split("/")[-1]] if "$ref" in node else node
        assert node["additionalProperties"] is False
        assert node["properties"].keys() == values.keys()
        for key, value in values.items():
            child = node["properties"][key]
            assert child.get("description"), f"{key} is not explained"
            if isinstance(value, dict):
                compare(child, value)

    del tree["presets"], schema["properties"]["presets"]
    compare(schema, tree)


def test_help_and_version():
    assert run_cli("--version").out == f"jumok {jumok.__version__}\n"
    for command in ("train", "predict", "align", "evaluate", "explain", "config"):
        assert command in run_cli("--help").out
        assert run_cli(command, "--help").code == 0
    assert run_cli("trian").code == 2


def test_only_search_settings_of_a_trained_model_can_change(run):
    fixed = run_cli("predict", run, "--set", "model.encoder.hidden=8", stdin=b"abc\n")
    assert (fixed.code, fixed.out) == (3, "")
    assert "model.encoder.hidden is fixed" in fixed.err
    fixed = run_cli("evaluate", run, "x.tsv", "--set", "model.encoder.hidden=8")
    assert (fixed.code, "is fixed" in fixed.err) == (3, True)
    fixed = run_cli("evaluate", run, "x.tsv", "--set", "data.reverse_source=true")
    assert (fixed.code, "is fixed" in fixed.err) == (3, True)
    unknown = run_cli("predict", run, "--set", "serch.beam=3", stdin=b"abc\n")
    assert "Did you mean 'search.beam'?" in unknown.err


def test_evaluate_takes_settings_of_judging_and_searching(run, tmp_path):
    pairs = write_pairs(tmp_path / "p.tsv", [("abc", "다, 나가"), ("ab" * 10, "나가")])
    reports = {}
    for tokenize in ("none", "13a"):
        result = run_cli("evaluate", run, pairs, "--format", "json", "--set",
                         f"evaluation.bleu_tokenize={tokenize}")  # fmt: skip
        reports[tokenize] = json.loads(result.out)
        assert f"tok:{tokenize}" in reports[tokenize]["signatures"]["bleu"]
    short = run_cli("evaluate", run, pairs, "--set", "search.max_source_length=5")
    assert (short.code, "search.max_source_length=5" in short.err) == (6, True)
    pairs = write_pairs(tmp_path / "long.tsv", [("ab" * 600, "나가")])
    enough = run_cli("evaluate", run, pairs, "--set", "search.max_source_length=1200")
    assert enough.code == 0, enough.err


def test_a_prediction_draws_itself_in_a_notebook(run, tmp_path):
    drawn = jumok.load(run).predict("a<b")._repr_html_()
    ET.fromstring(f"<div>{drawn}</div>")  # well-formed
    assert "a<b" not in drawn
    for token in ("a", "&lt;", "b"):
        assert f">{token}<" in drawn
    plain = train_small(tmp_path, {"model.attention.score": "none",
                                   "model.attention.input_feeding": False})  # fmt: skip
    assert jumok.load(plain).predict("ab")._repr_html_().startswith("<p>")


def test_features_from_a_column_to_an_answer(tmp_path):
    """Trained, evaluated and asked, with lemma, form and features in columns."""
    rows = [(w, w[::-1] if f == "BWD" else w, f) for w in letters(40, 2, 4) for f in ("FWD", "BWD")]
    table = tmp_path / "table.tsv"
    table.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    settings = {**SIZES, "data.features_column": 3, "model.encoder.features": "apart",
                "train.max_epochs": 1}  # fmt: skip
    options = [*as_options(settings), "--output", tmp_path / "run"]
    assert run_cli("train", table, *options).code == 0
    column = ["--set", "data.features_column=3"]
    scores = run_cli("evaluate", tmp_path / "run", table, *column, "--format", "json")
    assert scores.code == 0
    assert json.loads(scores.out)["pairs"] == 80
    asked = run_cli("predict", tmp_path / "run", "--format", "jsonl", stdin=lines("BWD ab", ""))
    first, empty = map(json.loads, asked.out.splitlines())
    assert first["source_tokens"] == ["BWD", "a", "b", "</s>"]
    assert all(row[0] == 0 for row in first["attention"])
    assert all(row[1:] == [0, 0, 0] for row in first["feature_attention"])
    assert empty["text"] == ""
    wrong = run_cli("predict", tmp_path / "run", stdin=lines("BWD ab", "ab", "BWD b"))
    assert wrong.code == 6
    assert "<stdin>:2: " in wrong.err
    assert "Put the features first" in wrong.err
    without = run_cli("evaluate", tmp_path / "run", table)
    assert f"{table}:1: features, a space and a text were expected" in without.err


def test_shortlist_lists_the_target_tokens_of_pairs(run, tmp_path):
    run = shutil.copytree(run / "best", tmp_path / "model")
    write_pairs(tmp_path / "p.tsv", GIVEN)
    result = run_cli("shortlist", run, tmp_path / "p.tsv", "--most", "2", "--frequent", "1")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{len(GIVEN)} pairs\n") and "shortlist.safetensors" in result.out
    options = "--set", "search.shortlist=true"
    answers = run_cli("predict", run, "--format", "jsonl", *options, stdin=lines("abc", "ea"))
    model = jumok.load(run)
    for line, source in zip(answers.out.splitlines(), ("abc", "ea"), strict=True):
        listed = model._shortlist.of(model.source_tokenizer.encode(source).ids)
        assert {*json.loads(line)["tokens"]} <= {*model.target_tokenizer.tokens(listed.tolist())}
    assert run_cli("explain", run, "abc", *options).code == 0
    judged = run_cli("evaluate", run, tmp_path / "p.tsv", "--format", "json", *options)
    assert "exact_match" in json.loads(judged.out)
    again = run_cli("shortlist", run, "-", stdin=(tmp_path / "p.tsv").read_bytes())
    assert again.code == 0
    assert model._shortlist.frequent.size == 1 < jumok.load(run)._shortlist.frequent.size
    long = lines("abcdefgh\t다", *("\t".join(pair) for pair in GIVEN), "abcdefgh\t다")
    limit = ("--set", "search.max_source_length=4")
    skipped = run_cli("shortlist", run, "-", *limit, stdin=long)
    assert skipped.out.startswith(f"{len(GIVEN)} pairs, and 2 left out: longer than search.max_")
    assert skipped.out.splitlines()[1:] == again.out.splitlines()[1:]
    kept = (run / "shortlist.safetensors").read_bytes()
    none = run_cli("shortlist", run, "-", *limit, stdin=lines("abcdefgh\t다"))
    assert none.code == 4 and "none came, and 1 with longer ones" in none.err
    assert (run / "shortlist.safetensors").read_bytes() == kept


def test_shortlist_says_what_is_wrong(run, tmp_path):
    result = run_cli("predict", run, "--set", "search.shortlist=true", stdin=lines("abc"))
    assert result.code == 3 and "jumok shortlist MODEL PAIRS" in result.err
    result = run_cli("shortlist", run, "-", stdin=b"")
    assert result.code == 4 and "there are none" in result.err
    result = run_cli("shortlist", run, "-", "--set", "search.beam=2", stdin=lines("abc\t다"))
    assert result.code == 3 and "search.beam is of no use" in result.err
    result = run_cli("shortlist", run, "-", stdin=lines("abc\t다", "abc"))
    assert result.code == 4 and "<stdin>:2" in result.err
    assert not (run / "best" / "shortlist.safetensors").exists()
    write_pairs(tmp_path / "p.tsv", GIVEN)
    result = run_cli("train", tmp_path / "p.tsv", "--output", tmp_path / "new",
                     "--set", "search.shortlist=true")  # fmt: skip
    assert result.code == 3 and "made with a trained model" in result.err
    assert not (tmp_path / "new").exists()
