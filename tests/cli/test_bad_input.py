"""Bad input: a sentence that says what was wrong and where, its exit code, and nothing harmed."""

import hashlib
import json
import os
import pickle
import shutil
import time
from pathlib import Path

import pytest
from runs import SIZES, as_options, backwards, letters, run_cli, train_small, write_pairs

import jumok
from jumok.bundle import FORMAT_VERSION
from jumok.errors import BundleError, ConfigError, DataError, InputError, StorageError

GOOD = "".join(f"{s}\t{t}\n" for s, t in backwards(letters(30, 2, 4))).encode()


def check(result, error, *words):
    """A sentence of the right kind on stderr, and nothing else anywhere."""
    assert result.code == error.exit_code, result.err
    assert result.out == ""
    assert "Traceback" not in result.err
    for word in words:
        assert str(word) in result.err
    assert any(line.startswith("jumok: ") for line in result.err.splitlines())


def snapshot(folder):
    """Every file below ``folder`` with its content."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --- training ------------------------------------------------------------------------------------

# name: (file name, content, place after the file name, words)
FILES = {
    "empty": ("p.tsv", b"", ": ", ["there are none"]),
    "one column": ("p.tsv", GOOD + b"abc\n", ":31: ", ["2 columns", "1 came"]),
    "cp949": ("p.tsv", GOOD + "가나\t다라\n".encode("cp949"), ":31: ", ["data.encoding=cp949"]),
    "NUL": ("p.tsv", b"a\0b\tc\n" + GOOD, ":1: ", ["NUL"]),
    "endless line": ("p.tsv", GOOD + b"x" * 1_200_000, ":31: ", ["1000000 characters"]),
    "CSV column": ("p.csv", b"word,target\na,b\n", ":1: ", ["'source' is missing", "word, target"]),
    "one pair": ("p.tsv", b"a\tb\n", "", ["Give more pairs"]),
    "nothing short enough": ("p.tsv", (b"x" * 1200 + b"\ty\n") * 2 + (b"z" * 1300 + b"\ty\n") * 9,
                             "", ["data.max_source_length=1000"]),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_bad_training_file(tmp_path, name):
    file, content, place, words = FILES[name]
    (tmp_path / file).write_bytes(content)
    result = run_cli("train", tmp_path / file, "--output", tmp_path / "run", *as_options(SIZES))
    check(result, DataError, f"{tmp_path / file}{place}" if place else "", *words)
    assert [p.name for p in tmp_path.iterdir()] == [file]


# name: (arguments after `train`, words)
SETTINGS = {
    "preset": (["--preset", "luong"], ["no preset 'luong'", "Did you mean 'luong2015'?"]),
    "key": (["--set", "train.max_epoch=3"], ["Did you mean 'train.max_epochs'?"]),
    "key without section": (["--set", "beam=3"], ["Did you mean 'search.beam'?"]),
    "value": (["--set", "model.encoder.cell=lstn"], ["lstm, gru, rnn", "Did you mean 'lstm'?"]),
    "number": (["--set", "train.max_epochs=many"], ["train.max_epochs", "'many' came"]),
    "range": (["--set", "model.encoder.hidden=0"], ["model.encoder.hidden", "0 came"]),
    "no value": (["--set", "train.max_epochs"], ["section.field=value"]),
    "clash": (["--set", "model.attention.score=dot", "--set", "model.decoder.hidden=8"],
              ["both need one size", "Set model.decoder.hidden=32"]),
    "device": (["--set", "train.device=gpu"], ["cpu, cuda", "'gpu' came"]),
    "absent device": (["--set", "train.device=cuda:99"], ["'cuda:99' came"]),
    "meta device": (["--set", "train.device=meta"], ["'meta' came"]),
    "too large": (["--set", "model.encoder.hidden=65536", "--set", "model.encoder.layers=64"],
                  ["does not fit into memory"]),
    "far too large": (["--set", f"model.decoder.hidden={10**30}"], ["less than or equal to 65536"]),
    "maxout of one": (["--set", "model.decoder.hidden=1", "--set", "model.decoder.readout=maxout"],
                      ["larger of every two", "model.decoder.hidden=2"]),
    "nearly true": (["--set", "model.encoder.bidirectional=ture"],
                    ["must be true or false", "Did you mean 'true'?"]),
    "encoding": (["--set", "data.encoding=utf-9"], ["data.encoding=utf-9 is not"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_bad_setting(tmp_path, name):
    args, words = SETTINGS[name]
    (tmp_path / "p.tsv").write_bytes(GOOD)
    command = ["train", tmp_path / "p.tsv", "--output", tmp_path / "run"]
    check(run_cli(*command, *as_options(SIZES), *args), ConfigError, *words)
    assert [p.name for p in tmp_path.iterdir()] == ["p.tsv"]


def test_bad_train_arguments(tmp_path):
    data = tmp_path / "p.tsv"
    data.write_bytes(GOOD)
    check(run_cli("train"), ConfigError, "give a file of pairs")
    check(run_cli("train", data), ConfigError, "--output DIRECTORY")
    for option in (data, "--dry-run"):
        check(run_cli("train", option, "--resume", tmp_path), ConfigError, "only --set train.*")
    check(run_cli("train", "--resume", tmp_path), ConfigError, "no config.yaml in it")
    missing = run_cli("train", tmp_path / "q.tsv", "--output", tmp_path / "run")
    check(missing, DataError, tmp_path / "q.tsv", f"Did you mean '{data}'?")
    missing = run_cli("train", data, "--dev", "no.tsv", "--output", tmp_path / "run")
    check(missing, DataError, "no.tsv: there is no such file")
    check(run_cli("train", data, "--output", data), ConfigError, f"{data} is a file")
    below_a_file = run_cli("train", data, "--output", data / "run", *as_options(SIZES))
    check(below_a_file, StorageError, f"Could not write {data / 'run'}")
    assert snapshot(tmp_path) == {Path("p.tsv"): GOOD}


def test_an_output_directory_with_anything_in_it_is_left_alone(tmp_path):
    (tmp_path / "p.tsv").write_bytes(GOOD)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work", encoding="utf-8")
    before = snapshot(tmp_path)
    result = run_cli("train", tmp_path / "p.tsv", "--output", tmp_path / "run")
    check(result, ConfigError, "is not empty", f"--resume {tmp_path / 'run'}")
    assert snapshot(tmp_path) == before


# --- a trained model -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("bad")) / "best"


@pytest.fixture
def model(whole, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def refused(model, *words):
    """No command takes the model, and none touches it."""
    before = snapshot(model)
    for args in (["predict", model], ["explain", model, "abc"], ["evaluate", model, "x.tsv"]):
        check(run_cli(*args, stdin=b"abc\n"), BundleError, *words)
    assert snapshot(model) == before


def edit_head(model, change):
    head = json.loads((model / "config.json").read_text(encoding="utf-8"))
    change(head)
    (model / "config.json").write_text(json.dumps(head), encoding="utf-8")


def rehash(model, name):
    """As somebody would who wants a changed file to be trusted."""
    digest = hashlib.sha256((model / name).read_bytes()).hexdigest()
    edit_head(model, lambda head: head["sha256"].update({name: digest}))


def rehash_settings(model):
    """The same for edited settings."""

    def change(head):
        text = json.dumps(head["config"], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        head["sha256"]["config"] = hashlib.sha256(text.encode()).hexdigest()

    edit_head(model, change)


PARTS = ["config.json", "metrics.json", "model.safetensors", "source.tokenizer.json",
         "target.tokenizer.json"]  # fmt: skip


def test_these_are_all_parts_of_a_model(whole):
    assert sorted(p.name for p in whole.iterdir()) == sorted([*PARTS, "README.md"])


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
@pytest.mark.parametrize("name", PARTS)
def test_truncated(model, name, share):
    content = (model / name).read_bytes()
    (model / name).write_bytes(content[: int(share * len(content))])
    refused(model, model / name)


@pytest.mark.parametrize("name", PARTS)
def test_missing(model, name):
    (model / name).unlink()
    refused(model, model if name == "config.json" else model / name)


@pytest.mark.parametrize("name", [n for n in PARTS if n.startswith(("model", "source", "target"))])
def test_flipped_bits(model, name):
    content = bytearray((model / name).read_bytes())
    content[-10] ^= 1
    (model / name).write_bytes(content)
    refused(model, model / name, "SHA-256", "Copy the whole model directory again")


def test_a_directory_where_a_file_should_be(model):
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").mkdir()
    refused(model, model / "model.safetensors")


def test_a_path_that_is_not_utf_8(model):
    other = Path(os.fsdecode(bytes(model.parent) + b"/m\xff"))
    try:
        model.rename(other)
    except OSError:
        pytest.skip("the file system has no such names")
    refused(other, "model.safetensors", "not valid UTF-8", "whose path is UTF-8")


def test_sizes_of_another_model(model):
    edit_head(model, lambda h: h["config"]["model"]["encoder"].update(hidden=17))
    rehash_settings(model)
    # the first tensor that differs, by name: its size as the config has it, and as stored
    refused(model, model / "model.safetensors", "tensor '", "but is ", "two different models")


@pytest.mark.parametrize(
    "edit",
    [
        {"encoder": {"hidden": 100_000}},  # 160 GB, if it were allocated
        {"encoder": {"hidden": 10**9}},
        {"encoder": {"hidden": 10**30}},
        {"encoder": {"layers": 10**9}},
        {"decoder": {"layers": 10**30}},
        {"decoder": {"embedding": 10**12}},
        {"attention": {"score": "additive", "hidden": 10**12}},
    ],
    ids=str,
)
def test_absurd_sizes_cost_nothing(model, edit):
    def change(head):
        for section, values in edit.items():
            head["config"]["model"][section].update(values)

    edit_head(model, change)
    rehash_settings(model)
    started = time.monotonic()
    refused(model, model)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h.update(format_version=FORMAT_VERSION + 1), ["format version", "Upgrade"]),
        (lambda h: h.update(format_version=1), ["has format version 1", "Train the model again"]),
        (lambda h: h.update(format_version="1"), ["not written by jumok"]),
        (lambda h: h.update(library_name="transformers"), ["not written by jumok"]),
        (lambda h: h.pop("sha256"), ["lacks the hashes"]),
        (lambda h: h.update(config=[1]), ["config.json"]),
        (lambda h: h["config"]["model"]["encoder"].update(cell="transformer"), ["lstm, gru, rnn"]),
        (lambda h: h["config"]["model"]["encoder"].update(hiden=3), ["Did you mean"]),
        (lambda h: h["config"]["data"].update(reverse_source=True), ["have changed"]),
        (lambda h: h["config"]["search"].update(beam=7), ["have changed", "--set search.beam"]),
    ],
    ids=[
        "future",
        "older",
        "version",
        "library",
        "hashes",
        "list",
        "value",
        "key",
        "meaning",
        "search",
    ],
)
def test_edited_head(model, change, words):
    edit_head(model, change)
    refused(model, model, *words)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_garbage_for_a_head(model, content):
    (model / "config.json").write_bytes(content)
    refused(model, model / "config.json")


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_pickle_is_never_opened(model, tmp_path, trusted):
    bomb = tmp_path / "exploded"
    (model / "model.safetensors").write_bytes(pickle.dumps(Bomb(bomb)))
    if trusted:
        rehash(model, "model.safetensors")
    refused(model, model / "model.safetensors", "safetensors" if trusted else "SHA-256")
    assert not bomb.exists()
    pickle.loads((model / "model.safetensors").read_bytes())
    assert bomb.exists()  # it would have gone off


@pytest.mark.parametrize("name", ["source.tokenizer.json", "target.tokenizer.json"])
def test_a_damaged_tokenizer_is_found_whatever_its_hash(model, name):
    content = json.loads((model / name).read_text(encoding="utf-8"))
    content["tokenizer"]["model"]["vocab"]["z"] = 99
    (model / name).write_text(json.dumps(content), encoding="utf-8")
    rehash(model, name)
    refused(model, model / name, "without gaps")


def test_no_model_at_all(tmp_path):
    empty, file = tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.write_bytes(b"hello")
    check(run_cli("predict", tmp_path / "nothing"), BundleError, "There is no model directory")
    for path in (empty, file):
        check(run_cli("predict", path), BundleError, path, "is not a model directory")


def test_bad_input_to_a_model(whole, tmp_path):
    check(run_cli("predict", whole, stdin=b"\xb0\xa1\n"), DataError, "<stdin>:1: ",
          "It looks like cp949: set --encoding cp949")  # fmt: skip
    (tmp_path / "in.txt").write_bytes(b"\xb0\xa1\n")
    check(run_cli("predict", whole, tmp_path / "in.txt"), DataError, f"{tmp_path / 'in.txt'}:1: ")
    assert run_cli("predict", whole, tmp_path / "in.txt", "--encoding", "cp949").code == 0
    check(run_cli("predict", whole, stdin=b"x" * 1_200_000), DataError, "<stdin>:1: ", "longer")
    check(run_cli("predict", whole, stdin=b"a\0\n"), DataError, "<stdin>:1: ", "NUL")
    check(run_cli("predict", whole, tmp_path / "no.txt"), DataError, "no.txt: there is no such")
    check(run_cli("predict", whole, "--encoding", "utf-9", stdin=b"a\n"), ConfigError, "utf-9",
          "--encoding")  # fmt: skip
    for value in ("two", "null"):
        check(run_cli("predict", whole, "--set", f"search.n_best={value}", stdin=b"a\n"),
              ConfigError, "search.n_best")  # fmt: skip
    check(run_cli("generate", whole), InputError, "is no language model", "jumok train-lm")
    (tmp_path / "blank.txt").write_bytes(b"\n \n")
    check(run_cli("train-lm", tmp_path / "blank.txt", "--output", tmp_path / "lm"), DataError,
          "blank.txt", "texts were expected, one a line")  # fmt: skip
    check(run_cli("train-lm", tmp_path / "blank.txt"), ConfigError, "--output DIRECTORY")
    check(run_cli("train", tmp_path / "blank.txt", "--preset", "language-model", "--output",
                  tmp_path / "lm"), ConfigError, "jumok train-lm FILE")  # fmt: skip
    check(run_cli("train-lm", tmp_path / "blank.txt", "--output", tmp_path / "lm", "--set",
                  "model.kind=seq2seq"), ConfigError, "leave that as it is")  # fmt: skip
    (tmp_path / "words.tsv").write_bytes(b"a\tb\nc\n")
    replace = ("--set", "search.replace_unknown=true")
    check(run_cli("predict", whole, *replace, "--dictionary", tmp_path / "words.tsv", stdin=b"a\n"),
          DataError, "words.tsv:2: ", "2 columns divided by a tab", "'c' came")  # fmt: skip
    (tmp_path / "words.tsv").write_bytes(b"a\tb\n\nc\td\na\tb\nc\te\n")
    check(run_cli("predict", whole, *replace, "--dictionary", tmp_path / "words.tsv", stdin=b"a\n"),
          DataError, "words.tsv:5: ", "line 3 says 'd' and this one 'e'")  # fmt: skip
    (tmp_path / "words.tsv").write_bytes("가\tb\n\u1100\u1161\td\n".encode())
    check(run_cli("predict", whole, *replace, "--dictionary", tmp_path / "words.tsv", stdin=b"a\n"),
          InputError, "one entry for a source token, but 'b' and 'd' came")  # fmt: skip
    check(run_cli("predict", whole, "--choices", tmp_path / "no.txt", stdin=b"a\n"), DataError,
          "no.txt: there is no such")  # fmt: skip
    check(run_cli("predict", whole, "--prefix", "?", stdin=b"a\n"), InputError,
          "jumok: A prefix must be something the model can write")  # fmt: skip
    longest = ("--set", "search.max_length_ratio=1", "--set", "search.max_length_offset=1")
    result = run_cli("predict", whole, *longest, "--set", "search.required=가가가",
                     stdin=b"abcd\n\na\nabc\n")  # fmt: skip
    assert len(result.out.splitlines()) == 2 and "가가가" in result.out.splitlines()[0]
    assert "<stdin>:3: The search found no output that meets all that is asked" in result.err
    check(run_cli("predict", whole, "--device", "gpu", stdin=b"a\n"), ConfigError, "'gpu' came")
    check(run_cli("predict", whole, "--set", "search.bean=2", stdin=b"a\n"), ConfigError,
          "Did you mean 'search.beam'?")  # fmt: skip
    check(run_cli("explain", whole, ""), InputError, "the text is empty")
    check(run_cli("explain", whole, "a\udcff"), InputError, "valid Unicode")
    check(run_cli("explain", whole, "abc", "--output", tmp_path / "map.pdf"), ConfigError, ".svg")
    nowhere = run_cli("explain", whole, "abc", "--output", tmp_path / "no" / "map.svg")
    check(nowhere, StorageError, f"Could not write {tmp_path / 'no' / 'map.svg'}")
    (tmp_path / "t.tsv").write_bytes(b"abc\n")
    check(run_cli("evaluate", whole, tmp_path / "t.tsv"), DataError, f"{tmp_path / 't.tsv'}:1: ")


def test_pairs_that_cannot_be_aligned(whole, tmp_path):
    good = "abc\t다나가\n".encode()
    three = run_cli("align", whole, "-", stdin=good * 3).out
    assert len(three.splitlines()) == 3
    # what came before is answered: a bad line, a text that is too long, in the second window too
    for count in (3, 1030):
        (tmp_path / "p.tsv").write_bytes(good * count + b"abc\n" + good)
        result = run_cli("align", whole, tmp_path / "p.tsv")
        assert result.out == three.splitlines(keepends=True)[0] * count
        assert result.code == DataError.exit_code
        assert result.err.startswith(f"jumok: {tmp_path / 'p.tsv'}:{count + 1}: 2 columns")
    result = run_cli("align", whole, "-", stdin=good * 3 + b"ab" * 600 + b"\tc\n" + good)
    assert (result.code, result.out) == (InputError.exit_code, three)
    assert result.err.startswith("jumok: pair 4 of -: A text may have search.max_source_length")
    skip = ["--set", "data.skip_bad_lines=true"]
    result = run_cli("align", whole, "-", *skip, stdin=good + b"x\n" + b"ab" * 600 + b"\tc\n")
    assert result.err.startswith("jumok: pair 3 of -: ") and len(result.out.splitlines()) == 2
    # files with unlike numbers of lines, none, or the wrong ones
    (tmp_path / "s.txt").write_bytes(b"abc\nab\n")
    (tmp_path / "t.txt").write_bytes("다나가\n".encode())
    result = run_cli("align", whole, f"{tmp_path / 's.txt'},{tmp_path / 't.txt'}")
    assert (result.code, result.out) == (DataError.exit_code, three.splitlines(True)[0])
    assert "this line has no partner: the file has 2 lines" in result.err
    check(run_cli("align", whole, tmp_path / "no.tsv"), DataError, "there is no such file")
    check(run_cli("align", whole, "-", stdin=b""), DataError, "<stdin>: pairs were expected")
    check(run_cli("align", whole, "-", "--set", "data.format=parallel", stdin=good), DataError,
          "two files as SOURCE,TARGET, but a stream came")  # fmt: skip
    check(run_cli("align", whole, "-", stdin=b"\xb0\xa1\tb\n"), DataError, "<stdin>:1: ", "cp949")
    check(run_cli("align", whole, "-", "--set", "data.encoding=utf-9", stdin=good), ConfigError,
          "data.encoding=utf-9 is not")  # fmt: skip
    assert run_cli("align", whole).code == 2
    # what makes no sense beside given texts
    check(run_cli("align", whole, "-", "--set", "search.beam=2", stdin=good), ConfigError,
          "search.beam is of no use")  # fmt: skip
    check(run_cli("align", whole, "-", "--set", "train.seed=2", stdin=good), ConfigError, "fixed")
    check(run_cli("align", whole, "-", "--symmetrise", "union", stdin=good), ConfigError,
          "there is one", "--reverse-model")  # fmt: skip
    check(run_cli("align", whole, "-", "--reverse-model", whole, stdin=good), InputError,
          "must read targets and write sources")  # fmt: skip
    check(run_cli("align", whole, "-", "--reverse-model", tmp_path / "no", stdin=good), BundleError,
          "There is no model directory")  # fmt: skip
    assert run_cli("align", whole, "-", "--symmetrise", "grow", stdin=good).code == 2


def test_a_pair_that_cannot_be_judged_is_named(whole, tmp_path):
    good, long = "abc\t다나가\n".encode(), b"ab" * 600 + b"\tc\n"
    (tmp_path / "p.tsv").write_bytes(good * 3)
    (tmp_path / "q.tsv").write_bytes(b"bad\n" + good + long + long)
    files = (tmp_path / "p.tsv", tmp_path / "q.tsv")
    said = f"pair 6 of {files[0]} {files[1]}: A text may have search.max_source_length=1000"
    skip = ("--set", "data.skip_bad_lines=true")
    check(run_cli("evaluate", whole, *files, *skip), InputError, f"jumok: {said}")
    # by its outputs alone, and by its perplexity
    (tmp_path / "out.txt").write_bytes(b"a\nb\n")
    for other in (tmp_path / "out.txt", whole):
        check(run_cli("compare", whole, other, *files, *skip), InputError, f"jumok: {said}")


def test_lines_before_a_bad_one_are_answered(whole):
    result = run_cli("predict", whole, stdin=b"abc\nab\n\xff\n")
    assert result.code == DataError.exit_code
    assert result.out == run_cli("predict", whole, stdin=b"abc\nab\n").out
    assert result.err.startswith("jumok: <stdin>:3: ")


def test_lines_before_one_that_is_too_long_are_answered(whole, tmp_path):
    good = b"abc\n" * 1030  # more than are read at once
    (tmp_path / "in.txt").write_bytes(good + b"ab" * 600 + b"\nabc\n")
    result = run_cli("predict", whole, tmp_path / "in.txt")
    assert result.code == InputError.exit_code
    assert result.out == run_cli("predict", whole, stdin=good).out
    assert result.err.startswith(f"jumok: {tmp_path / 'in.txt'}:1031: ")
    check(run_cli("predict", whole, stdin=b"ab" * 600 + b"\n"), InputError, "<stdin>:1: ")


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [("p.tsv", b"a\tb\n", ["2", ""]), ("p.csv", b"source,target\na,b\n", ["target", "target"]),
     ("p.jsonl", b'{"source": "a", "target": "b"}\n', ["source", "source"])],
)  # fmt: skip
def test_both_sides_from_one_column(tmp_path, name, content, columns):
    (tmp_path / name).write_bytes(content)
    options = as_options(
        {"data.source_column": columns[0], "data.target_column": columns[1], **SIZES}
    )
    result = run_cli("train", tmp_path / name, "--output", tmp_path / "run", *options)
    check(result, ConfigError, "would both be column")


def test_a_model_without_attention_has_nothing_to_show(tmp_path):
    path = write_pairs(tmp_path / "p.tsv", backwards(letters(30, 2, 4)))
    settings = {**SIZES, "model.attention.score": "none", "model.attention.input_feeding": False}
    jumok.train(path, output=tmp_path / "run", settings=settings)
    result = run_cli("explain", tmp_path / "run", "abc")
    check(result, InputError, "no attention to show")
    result = run_cli("align", tmp_path / "run", path)
    check(result, InputError, "Pairs are aligned by attention", "model.attention.score=none")
    json_line = run_cli("predict", tmp_path / "run", "--format", "jsonl", stdin=b"abc\n")
    assert json.loads(json_line.out)["attention"] is None
