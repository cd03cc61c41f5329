"""Tokenizer files: saved and loaded unchanged, and refused with a sentence when damaged."""

import json
import re

import pytest
import tokenizers as hf
from hypothesis import given
from hypothesis import strategies as st

from jumok.config import TokenizerConfig
from jumok.errors import BundleError
from jumok.text import Tokenizer, train_tokenizer

KINDS = ["char", "jamo", "word", "bpe", "unigram", "split"]
TEXTS = ["주목 해 주세요", "</s> <unk> a|b é", "The cat sat on the mat", "line\nline\ttab \u2028"]
MADE = {k: train_tokenizer(TEXTS, TokenizerConfig(kind=k, separator="|")) for k in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_is_the_same(tmp_path, kind):
    MADE[kind].save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    texts = [*TEXTS, "새 글 xyz", "The|mat"]
    assert again.kind == kind
    assert again.vocab_size == MADE[kind].vocab_size
    assert again.encode_batch(texts) == MADE[kind].encode_batch(texts)
    ids = range(again.vocab_size)
    assert again.decode(ids) == MADE[kind].decode(ids)
    assert again.to_json() == MADE[kind].to_json()


def test_settings_survive(tmp_path):
    config = TokenizerConfig(kind="split", separator="|", lowercase=True)
    train_tokenizer(["A|B"], config).save(tmp_path / "t.json")
    again = Tokenizer.load(tmp_path / "t.json")
    assert again.decode(again.encode("B|a").ids) == "b|a"


def test_file_is_readable_utf8(tmp_path):
    MADE["char"].save(tmp_path / "t.json")
    assert '"주"' in (tmp_path / "t.json").read_bytes().decode("utf-8")


def changed(**changes):
    return json.dumps(json.loads(MADE["char"].to_json()) | changes)


def inner(**changes):
    content = json.loads(MADE["char"].to_json())
    content["tokenizer"] |= changes
    return json.dumps(content)


def model(kind="char", **changes):
    content = json.loads(MADE[kind].to_json())
    content["tokenizer"]["model"] |= changes
    return json.dumps(content)


BROKEN = {
    "empty": ("", "not valid JSON"),
    "cut off": (MADE["bpe"].to_json()[:500], "not valid JSON"),
    "deep": ("[" * 100_000, "not valid JSON"),
    "list": ("[]", "jumok-tokenizer"),
    "foreign": (hf.Tokenizer(hf.models.BPE()).to_str(), "jumok-tokenizer"),
    "newer": (changed(version=2), "version 2 came"),
    "kind": (changed(kind="wordpiece"), "wordpiece"),
    "kind auto": (changed(kind="auto"), "auto"),
    "kind type": (changed(kind=["char"]), "'kind'"),
    "separator": (changed(separator=None), "'separator'"),
    "lowercase": (changed(lowercase=1), "'lowercase'"),
    "no tokenizer": (changed(tokenizer=None), "'tokenizer'"),
    "empty tokenizer": (changed(tokenizer={}), "damaged"),
    "model": (inner(model={"type": "BPE"}), "damaged"),
    "model type": (inner(model={"type": "Nonsense"}), "damaged"),
    "added token": (
        inner(
            added_tokens=[
                {"id": 0, "content": "a", "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False, "special": True}
            ]
        ),
        "added_tokens",
    ),
    "truncation": (inner(truncation={"max_length": 3}), "truncation"),
    "gap": (model(vocab={"<unk>": 0, "a": 2}), "without gaps"),
    "twice": (model(vocab={"<unk>": 0, "a": 0}), "without gaps"),
    "no unk": (model(vocab={"a": 0}), "'<unk>' should be 0|damaged"),
    "unk elsewhere": (model(vocab={"a": 0, "<unk>": 1}), "'<unk>' should be 0"),
    "unigram unk": (model("unigram", unk_id=99), "damaged"),
    "merges": (model("bpe", merges=[["no", "such"]]), "damaged"),
    "vocab type": (model(vocab=[1, 2]), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_damaged_files_are_refused_with_a_sentence(tmp_path, name):
    text, wanted = BROKEN[name]
    path = tmp_path / "tokenizer.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=wanted) as caught:
        Tokenizer.load(path)
    assert str(path) in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_missing_binary_and_directory_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", "binary", "."):
        with pytest.raises(BundleError, match=re.escape(str(tmp_path / name))):
            Tokenizer.load(tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_any_one_changed_value_loads_or_is_refused(kind, data):
    content = json.loads(MADE[kind].to_json())
    here, key = content, data.draw(st.sampled_from(sorted(content)))
    while isinstance(here[key], dict) and here[key] and data.draw(st.booleans()):
        here = here[key]
        key = data.draw(st.sampled_from(sorted(here)))
    here[key] = data.draw(
        st.sampled_from([None, -1, 0, 7, 1e99, "", "x", [], [1], [["a", "b"]], {}, {"type": "NFD"}])
    )
    try:
        tokenizer = Tokenizer.from_json(json.dumps(content))
    except BundleError:
        return
    tokenizer.encode("The 주목 xyz")
