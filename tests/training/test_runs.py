"""Runs: what they write, when they stop, and that equal settings give equal weights."""

import fcntl
import json
import math
import os
import pkgutil
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from unittest import mock

import pytest
import torch
import yaml
from runs import (
    SIZES,
    as_options,
    backwards,
    divided,
    letters,
    records,
    run_cli,
    train_small,
    write_pairs,
)
from safetensors.numpy import load, load_file

import jumok
from jumok.bundle import read_bundle
from jumok.config import resolve
from jumok.errors import Diverged, MissingExtra, TooLarge
from jumok.evaluation import Validation, validate
from jumok.nn.cross_entropy import linear_cross_entropy
from jumok.predictor import Predictor
from jumok.training.progress import ConsoleReporter
from jumok.training.run import _arithmetic
from jumok.training.state import TrainingState, read_state
from jumok.training.trainer import Trainer

STILL = 1e-30
"""A learning rate that changes no float32 weight."""


def weights(run, name="best"):
    return (run / name / "model.safetensors").read_bytes()


def steps(run):
    state = (run / "last" / "training_state.json").read_text(encoding="utf-8")
    return json.loads(state)["step"]


def pairs_of(run):
    return (run.parent / "pairs.tsv").read_text(encoding="utf-8").splitlines()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path):
    settings = {"model.encoder.dropout": 0.2, "train.max_epochs": 1}
    one, same, other = (
        train_small(tmp_path / name, {**settings, "train.seed": seed})
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert weights(one) == weights(same)
    assert weights(one) != weights(other)
    assert records(one)[0]["dev_loss"] == records(same)[0]["dev_loss"]


def test_fast_ways_give_the_weights_that_plain_ways_give(tmp_path):
    """Up to rounding. Without dropout, whose noise lies in another order in packed batches."""
    settings = {"train.max_steps": 4, "train.max_epochs": 9, "train.optimizer": "sgd"}
    found = {}
    for name, fast in (("fast", True), ("plain", False)):
        run = train_small(tmp_path / name, {**settings, "train.fast": fast})
        found[name] = load_file(run / "last" / "model.safetensors")
    for name, plain in found["plain"].items():
        assert found["fast"][name] == pytest.approx(plain, rel=1e-3, abs=1e-5), name


TILED, ONE_TILE = "jumok.nn.additive._Tiled.apply", "jumok.nn.additive._OneTile.apply"
STEP, AT_ONCE = "jumok.nn.shared._Step.apply", "jumok.nn.decoder.Decoder._forward_at_once"
ROADS = {
    "jumok.nn.sequence._over_padding",
    "jumok.nn.cross_entropy._InChunks.apply",
    "jumok.nn.decoder.linear_alone",
    TILED,
    ONE_TILE,
    STEP,
    AT_ONCE,
}
OF_THE_RUN = "jumok.training.run.cpu_arithmetic"


@pytest.mark.parametrize(
    ("feeding", "unused"),
    [(True, {AT_ONCE, TILED}), (False, {STEP})],
    ids=["feeding", "no-feeding"],
)
def test_train_fast_reaches_everything(tmp_path, feeding, unused):
    """By default every fast road is taken; with train.fast=false none, in validation neither."""
    settings = {
        "model.attention.score": "additive",
        "model.attention.hidden": 128,
        "model.attention.input_feeding": feeding,
        "train.batch_size": 144,
        "train.max_epochs": 1,
        "train.average_decay": 0.5,  # what is validated is a copy then
    }
    for name, fast in (("fast", {}), ("plain", {"train.fast": False})):
        with ExitStack() as stack:
            watched = {
                road: stack.enter_context(
                    mock.patch(road, autospec=road == AT_ONCE, side_effect=found)
                )
                for road, found in ((road, pkgutil.resolve_name(road)) for road in ROADS)
            }
            # the vocabulary is too small for more than one chunk of the usual size
            small = partial(linear_cross_entropy, chunk=64)
            stack.enter_context(mock.patch("jumok.training.loss.linear_cross_entropy", small))
            products = stack.enter_context(
                mock.patch(OF_THE_RUN, wraps=pkgutil.resolve_name(OF_THE_RUN))
            )
            adam = stack.enter_context(mock.patch("torch.optim.Adam", wraps=torch.optim.Adam))
            train_small(tmp_path / name, {**settings, **fast})
        taken = {road for road, watch in watched.items() if watch.called}
        assert taken == (set() if fast else ROADS - unused)
        assert products.call_args.args == (1, not fast)
        assert adam.call_args.kwargs["fused"] == (not fast)


def test_bfloat16_products_train_float32_weights(tmp_path):
    settings = {"train.max_steps": 4, "train.max_epochs": 9}
    exact = train_small(tmp_path / "exact", settings)
    rounded = train_small(tmp_path / "rounded", {**settings, "train.precision": "bf16"})
    one, other = (load_file(run / "last" / "model.safetensors") for run in (exact, rounded))
    assert all(array.dtype == "float32" for array in other.values())
    assert any((one[name] != other[name]).any() for name in one)
    assert records(rounded)[-1]["train_loss"] == pytest.approx(
        records(exact)[-1]["train_loss"], rel=0.01
    )


def test_every_validation_is_recorded(tmp_path):
    run = train_small(tmp_path, {"train.validate_every": 4, "train.max_epochs": 2})
    found = records(run)
    for record in found:
        assert set(record) == {
            "step", "epoch", "target_tokens", "train_loss", "dev_loss", "dev_perplexity",
            "exact_match", "teacher_forcing", "forced_token_error", "token_error",
            "learning_rate", "tokens_per_second", "seconds", "validation_seconds", "best",
        }  # fmt: skip
    # 144 of 160 pairs are trained on, in 9 batches of 16; the end is validated too
    assert [r["step"] for r in found] == [4, 8, 12, 16, 18]
    assert [r["epoch"] for r in found] == [0.444, 0.889, 1.333, 1.778, 2]
    assert found[-1]["train_loss"] < found[0]["train_loss"]
    tokens = [r["target_tokens"] for r in found]
    assert 4 * 16 * 3 <= tokens[0] <= 4 * 16 * 6  # targets of 2 to 5 letters, and </s>
    everything = sum(len(line.split("\t")[1]) for line in pairs_of(run)) + 160
    assert everything * 2 * 0.85 < sum(tokens) < everything * 2 * 0.95  # a tenth is held out


def test_best_is_the_model_with_the_best_figure(tmp_path):
    run = train_small(tmp_path, {"train.max_epochs": 8, "train.patience": 8}, count=400)
    found = records(run)
    best = max(r["exact_match"] for r in found)
    assert best > 0
    chosen = min((r for r in found if r["exact_match"] == best), key=lambda r: r["dev_loss"])
    assert [r for r in found if r["best"]][-1] == chosen
    kept = json.loads((run / "best" / "metrics.json").read_text(encoding="utf-8"))
    assert kept == chosen
    # measured again, on the pairs that were held out
    train, dev = divided(run.parent / "pairs.tsv")
    again = jumok.evaluate(jumok.load(run), dev)
    assert again["exact_match"] == pytest.approx(best)
    assert again["perplexity"] == pytest.approx(chosen["dev_perplexity"], rel=1e-4)
    log = (run / "train.log").read_text(encoding="utf-8")
    assert "no dev file was given: 10% of the pairs are held out" in log
    assert f"{len(train)} training pairs, {len(dev)} validation pairs" in log
    assert len(dev) == 40


def test_validate_pairs_limits_the_validation(tmp_path):
    run = train_small(tmp_path, {"train.max_epochs": 1, "train.validate_pairs": 3})
    _, dev = divided(tmp_path / "pairs.tsv")
    again = jumok.evaluate(jumok.load(run), dev[:3])
    assert records(run)[0]["dev_perplexity"] == pytest.approx(again["perplexity"], rel=1e-4)
    whole = jumok.evaluate(jumok.load(run), dev)
    assert whole["perplexity"] != pytest.approx(again["perplexity"], rel=1e-4)


def test_patience_stops_and_plateau_lowers_the_rate(tmp_path):
    run = train_small(
        tmp_path,
        {
            "train.learning_rate": STILL,
            "train.schedule": "plateau",
            "train.plateau_factor": 0.5,
            "train.patience": 4,
            "train.max_epochs": 50,
        },
    )
    found = records(run)
    # the first figure is the best so far; four that are not better follow
    assert [r["best"] for r in found] == [True, False, False, False, False]
    rates = [r["learning_rate"] / STILL for r in found]
    assert rates == pytest.approx([1, 1, 0.5, 0.25, 0.125])


def test_a_lower_figure_is_better_where_it_is_an_error_rate(tmp_path):
    run = train_small(tmp_path, {"evaluation.metric": "perplexity", "train.max_epochs": 3})
    found = [r["perplexity"] for r in records(run)]
    assert found == sorted(found, reverse=True)
    assert all(r["best"] for r in records(run))
    assert found == pytest.approx([r["dev_perplexity"] for r in records(run)], rel=1e-4)


def test_limits_of_steps_and_minutes_and_epochs(tmp_path):
    forever = {"train.max_epochs": 10**6, "train.patience": 10**6, "train.learning_rate": STILL}
    run = train_small(tmp_path / "steps", {**forever, "train.max_steps": 12})
    assert steps(run) == 12
    assert records(run)[-1]["step"] == 12
    run = train_small(tmp_path / "minutes", {**forever, "train.max_minutes": 0.005})
    assert 0.3 <= read_state(run / "last")[0].seconds < 20  # the last validation's among them
    # where batches hold so many tokens, epochs have unlike numbers of them
    run = train_small(tmp_path / "epochs", {"train.batch_tokens": 40, "train.max_epochs": 3})
    assert [r["epoch"] for r in records(run)] == [1, 2, 3]


def test_a_validation_may_be_what_ends_the_time(tmp_path, monkeypatch):
    """Nothing is trained, and nothing judged again, when the time was over before."""
    judge = validate

    def slowly(*arguments):
        time.sleep(3.0)
        return judge(*arguments)

    monkeypatch.setattr("jumok.training.run.validate", slowly)
    endless = {"train.max_epochs": 10**6, "train.validate_every": 1, "train.max_minutes": 0.05}
    run = train_small(tmp_path, {**endless, "train.learning_rate": STILL})
    assert [r["step"] for r in records(run)] == [1]
    state = json.loads((run / "last" / "training_state.json").read_text(encoding="utf-8"))
    assert state["seconds"] >= 3.0


def test_linear_ends_at_zero(tmp_path):
    run = train_small(tmp_path, {"train.schedule": "linear", "train.warmup_steps": 3})
    assert records(run)[-1]["learning_rate"] == 0
    assert records(run)[0]["learning_rate"] == pytest.approx(0.01 * (1 - 6 / 15))


def test_the_moving_average_is_what_is_kept(tmp_path):
    settings = {"train.max_steps": 1, "train.max_epochs": 9, "train.average_decay": 0.5}
    once = train_small(tmp_path / "once", settings)
    assert weights(once) == weights(once, "last")  # the first average is the weights
    twice = train_small(tmp_path / "twice", {**settings, "train.max_steps": 2})
    first, second, average = (
        load_file(path / "model.safetensors")
        for path in (once / "last", twice / "last", twice / "best")
    )
    for name in average:
        expected = 0.5 * first[name] + 0.5 * second[name]
        assert average[name] == pytest.approx(expected, rel=1e-5, abs=1e-7), name


def test_bad_lines_are_skipped_counted_and_named(tmp_path):
    path = write_pairs(tmp_path / "p.tsv", backwards(letters(40, 2, 4)))
    with path.open("a", encoding="utf-8") as file:
        file.write("alone\n" * 12)
    args = ["train", path, "--output", tmp_path / "run", "--skip-bad-lines"]
    settings = {**SIZES, "train.max_epochs": 1}
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    result = run_cli(*args, *options)
    assert result.code == 0
    lines = [line for line in result.err.splitlines() if line.startswith(f"{path}:")]
    assert len(lines) == 10
    assert lines[0].startswith(f"{path}:41: 2 columns")
    assert lines[0].endswith("(skipped)")
    assert "\n12 bad lines skipped\n" in result.err
    assert "36 training pairs, 4 validation pairs" in result.err


def test_a_run_that_runs_away_is_stopped_with_advice(tmp_path, monkeypatch):
    update, before = Trainer.update, []
    monkeypatch.setattr(
        Trainer, "update", lambda *given: (before.append(torch.get_rng_state()), update(*given))
    )
    settings = {
        "model.encoder.dropout": 0.1,
        "train.optimizer": "sgd",
        "train.learning_rate": 1e30,
        "train.clip_norm": 1e30,
        "evaluation.metric": "perplexity",
    }
    with pytest.raises(Diverged, match=r"at step 2.*Begin again.*train\.learning_rate=1e\+29"):
        train_small(tmp_path, settings)
    run = tmp_path / "run"
    assert not (run / "best").exists() and not (run / "last").exists()
    batch = (run / "stopped" / "batch.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(batch) == 16
    for pair in map(json.loads, batch):
        line = f"{pair['source']}\t{pair['target']}"
        lines = [n for n, other in enumerate(pairs_of(run), start=1) if other == line]
        assert pair["places"] == [f"{run.parent / 'pairs.tsv'}:{n}" for n in lines][:10]
        assert pair["places"]
    assert read_bundle(run / "stopped").metrics["step"] == 1
    # the model is that before the update, and so are the random numbers
    state, arrays = read_state(run / "stopped")
    assert state.step == 1
    assert (arrays["rng.cpu.0"] == before[-1]).all()
    assert not (torch.get_rng_state() == before[-1]).all()


def test_a_loss_that_shoots_up_stops_the_run_and_it_can_go_on(tmp_path):
    run = train_small(tmp_path, {"train.max_epochs": 2})
    high = {"train.max_epochs": 9, "train.learning_rate": 30, "train.max_loss_rise": 2.5}
    with pytest.raises(
        Diverged, match=r"shot up to .* \(train\.max_loss_rise=2\.5\).*=3; or,.*max_loss_rise=null$"
    ):
        jumok.resume(run, high)
    assert steps(run) == 18  # the checkpoint before is as it was
    assert read_state(run / "stopped")[0].step >= 18
    low = {"train.max_epochs": 3, "train.learning_rate": 0.01, "train.max_loss_rise": None}
    jumok.resume(run, low)
    assert steps(run) == 27


@pytest.mark.parametrize("rows", [1, 16])
def test_a_loss_shoots_up_less_soon_where_an_update_is_small(tmp_path, monkeypatch, rows):
    """129 pairs in batches of 16: the last has one. Of such batches the loss is 4 higher, once."""
    loss, high = Trainer._loss, []

    def higher(self, batch, given):
        if self.state.step > 1 and len(batch.source) == rows and not high:
            high.append(self.state.step)
            return loss(self, batch, given) + 4
        return loss(self, batch, given)

    monkeypatch.setattr(Trainer, "_loss", higher)
    settings = {"train.max_epochs": 1}
    if rows == 1:
        train_small(tmp_path, settings, count=143)
    else:
        with pytest.raises(Diverged, match=r"[34]\.\d+ above its mean"):
            train_small(tmp_path, settings, count=143)
    assert high


def test_accumulated_batches_are_one_large_batch(tmp_path):
    """All 144 pairs in one update: at once, or in nine parts of unlike lengths."""
    settings = {"train.optimizer": "sgd", "train.max_epochs": 3}
    whole = train_small(tmp_path / "whole", {**settings, "train.batch_size": 144})
    parts = train_small(tmp_path / "parts", {**settings, "train.accumulate": 9})
    assert steps(whole) == steps(parts) == 3
    one, other = (load_file(run / "last" / "model.safetensors") for run in (whole, parts))
    for name, array in one.items():
        assert other[name] == pytest.approx(array, rel=1e-3, abs=1e-6), name
    assert [r["train_loss"] for r in records(parts)] == pytest.approx(
        [r["train_loss"] for r in records(whole)], rel=1e-5
    )
    uneven = train_small(tmp_path / "uneven", {"train.accumulate": 4, "train.max_epochs": 2})
    assert steps(uneven) == 6  # of 4, 4 and 1 batches, twice


def test_tokens_given_and_tokens_wrong_are_recorded(tmp_path):
    settings = {
        "train.teacher_forcing.decay": "linear",
        "train.teacher_forcing.c": 0.05,
        "train.teacher_forcing.least": 0.2,
        "train.validate_every": 6,
    }
    run = train_small(tmp_path, settings)
    found = records(run)
    assert [r["teacher_forcing"] for r in found] == pytest.approx([0.75, 0.45, 0.2])
    assert "45% given" in (run / "train.log").read_text(encoding="utf-8")
    # measured again: by forced scoring and by greedy outputs
    _, dev = divided(run.parent / "pairs.tsv")
    model, best = jumok.load(run), next(r for r in reversed(found) if r["best"])
    outputs = model.predict([pair.source for pair in dev], beam=1)
    edits = tokens = 0
    for output, pair in zip(outputs, dev, strict=True):
        wanted = [*pair.target, "</s>"]
        edits += levenshtein(output.tokens, wanted)
        tokens += len(wanted)
    assert best["token_error"] == pytest.approx(100 * edits / tokens)
    edits = 0
    for pair in dev:
        forced = [
            model.predict(pair.source, beam=1, prefix=pair.target[:t]).tokens[t]
            for t in range(len(pair.target) + 1)
        ]
        edits += levenshtein(forced, [*pair.target, "</s>"])
    assert best["forced_token_error"] == pytest.approx(100 * edits / tokens)


def test_an_unknown_token_is_wrong_given_or_not(tmp_path):
    """So that the two errors differ by what the model reads alone."""
    pairs = [(text, text) for text in letters(120, 2, 4)]  # whose words come once
    train = write_pairs(tmp_path / "train.tsv", [*pairs, ("a", "x"), ("b", "x")])
    dev = write_pairs(tmp_path / "dev.tsv", pairs[:20])
    settings = {**SIZES, "text.target.kind": "word", "text.target.min_count": 2}
    jumok.train(train, dev=dev, output=tmp_path / "run", settings=settings)
    for record in records(tmp_path / "run"):
        assert record["forced_token_error"] == record["token_error"] == 50  # `</s>` is right


def test_of_several_references_each_is_compared_as_with_forced_tokens(tmp_path):
    model = jumok.load(train_small(tmp_path, {"train.max_epochs": 1}))
    pairs = [("abc", "다나가"), ("abc", "가"), ("abc", "가"), ("de", "마라")]
    outputs = model.predict([source for source, _ in pairs])
    wanted = [[*target, "</s>"] for _, target in pairs]
    edits = sum(levenshtein(one.tokens, two) for one, two in zip(outputs, wanted, strict=True))
    expected = 100 * edits / sum(map(len, wanted))
    assert validate(model, pairs).token_error == pytest.approx(expected)


def levenshtein(one, other):
    """By the definition (Wagner & Fischer 1974)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        before, row = row, [i]
        for j, b in enumerate(other, start=1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
    return row[-1]


def test_the_advice_after_running_away_works(tmp_path, monkeypatch):
    run = train_small(tmp_path, {"train.max_epochs": 1})
    with monkeypatch.context() as patch:
        patch.setattr("jumok.training.run.validate", lambda *_: Validation(float("nan"), 0.0))
        failed = run_cli("train", "--resume", run, "--set", "train.max_epochs=2")
    advice = failed.err.partition("jumok train ")[2].split()
    assert failed.code == Diverged.exit_code, failed.err
    assert advice == ["--resume", str(run), "--set", "train.learning_rate=0.001"]
    again = run_cli("train", *advice, "--set", "train.max_epochs=2")
    assert again.code == 0, again.err
    assert "(train.max_epochs=2)" in again.err  # why it ended


def test_config_yaml_is_the_run_and_makes_it_again(tmp_path):
    run = train_small(tmp_path, {"text.source.kind": "auto", "train.max_epochs": 1})
    tree = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert tree["text"]["source"]["kind"] == "char"  # settled by the data
    settings = {
        f"{section}.{key}": value
        for section in ("train", "search", "evaluation")
        for key, value in tree[section].items()
    }
    forcing = settings.pop("train.teacher_forcing")
    settings |= {f"train.teacher_forcing.{key}": value for key, value in forcing.items()}
    model = dict(tree["model"])
    assert model.pop("kind") == "seq2seq"
    more = {f"model.{part}.{k}": v for part, values in model.items() for k, v in values.items()}
    again = train_small(tmp_path / "again", {**settings, **more})
    assert weights(again) == weights(run)


def test_a_model_holds_no_path_of_the_training_files(tmp_path):
    private = tmp_path / "private"
    of_files = {"data.cache": str(private / "cache"), "data.weights": [2.0]}
    run = train_small(private, {"train.max_epochs": 1, **of_files})
    assert jumok.load(run).config.data.weights == ()
    for path in (run / "best").iterdir():
        assert b"private" not in path.read_bytes(), path


def test_equal_figures_are_told_apart_by_the_loss(tmp_path):
    # nothing is right at first, and the model gets better all the same: it must not be given up
    run = train_small(
        tmp_path, {"train.learning_rate": 3e-4, "train.max_epochs": 6, "train.patience": 2}
    )
    found = records(run)
    assert [r["exact_match"] for r in found] == [0.0] * 6
    assert [r["best"] for r in found] == [True] * 6
    assert json.loads((run / "best" / "metrics.json").read_text())["epoch"] == 6


def test_a_lower_cased_target_is_judged_in_lower_case(tmp_path):
    pairs = write_pairs(tmp_path / "p.tsv", [(t, t.upper()) for t in letters(120, 2, 4)])
    settings = {**SIZES, "text.target.lowercase": True, "train.max_epochs": 20}
    model = jumok.train(pairs, dev=pairs, output=tmp_path / "run", settings=settings)
    best = max(r["exact_match"] for r in records(tmp_path / "run"))
    assert best > 50
    assert model.predict("ab").text.islower()
    assert jumok.evaluate(model, [("ab", "AB")])["exact_match"] in (0.0, 100.0)


def test_data_files_may_be_settings(tmp_path):
    only = write_pairs(tmp_path / "o.tsv", backwards(letters(40, 2, 4)))
    options = as_options({**SIZES, "train.max_epochs": 1, "data.train": str(only)})
    result = run_cli("train", *options, "--output", tmp_path / "o")
    assert result.code == 0, result.err
    (tmp_path / "settings.yaml").write_text("train: {max_epochs: 7}", encoding="utf-8")
    result = run_cli("train", "--config", tmp_path / "settings.yaml", *options,
                     "--output", tmp_path / "c1", "--set", "train.seed=9")  # fmt: skip
    assert result.code == 0, result.err
    config = yaml.safe_load((tmp_path / "c1" / "config.yaml").read_text(encoding="utf-8"))
    assert (config["train"]["seed"], config["train"]["max_epochs"]) == (9, 1)
    train, dev = (
        write_pairs(tmp_path / name, backwards(letters(40, 2, 4, seed)))
        for name, seed in (("t.tsv", 1), ("d.tsv", 2))
    )
    settings = {**SIZES, "train.max_epochs": 1}
    jumok.train(
        output=tmp_path / "a",
        settings={**settings, "data.train": [str(train)], "data.dev": [str(dev)]},
    )
    jumok.train(output=tmp_path / "b", config_file=tmp_path / "a" / "config.yaml")
    jumok.train(train, dev=dev, output=tmp_path / "c", settings=settings)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") == weights(tmp_path / "c")


def test_pairs_instead_of_files_are_answered():
    # in a process of its own: here the type checker would be first
    code = "import jumok; jumok.train([('a', 'b')], output='never')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Training reads files of pairs, but ('a', 'b') came" in done.stderr


def test_columns_are_chosen_and_may_be_swapped(tmp_path):
    pairs = backwards(letters(40, 2, 4))
    write_pairs(tmp_path / "p.tsv", [("x", f"{t}\t{s}") for s, t in pairs])
    run = run_cli(
        "train", tmp_path / "p.tsv", "--output", tmp_path / "run", "--set", "data.source_column=3",
        "--set", "data.target_column=2", *as_options({**SIZES, "train.max_epochs": 1}),
    )  # fmt: skip
    assert run.code == 0, run.err
    result = run_cli(
        "evaluate", tmp_path / "run", tmp_path / "p.tsv", "--format", "json",
        "--set", "data.source_column=3", "--set", "data.target_column=2",
    )  # fmt: skip
    report = json.loads(result.out)
    assert report["unknown_source"] == report["unknown_target"] == 0.0
    assert report["sources"] == 40


def test_a_limit_for_training_is_enough_for_validating(tmp_path):
    texts = [*letters(60, 2, 4), *("ab" * 6, "ba" * 6)]
    pairs = write_pairs(tmp_path / "p.tsv", backwards(texts))
    settings = {**SIZES, "data.max_source_length": 50, "search.max_source_length": 5}
    for metric in ("exact_match", "perplexity"):
        settings["evaluation.metric"] = metric
        jumok.train(pairs, dev=pairs, output=tmp_path / metric, settings=settings)


def test_a_missing_tokenizer_of_the_metric_is_found_before_training(tmp_path, monkeypatch):
    def missing(*_, **__):
        raise MissingExtra("ko", "mecab_ko")

    monkeypatch.setattr("jumok.training.run.try_metrics", missing)
    with pytest.raises(MissingExtra):
        train_small(tmp_path, {"evaluation.metric": "bleu"})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("package", ["rapidfuzz.distance", "sacrebleu.metrics.bleu"])
def test_a_missing_package_is_told_of_before_anything_is_made(tmp_path, monkeypatch, package):
    predictor = jumok.load(train_small(tmp_path, {"train.max_steps": 1}))
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    monkeypatch.setattr(Predictor, "predict", None)
    for metric in ("exact_match", "bleu"):
        if metric == "bleu" or package.startswith("rapidfuzz"):
            with pytest.raises(MissingExtra, match=r"jumok\[evaluate\]"):
                train_small(tmp_path / metric, {"evaluation.metric": metric})
            assert not (tmp_path / metric / "run").exists()
    with pytest.raises(MissingExtra, match=r"jumok\[evaluate\]"):
        jumok.evaluate(predictor, [("ab", "ba")])
    with pytest.raises(MissingExtra, match=r"jumok\[evaluate\]"):
        jumok.compare(predictor, ["ba"], [("ab", "ba")])


def test_a_batch_of_one_has_the_usual_products(monkeypatch):
    taken = []

    def watch(threads, fast):
        taken.append(fast)
        return nullcontext()

    monkeypatch.setattr("jumok.training.run.cpu_arithmetic", watch)
    for settings in ({"train.batch_size": 1}, {"train.batch_size": 2}, {"train.fast": False}):
        with _arithmetic(resolve(settings=settings)):
            pass
    assert taken == [False, True, False]


def test_long_gradients_are_shortened(tmp_path):
    # at a rate of 1, plain SGD moves the weights by the gradient itself
    settings = {"train.optimizer": "sgd", "train.learning_rate": 1.0, "train.max_steps": 1,
                "train.clip_norm": 1e-3}  # fmt: skip
    with mock.patch("torch.nn.utils.clip_grad_norm_", return_value=torch.tensor(1.0)):
        free = load(weights(train_small(tmp_path / "free", settings)))
    clipped = load(weights(train_small(tmp_path / "clipped", settings)))
    still = {**settings, "train.learning_rate": 1e-30}
    first = load(weights(train_small(tmp_path / "first", still)))

    def moved(now):
        return math.sqrt(sum(((now[k] - first[k]) ** 2).sum() for k in first))

    assert moved(free) > 0.01
    assert moved(clipped) == pytest.approx(1e-3, rel=1e-3)


def test_messages_are_printed_as_they_are(tmp_path, capsys):
    bad = "p.tsv:100: two columns [bold] were expected :smile: (skipped)"
    with ConsoleReporter(10, None, "wer", tmp_path / "train.log") as reporter:
        reporter.message(bad)
    assert capsys.readouterr().err == f"{bad}\n"


def test_the_bar_on_a_terminal_shows_speed_loss_metric_and_time_left(tmp_path):
    leader, follower = pty.openpty()
    shown = bytearray()

    def read():  # beside the writing, as a full terminal would stop it
        with suppress(OSError):  # the other end was closed
            while part := os.read(leader, 4096):
                shown.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    with (
        os.fdopen(follower, "w", encoding="utf-8") as screen,
        mock.patch("sys.stderr", screen),
        ConsoleReporter(100, None, "wer", tmp_path / "train.log") as reporter,
    ):
        state = TrainingState(corpus="", order="")
        for step in (10, 50):
            state.step, state.best = step, 12.345
            reporter.update(state, 1.5, 4321.0)
            time.sleep(0.1)
        reporter.progress.refresh()
    reader.join(10)
    os.close(leader)
    for words in ("4,321 tok/s", "loss 1.500", "best wer 12.35", "50%", "at most 0:00 left"):
        assert words in shown.decode("utf-8")


def test_a_dry_run_counts_measures_and_writes_nothing(tmp_path):
    run = train_small(tmp_path, {"train.max_epochs": 3})
    before = sorted(tmp_path.rglob("*"))
    pairs = tmp_path / "pairs.tsv"
    options = as_options({**SIZES, "train.max_epochs": 3, "train.accumulate": 2})
    result = run_cli("train", pairs, *options, "--dry-run")
    assert result.code == 0, result.err
    assert sorted(tmp_path.rglob("*")) == before
    kept = load_file(run / "last" / "model.safetensors")
    whole = sum(array.size for array in kept.values())
    said = result.out.splitlines()
    assert f"{whole:,} parameters" in said
    parts = [line.split() for line in said if line.startswith("  ")]
    assert sum(int(part[-1].replace(",", "")) for part in parts) == whole
    assert said[1] == "144 training pairs, 16 validation pairs"
    tokens = sum(len(line.split("\t")[1]) + 1 for line in pairs_of(run))
    epoch = next(line for line in said if line.startswith("an epoch: 144 pairs"))
    assert 0.8 * tokens < int(epoch.split(", ")[1].split()[0]) < tokens
    assert epoch.endswith("5 updates")  # nine batches, two in each
    assert any(line.startswith("at most 15 updates, ") for line in said)
    numbers = 4 * whole * 4  # weights, gradients, Adam's two
    memory = next(line for line in said if line.startswith("memory: "))
    assert int(memory.split()[1]) == pytest.approx(numbers / 1e6, abs=1)


def test_a_dry_run_that_runs_away_advises_and_names_no_folder_of_its_own(tmp_path):
    write_pairs(tmp_path / "pairs.tsv", backwards(letters(40, 2, 5)))
    wild = as_options({**SIZES, "train.learning_rate": 1e6, "train.clip_norm": 1e30})
    result = run_cli("train", tmp_path / "pairs.tsv", *wild, "--dry-run")
    assert result.code == 10
    assert "--set train.learning_rate=100000" in result.err
    assert "stopped" not in result.err and "Traceback" not in result.err


def test_a_dry_run_measures_updates_in_which_as_few_tokens_are_given_as_at_the_end(
    tmp_path, monkeypatch
):
    own, seen = Trainer._own_tokens, []
    monkeypatch.setattr(
        Trainer, "_own_tokens", lambda *given: (seen.append(own(*given)), seen[-1])[1]
    )
    pairs = write_pairs(tmp_path / "pairs.tsv", backwards(letters(40, 2, 5)))
    forcing = {"train.teacher_forcing.decay": "linear", "train.teacher_forcing.c": 0.2}
    result = run_cli("train", pairs, *as_options({**SIZES, **forcing}), "--dry-run")
    assert result.code == 0, result.err
    assert all(not tokens.given.all() for tokens in seen)  # six updates: the last is given none


@pytest.mark.parametrize("steps", [1, 2])
def test_a_dry_run_of_updates_that_are_given_all_tokens_or_nearly(tmp_path, steps):
    pairs = write_pairs(tmp_path / "pairs.tsv", backwards(letters(40, 2, 5)))
    forcing = {"train.teacher_forcing.decay": "linear", "train.teacher_forcing.own": "sample"}
    options = as_options({**SIZES, **forcing, "train.max_steps": steps})
    result = run_cli("train", pairs, *options, "--dry-run")
    assert result.code == 0, result.err


def test_a_dry_run_says_what_a_run_would_refuse(tmp_path):
    result = run_cli("train", tmp_path / "no.tsv", "--dry-run")
    assert result.code == 4 and "no such file" in result.err
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(letters(40, 3, 6)), encoding="utf-8")
    small = ["--set", "model.decoder.hidden=8", "--set", "train.threads=1"]
    result = run_cli("train-lm", texts, *small, "--dry-run")
    assert result.code == 0, result.err
    assert "36 training texts, 4 validation texts" in result.out


@pytest.mark.parametrize("option", ["--dry-run", "--output=run"])
def test_a_training_that_does_not_fit_into_memory_is_a_sentence(tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jumok.training.trainer.Trainer._loss", lambda *_: torch.empty(1 << 55))
    pairs = write_pairs(tmp_path / "pairs.tsv", backwards(letters(40, 2, 5)))
    result = run_cli("train", pairs, *as_options(SIZES), option)
    assert result.code == TooLarge.exit_code
    said = result.err.splitlines()[-1]
    assert "allocate" in said and "Lower train.batch_size" in said


def test_weights_need_a_number_for_each_file(tmp_path):
    pairs = write_pairs(tmp_path / "pairs.tsv", backwards(letters(40, 2, 5)))
    result = run_cli("train", pairs, "--set", "data.weights=[1, 2]", "--output", tmp_path / "run")
    assert result.code == 3
    assert "there are 2 for 1 files" in result.err
    for weights, words in (("[0.001]", "leaves none of the 36 training pairs to an epoch"),
                           ("[1e999]", "finite number")):  # fmt: skip
        result = run_cli(
            "train", pairs, f"--set=data.weights={weights}", "--output", tmp_path / "r"
        )
        assert result.code == 3 and words in result.err
    assert not (tmp_path / "r").exists()
