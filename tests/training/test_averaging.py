"""Means of weights, and the models of validations that they are made of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from runs import records, run_cli, train_small
from safetensors.numpy import load_file
from test_interrupt_and_resume import SETTINGS, stop_after

import jumok
from jumok.bundle import read_bundle
from jumok.errors import BundleError, ConfigError, Interrupted

KEPT = {**SETTINGS, "train.keep_checkpoints": 3}
"""27 updates; validations at 5, 10, 15, 20, 25, 27."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_small(tmp_path_factory.mktemp("kept"), KEPT)


def names(run: Path) -> set[str]:
    return {path.name for path in (run / "checkpoints").iterdir()}


def contents(run: Path) -> dict[str, bytes]:
    found = (run / "checkpoints").glob("*/model.safetensors")
    return {path.parent.name: path.read_bytes() for path in found}


def weights(model: Path) -> dict[str, np.ndarray]:
    return load_file(model / "model.safetensors")


def test_the_models_of_the_last_validations_are_kept(run: Path) -> None:
    assert names(run) == {"step-20", "step-25", "step-27"}
    for record in records(run)[-3:]:
        kept = read_bundle(run / "checkpoints" / f"step-{record['step']}")
        assert kept.metrics == record
    best = [record["step"] for record in records(run) if record["best"]][-1]
    assert contents(run)[f"step-{best}"] == (run / "best" / "model.safetensors").read_bytes()
    # they are the judged ones: with a moving average, not the weights that are trained
    trained, judged = weights(run / "last"), weights(run / "checkpoints" / "step-27")
    assert any((trained[name] != judged[name]).any() for name in judged)


def test_a_mean_is_a_model(run: Path, tmp_path: Path) -> None:
    kept = sorted((run / "checkpoints").iterdir())
    result = run_cli("average", *kept, "--output", tmp_path / "mean")
    assert (result.code, result.err) == (0, "")
    assert result.out == f"the mean of 3 models is in {tmp_path / 'mean'}\n"
    mean, parts = weights(tmp_path / "mean"), [weights(path) for path in kept]
    for name, array in mean.items():
        assert array.dtype == np.float32
        exact = np.stack([part[name] for part in parts]).astype(np.longdouble).mean(axis=0)
        np.testing.assert_array_equal(array, exact.astype(np.float32), err_msg=name)
    bundle = read_bundle(tmp_path / "mean")
    assert [one["step"] for one in bundle.metrics["mean_of"]] == [20, 25, 27]
    card = (tmp_path / "mean" / "README.md").read_text(encoding="utf-8")
    for path, one in zip(kept, bundle.metrics["mean_of"], strict=True):
        assert one["sha256"] == read_bundle(path).hashes["model.safetensors"]
        told = f"- {path.name}, step {one['step']} (SHA-256 of its weights: {one['sha256']})"
        assert told in card
    assert "not judged yet" in card and "| exact_match |" not in card
    assert jumok.load(tmp_path / "mean").predict("abc").text


def test_float64_is_what_means_are_taken_in(run: Path, tmp_path: Path) -> None:
    """1e8 + 1 - 1e8 is 0 in float32."""
    from jumok.bundle import write_bundle

    bundle, tensors = read_bundle(run), weights(run / "best")
    for number, value in enumerate((1e8, 1.0, -1e8)):
        arrays = {name: np.full_like(array, value) for name, array in tensors.items()}
        tokenizers = bundle.source_tokenizer, bundle.target_tokenizer
        write_bundle(tmp_path / f"{number}", bundle.config, *tokenizers, arrays, {})
    mean = jumok.average([tmp_path / name for name in "012"], tmp_path / "mean")
    for array in weights(mean).values():
        np.testing.assert_array_equal(array, np.float32(1 / 3))


@pytest.mark.parametrize("updates", [3, 12, 22])
def test_a_resumed_run_keeps_what_an_uninterrupted_run_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Path, updates: int
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("jumok.training.run.listen", stop_after(updates))
        train_small(tmp_path, KEPT)
    killed = tmp_path / "run"
    # and as a kill leaves it: later models than the checkpoint's, one half removed
    for step in (25, 26):
        shutil.copytree(run / "checkpoints" / "step-25", killed / f"checkpoints/step-{step}")
    half = killed / "checkpoints" / ".step-1.new"
    half.mkdir()
    (half / "config.json").write_text("{", encoding="utf-8")
    jumok.resume(killed)
    assert names(killed) == names(run)
    assert contents(killed) == contents(run)


def test_fewer_may_be_kept_later(run: Path, tmp_path: Path) -> None:
    longer = shutil.copytree(run, tmp_path / "run")
    (longer / "checkpoints" / "step-10-mine").mkdir()  # somebody's own
    jumok.resume(longer, {"train.keep_checkpoints": 2, "train.max_epochs": 4})
    assert names(longer) == {"step-35", "step-36", "step-10-mine"}


def test_models_that_do_not_belong_together_are_a_sentence(run: Path, tmp_path: Path) -> None:
    last, mean = run / "last", tmp_path / "mean"
    settings = {**SETTINGS, "train.max_epochs": 1}
    seed = train_small(tmp_path / "seed", {**settings, "train.seed": 2})
    with pytest.raises(ConfigError, match=r"train\.seed is 1 in .* and 2 in .* --ensemble"):
        jumok.average([last, seed], mean)
    deep = train_small(tmp_path / "deep", {**settings, "model.encoder.layers": 2})
    with pytest.raises(ConfigError, match=r"model\.encoder\.layers is 1 in .* and 2 in "):
        jumok.average([last, deep], mean)
    other = train_small(tmp_path / "other", settings, count=30)
    assert (other / "best/source.tokenizer.json").read_bytes() != (
        last / "source.tokenizer.json"
    ).read_bytes()
    with pytest.raises(ConfigError, match=r"source\.tokenizer\.json is another in "):
        jumok.average([last, other], mean)
    with pytest.raises(ConfigError, match="two models or more, but 1 came"):
        jumok.average([last], mean)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(ConfigError, match=r"full is not empty\. Give a new one$"):
        jumok.average([last, run], tmp_path / "full")
    with pytest.raises(BundleError, match="no model directory"):
        jumok.average([last, tmp_path / "nothing"], mean)
    torn = shutil.copytree(run / "best", tmp_path / "torn")
    raw = bytearray((torn / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (torn / "model.safetensors").write_bytes(raw)
    with pytest.raises(BundleError, match="SHA-256"):
        jumok.average([last, torn], mean)
    assert not mean.exists()
    assert run_cli("average", last, seed, "--output", mean).code == ConfigError.exit_code


def test_training_settings_may_differ(run: Path, tmp_path: Path) -> None:
    """A run that went on with others, or two that began alike."""
    slow = train_small(tmp_path, {**KEPT, "train.learning_rate": 0.001})
    mean = jumok.average([run, slow], tmp_path / "mean")
    metrics = json.loads((mean / "metrics.json").read_text(encoding="utf-8"))
    assert len(metrics["mean_of"]) == 2


def test_a_directory_with_a_hidden_file_is_not_replaced(
    tmp_path: Path,
) -> None:
    output = tmp_path / "mean"
    output.mkdir()
    (output / ".kept").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not empty"):
        jumok.average(["one", "two"], output)
    assert (output / ".kept").read_text(encoding="utf-8") == "mine"
