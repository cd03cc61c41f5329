"""Tiny models as bundles, and exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import config
from tiny import tiny_predictor

from jumok.bundle import write_bundle
from jumok.export import Exports
from jumok.export import export as export_model
from jumok.prediction import Prediction
from jumok.predictor import Predictor

IN_EIGHT_BITS = 0.02
"""How far scores may be apart in 8 bits, where the last bit of a float32 may come to be a step."""


WITHOUT = """
import sys
for name in {names}:
    sys.modules[name] = None  # as if it were not installed
from jumok.cli import main
main()
"""
"""`jumok` where some packages are missing."""
TORCH = ("torch", "entmax", "onnx", "onnxscript")
JUDGES = ("rapidfuzz", "sacrebleu", "lxml")


@contextmanager
def unchecked() -> Iterator[None]:
    """No annotations are checked: while a model is traced, sizes are symbols and no numbers, and
    onnxruntime's int64 is another type of numpy's than numpy's own."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)


def export(path: Path, int8: bool = True) -> Exports:
    """`jumok.export.export`."""
    with unchecked():
        return export_model(path, int8)


def write_tiny(path: Path, name: str, seed: int = 3) -> Path:
    """A random model of a preset's or mechanism's kind, in float32, as a bundle."""
    return write(path, tiny_predictor(name, seed))


def write(path: Path, predictor: Predictor) -> Path:
    """A model as a bundle, in float32."""
    tensors = predictor.engine.model.float().state_dict()
    write_bundle(
        path,
        predictor.config,
        predictor.source_tokenizer,
        predictor.target_tokenizer,
        {key: tensor.numpy() for key, tensor in tensors.items()},
        {},
    )
    return path


SOURCES = ["abc", "가각 d", "", "eeee dcba", "a", "bcd e", "힣b", "dab", "cc"]


@pytest.fixture(scope="session")
def exported_beam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model whose own settings are a beam and a length penalty, both of which tell in
    its outputs for `SOURCES`."""
    search = {"beam": 4, "length_penalty": "gnmt", "length_alpha": 1.5}
    settings: dict[str, object] = {f"search.{key}": value for key, value in search.items()}
    path = tmp_path_factory.mktemp("beam") / "model"
    write(path, tiny_predictor("luong2015", 28, settings))
    export(path, int8=False)
    return path


def assert_equal(one: Prediction, other: Prediction, atol: float = 1e-4) -> None:
    """The same output with the same evidence."""
    assert (one.text, one.tokens) == (other.text, other.tokens)
    # a sum over the tokens in float32: where it is large, so is its last digit
    assert one.score == pytest.approx(other.score, abs=atol, rel=2e-5)
    np.testing.assert_allclose(one.token_log_probs, other.token_log_probs, atol=atol)
    for field in ("attention", "attention_heads", "feature_attention"):
        ours, theirs = getattr(one, field), getattr(other, field)
        assert (ours is None) == (theirs is None), field
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, atol=atol)
    assert one.copied == other.copied
    assert len(one.alternatives) == len(other.alternatives)
    for ours, theirs in zip(one.alternatives, other.alternatives, strict=True):
        assert_equal(ours, theirs, atol)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The exported model of a name, made once."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = write_tiny(tmp_path_factory.mktemp("model") / "model", name)
            export(made[name])
        return made[name]

    return get
