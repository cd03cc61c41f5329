"""The file of a shortlist: read as it was written, and not at all where it is of another model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save
from tiny import tiny_predictor, tiny_shortlist

from jumok.bundle import Bundle, read_bundle, read_shortlist, write_bundle, write_shortlist
from jumok.errors import BundleError
from jumok.predictor import load


def model(path: Path, seed: int) -> Bundle:
    """A random model, as a bundle."""
    predictor = tiny_predictor("luong2015", seed)
    tensors = predictor.engine.model.float().state_dict()
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    tokenizers = predictor.source_tokenizer, predictor.target_tokenizer
    write_bundle(path, predictor.config, *tokenizers, arrays, {})
    return read_bundle(path)


def test_it_is_read_as_it_was_written_and_used(tmp_path: Path) -> None:
    bundle = model(tmp_path / "model", 1)
    assert read_shortlist(bundle) is None
    written = tiny_shortlist(tiny_predictor("luong2015", 1), 3, most=3, frequent=2)
    path = write_shortlist(bundle, written)
    assert {*load_file(path)} == {"indptr", "tokens", "frequent"}
    read = read_shortlist(bundle)
    assert read is not None
    for name in ("indptr", "tokens", "frequent"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    by_hand = {0, 1, 2, 3, *written.frequent.tolist()}
    for token in (2, 5, 7):  # the end of the text, and two of its tokens
        by_hand |= {*written.tokens[written.indptr[token] : written.indptr[token + 1]].tolist()}
    assert {*read.of([5, 7]).tolist()} == by_hand
    assert load(bundle.path).predict("abc", shortlist=True).tokens


def test_that_of_other_weights_is_refused(tmp_path: Path) -> None:
    bundle = model(tmp_path / "model", 1)
    kept = write_shortlist(bundle, tiny_shortlist(tiny_predictor("luong2015", 1), 3, 3, 2))
    content = kept.read_bytes()
    other = model(tmp_path / "model", 2)
    assert read_shortlist(other) is None  # it went with the old model
    (other.path / kept.name).write_bytes(content)
    with pytest.raises(BundleError, match=r"made with another model.*jumok shortlist"):
        read_shortlist(other)
    with pytest.raises(BundleError, match="became another one meanwhile"):
        write_shortlist(bundle, tiny_shortlist(tiny_predictor("luong2015", 1), 3, 3, 2))
    assert kept.read_bytes() == content
    predictor = load(other.path)
    assert predictor.predict("abc").tokens  # whoever does not ask for it does not need it
    with pytest.raises(BundleError, match="made with another model"):
        predictor.predict("abc", shortlist=True)


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    bundle = model(tmp_path / "model", 1)
    path = write_shortlist(bundle, tiny_shortlist(tiny_predictor("luong2015", 1), 3, 3, 2))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match="has changed since"):
        read_shortlist(bundle)
    path.write_bytes(content[:40])
    with pytest.raises(BundleError, match="not a readable safetensors file"):
        read_shortlist(bundle)
    path.write_bytes(save({"indptr": np.zeros(1, dtype=np.int64)}, {"version": "9"}))
    with pytest.raises(BundleError, match="version 9"):
        read_shortlist(bundle)


@pytest.mark.parametrize(("kind", "size"), [("F64", 8), ("U64", 8), ("I32", 4), ("BF16", 2)])
def test_one_of_another_type_is_refused(tmp_path: Path, kind: str, size: int) -> None:
    """Its bytes, and so its hash, are the same."""

    def retype(head: dict[str, dict[str, object]]) -> None:
        [length] = head["indptr"]["shape"]
        head["indptr"].update(dtype=kind, shape=[length * 8 // size])

    refused_where(tmp_path, retype)


def test_one_of_another_shape_is_refused(tmp_path: Path) -> None:
    def reshape(head: dict[str, dict[str, object]]) -> None:
        head["indptr"]["shape"] = [1, *head["indptr"]["shape"]]

    refused_where(tmp_path, reshape)


def refused_where(folder: Path, change: Callable[[dict[str, dict[str, object]]], None]) -> None:
    """A shortlist is refused after a change of its safetensors header."""
    bundle = model(folder / "model", 1)
    path = write_shortlist(bundle, tiny_shortlist(tiny_predictor("luong2015", 1), 3, 3, 2))
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    head = json.loads(content[8:end])
    change(head)
    written = json.dumps(head).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + content[end:])
    with pytest.raises(BundleError, match="has changed since"):
        load(bundle.path).predict("abc", shortlist=True)
