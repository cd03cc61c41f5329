"""A search of settings: real trainings of a tiny model, killed and gone on with."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from filelock import FileLock
from runs import SIZES, as_options, backwards, letters, records, run_cli, write_pairs

import jumok
from jumok.cli.searched import render_search
from jumok.errors import (
    ConfigError,
    DataError,
    Diverged,
    Interrupted,
    MissingExtra,
    StorageError,
)
from jumok.evaluation import Validation
from jumok.training.trainer import Trainer

optuna = pytest.importorskip("optuna", reason="needs pip install 'jumok[tune]'")

from jumok.training.tune import Search, Tried  # noqa: E402

SETTINGS = {**SIZES, "train.max_epochs": 3, "train.patience": 99, "evaluation.metric": "cer"}
SPACES = ("train.learning_rate=1e-4..1e-1:log", "model.decoder.hidden=16|32")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    return write_pairs(folder / "pairs.tsv", backwards(letters(32, 2, 4)))


def search(pairs: Path, folder: Path, **given: Any) -> Any:
    """`jumok.tune` with what all tests have in common."""
    spaces = given.pop("spaces", SPACES)
    settings = {**SETTINGS, **given.pop("settings", {})}
    trials = given.pop("trials", 3)
    return jumok.tune(
        pairs, output=folder, spaces=spaces, trials=trials, settings=settings, **given
    )


def plain(found: Any) -> list[Any]:
    """Results without the place where they lie."""
    return [(one.number, one.ended, one.value, one.settings) for one in found.trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> tuple[Path, Any]:
    """A search that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole") / "search"
    return folder, search(pairs, folder)


def test_each_trial_is_a_run_with_its_settings(whole: tuple[Path, Any]) -> None:
    folder, found = whole
    assert sorted(one.number for one in found.trials) == [0, 1, 2]
    assert found.metric == "cer"
    values = [one.value for one in found.trials]
    assert values == sorted(values)  # an error rate: the lowest first
    assert found.best.directory == found.trials[0].directory
    assert len({one.settings["train.learning_rate"] for one in found.trials}) == 3
    for one in found.trials:
        assert one.directory == folder / f"trial-{one.number:03d}"
        assert one.ended == "done"
        assert one.value == min(record["cer"] for record in records(one.directory))
        config = yaml.safe_load((one.directory / "config.yaml").read_text(encoding="utf-8"))
        assert config["train"]["learning_rate"] == one.settings["train.learning_rate"]
        assert 1e-4 <= config["train"]["learning_rate"] <= 1e-1
        assert config["model"]["decoder"]["hidden"] == one.settings["model.decoder.hidden"]
        assert jumok.load(one.directory).predict("abc").text is not None
    with sqlite3.connect(folder / "trials.db") as database:  # it is SQLite, and Optuna's
        rows = database.execute("select number, state from trials order by number").fetchall()
    database.close()
    assert rows == [(0, "COMPLETE"), (1, "COMPLETE"), (2, "COMPLETE")]


def kill(patch: pytest.MonkeyPatch, number: int, step: int, when: str) -> None:
    """Trial ``number`` ends by a Ctrl-C in a rush: in its beginning, or at a validation before or
    after its checkpoint."""
    keep = Trainer.checkpoint

    def checkpoint(self: Trainer) -> None:
        if self.output.name == f"trial-{number:03d}" and self.state.step >= step:
            if when == "after":
                keep(self)
            raise KeyboardInterrupt
        keep(self)

    patch.setattr(Trainer, "checkpoint", checkpoint)


@pytest.mark.parametrize(
    ("number", "step", "when"), [(0, 2, "before"), (1, 4, "before"), (2, 6, "after")]
)
def test_a_search_that_was_killed_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pairs: Path,
    whole: tuple[Path, Any],
    number: int,
    step: int,
    when: str,
) -> None:
    folder = tmp_path / "다시"
    with monkeypatch.context() as patch, pytest.raises(Interrupted) as caught:
        kill(patch, number, step, when)
        search(pairs, folder)
    assert str(caught.value) == (
        f"Stopped in trial {number:03d}; everything is kept in {folder}. Go on with the same "
        "command and --resume"
    )
    begun = {path.name: path.stat().st_ino for path in folder.glob("trial-*")}
    seen: list[Path] = []
    with monkeypatch.context() as patch:
        resume = Trainer.resume
        patch.setattr(Trainer, "resume", lambda s, path: (seen.append(path), resume(s, path))[1])
        found = search(pairs, folder, resume=True)
    # 2 updates an epoch: the first of three was killed before anything of it was kept
    assert seen == ([] if step == 2 else [folder / f"trial-{number:03d}" / "last"])
    for path in folder.glob("trial-*"):
        if path.name in begun and step > 2:
            assert path.stat().st_ino == begun[path.name]  # gone on with, or left alone
    assert plain(found) == plain(whole[1])
    for one in found.trials:
        path = f"trial-{one.number:03d}/best/model.safetensors"
        assert (folder / path).read_bytes() == (whole[0] / path).read_bytes()
        assert [r["step"] for r in records(one.directory)] == [2, 4, 6]


def test_settings_are_shown_by_as_many_words_as_tell_them_apart() -> None:
    settings = {"model.encoder.hidden": 16, "model.decoder.hidden": None,
                "model.encoder.dropout": 0.123456, "text.target.vocab_size": 100}  # fmt: skip
    done = Tried(2, "done", 100.0, settings, Path("search/trial-002"))
    lost = Tried(11, "impossible", None, settings, Path("search/trial-011"), "so it is")
    assert render_search(Search("exact_match", [done, lost]), "table").splitlines() == [
        "trial  exact_match  ended       settings",
        "002         100.00  done        encoder.hidden=16 decoder.hidden=null",
        "                                dropout=0.1235 vocab_size=100",
        "011                 impossible  encoder.hidden=16 decoder.hidden=null",
        "                                dropout=0.1235 vocab_size=100",
        "best: exact_match 100.00 in search/trial-002",
    ]


@pytest.mark.parametrize("trial", [1, 12])
def test_a_kill_between_two_draws_changes_none(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, trial: int
) -> None:
    """Of the first trials' settings, which are drawn one by one, and of later ones, drawn at once.
    Where each setting is impossible, a trial takes no time."""
    spaces = [f"model.{side}.{what}={low}..64" for side in ("encoder", "decoder")
              for what, low in (("embedding", 8), ("hidden", 33))]  # fmt: skip
    settings = {"model.decoder.tied": True, "model.decoder.embedding": 32}
    given = {"spaces": spaces, "settings": settings, "trials": 14}
    told = optuna.Study.tell

    def done(self: Any, trial: Any, value: Any = None, **_: Any) -> Any:
        """As if it had been possible: its figure follows from its settings."""
        return told(self, trial, float(sum(trial.params.values())))

    monkeypatch.setattr(optuna.Study, "tell", done)
    undisturbed = plain(search(pairs, tmp_path / "whole", **given))
    assert len({tuple(settings.values()) for _, _, _, settings in undisturbed}) == 14
    draw, seen = optuna.Trial.suggest_int, []

    def killed(self: Any, *space: Any, **log: Any) -> Any:
        if self.number == trial and len(self.params) == 2 and not seen:
            seen.append(trial)
            raise KeyboardInterrupt
        return draw(self, *space, **log)

    monkeypatch.setattr(optuna.Trial, "suggest_int", killed)
    with pytest.raises(Interrupted):
        search(pairs, tmp_path / "torn", **given)
    assert plain(search(pairs, tmp_path / "torn", resume=True, **given)) == undisturbed


def test_language_models_too_and_the_order_of_spaces_says_nothing(tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("the cat sat\na cat ate\n" * 10, encoding="utf-8")
    spaces = ["model.decoder.hidden=8|16", "train.learning_rate=1e-3..1e-2"]
    settings = {"text.target.kind": "word", "train.max_epochs": 1, "train.threads": 1}

    def tried(name: str, spaces: list[str], **given: Any) -> Any:
        return plain(jumok.tune(texts, output=tmp_path / name, preset="language-model", dev=texts,
                                spaces=spaces, settings=settings, **given))  # fmt: skip

    first = tried("lm", spaces, trials=1)
    assert first[0][1] == "done" and first[0][2] > 1  # a perplexity
    assert tried("lm", spaces[::-1], trials=2, resume=True) == tried("two", spaces, trials=2)


def test_another_seed_tries_other_settings(
    tmp_path: Path, pairs: Path, whole: tuple[Path, Any]
) -> None:
    other = search(pairs, tmp_path / "other", trials=1, settings={"train.seed": 2})
    assert other.trials[0].settings not in [one.settings for one in whole[1].trials]


def test_going_on_can_add_trials_and_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: Path, whole: tuple[Path, Any]
) -> None:
    folder = shutil.copytree(whole[0], tmp_path / "search")
    for given, words in (
        ({"spaces": (SPACES[0], "model.decoder.hidden=16|64")},
         r"with the space model\.decoder\.hidden=16\|32, but model\.decoder\.hidden=16\|64 came"),
        ({"spaces": SPACES[:1]}, r"but model\.decoder\.hidden=nothing came"),
        ({"settings": {"train.max_epochs": 4}}, r"train\.max_epochs=3, but train\.max_epochs=4"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            search(pairs, folder, resume=True, **given)
    with pytest.raises(ConfigError, match=r"not empty.*the same command and --resume"):
        search(pairs, folder)
    other = write_pairs(tmp_path / "other.tsv", backwards(letters(31, 2, 4)))
    with pytest.raises(ConfigError, match=r"not those that the search .* was begun with"):
        search(other, folder, resume=True)
    with FileLock(folder / ".lock"), pytest.raises(ConfigError, match="Another search is at work"):
        search(pairs, folder, resume=True)
    # the same pairs from another place are the same; trials that are there are not trained again
    moved = Path(shutil.copy(pairs, tmp_path / "moved.tsv"))
    monkeypatch.setattr("jumok.training.tune.begin", None)
    monkeypatch.setattr("jumok.training.tune.go_on", None)
    assert plain(search(moved, folder, resume=True)) == plain(whole[1])
    assert plain(search(moved, folder, resume=True, trials=2)) == plain(whole[1])


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Sequence[float]]], None]:
    """Validations say what a test says: a row of figures for each trial."""

    def script(rows: Sequence[Sequence[float]]) -> None:
        figures: Iterator[float] = iter([])
        coming = iter(rows)
        begin = jumok.training.tune.begin  # type: ignore[attr-defined]

        def next_row(*given: Any) -> None:
            nonlocal figures
            figures = iter(next(coming))
            begin(*given)

        monkeypatch.setattr("jumok.training.tune.begin", next_row)
        monkeypatch.setattr(
            "jumok.training.run.validate", lambda *_: Validation(next(figures), 0.0)
        )

    return script


def test_poor_trials_are_pruned_and_a_ctrl_c_meanwhile_is_heard(
    tmp_path: Path,
    pairs: Path,
    monkeypatch: pytest.MonkeyPatch,
    scripted: Callable[[Sequence[Sequence[float]]], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Five trials come to an end; then those worse than their median at the second validation."""
    import jumok.training.tune

    good = [[90.0, 50.0 + n, 40.0 + n] for n in range(5)]  # the median of the second: 52
    scripted([*good, [90.0, 52.5], [90.0, 51.5, 30.0], [91.0]])
    space = ["train.learning_rate=1e-4..1e-1:log"]
    found = search(pairs, tmp_path / "search", spaces=space, trials=7)
    assert [(one.number, one.ended, one.value) for one in found.trials] == [
        (6, "done", 30.0), *((n, "done", 40.0 + n) for n in range(5)), (5, "pruned", 52.5)
    ]  # fmt: skip
    assert [r["step"] for r in records(tmp_path / "search" / "trial-005")] == [2, 4]
    assert "trial 005: pruned" in capfd.readouterr().err
    # somebody asks to stop in the very validation that prunes
    judge = jumok.training.tune._Run.hear

    def asked(self: Any, record: Any) -> None:
        self.stop.asked = True
        judge(self, record)

    monkeypatch.setattr("jumok.training.tune._Run.hear", asked)
    with pytest.raises(Interrupted, match="Stopped in trial 007"):
        search(pairs, tmp_path / "search", spaces=space, trials=9, resume=True)
    monkeypatch.undo()
    again = search(pairs, tmp_path / "search", spaces=space, trials=8, resume=True)
    assert again.trials[-1].ended == "pruned"
    assert len(again.trials) == 8


@pytest.mark.parametrize("runs_away", [False, True], ids=["done", "diverged"])
def test_a_ctrl_c_where_a_trial_ends_by_itself_is_heard(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, runs_away: bool
) -> None:
    keep = Trainer.checkpoint

    def checkpoint(self: Trainer) -> None:
        self.stop.asked = self.state.finished
        keep(self)

    def update(self: Trainer, *_: Any) -> None:
        self.stop.asked = True
        raise Diverged("It ran away")

    monkeypatch.setattr(Trainer, "update" if runs_away else "checkpoint",
                        update if runs_away else checkpoint)  # fmt: skip
    with pytest.raises(Interrupted, match="Stopped in trial 000"):
        search(pairs, tmp_path / "search", trials=2)
    with sqlite3.connect(tmp_path / "search" / "trials.db") as database:
        rows = database.execute("select number, state from trials").fetchall()
    database.close()
    assert rows == [(0, "PRUNED" if runs_away else "COMPLETE")]


def test_a_trial_whose_training_does_not_fit_into_memory_is_too_large(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = Trainer.update

    def much(self: Trainer, *given: Any) -> None:
        if self.config.train.batch_size == 16:
            torch.empty(1 << 55)
        update(self, *given)

    monkeypatch.setattr(Trainer, "update", much)
    found = search(pairs, tmp_path / "search", trials=2, spaces=["train.batch_size=15|16"],
                   settings={"train.max_epochs": 1, "train.seed": 2})  # fmt: skip
    assert [one.ended for one in found.trials] == ["done", "too large"]
    assert "memory" in found.trials[1].why


def test_a_kill_between_the_decision_and_its_note_prunes_the_same(
    tmp_path: Path,
    pairs: Path,
    monkeypatch: pytest.MonkeyPatch,
    scripted: Callable[[Sequence[Sequence[float]]], None],
) -> None:
    import jumok.training.tune  # noqa: F401

    scripted([*([[50.0, 50.0, 50.0]] * 5), [60.0]])
    space = ["train.learning_rate=1e-4..1e-1:log"]
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        tell = optuna.Study.tell

        def killed(self: Any, trial: Any, *rest: Any, **given: Any) -> Any:
            if trial.number == 5:
                raise KeyboardInterrupt
            return tell(self, trial, *rest, **given)

        patch.setattr(optuna.Study, "tell", killed)
        search(pairs, tmp_path / "search", spaces=space, trials=6)
    found = search(pairs, tmp_path / "search", spaces=space, trials=6, resume=True)
    assert found.trials[-1][:3] == (5, "pruned", 60.0)


def test_trials_that_cannot_be_cost_themselves_alone(
    tmp_path: Path, pairs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Impossible, run away, already tried: four combinations in all."""
    spaces = ["model.decoder.embedding=16|32", "train.learning_rate=0.01|1e30"]
    settings = {"model.decoder.tied": True, "model.decoder.embedding": 32,
                "train.max_epochs": 1, "train.optimizer": "sgd"}  # fmt: skip
    found = search(pairs, tmp_path / "search", spaces=spaces, trials=16, settings=settings)
    by_ended = {one.ended: one for one in reversed(found.trials)}
    ends = [one.ended for one in found.trials]
    assert found.best.ended == "done"
    assert found.best.settings == {"model.decoder.embedding": 32, "train.learning_rate": 0.01}
    assert by_ended["impossible"].settings["model.decoder.embedding"] == 16
    assert "model.decoder.tied" in by_ended["impossible"].why
    assert by_ended["diverged"].settings["train.learning_rate"] == 1e30
    assert "at step 2" in by_ended["diverged"].why
    assert by_ended["impossible"].value is None
    # four combinations at most, and sixteen trials
    assert len([end for end in ends if not end.startswith("as ")]) <= 4
    made = {path.name for path in (tmp_path / "search").glob("trial-*")}
    trained = {one.directory.name for one in found.trials if one.ended in ("done", "diverged")}
    assert made == trained
    for one in found.trials:
        if one.ended.startswith("as "):
            [first] = [other for other in found.trials if other.number == int(one.ended[3:])]
            assert one.settings == first.settings and one.value == first.value
            assert one.directory == first.directory
    assert "impossible: " in capfd.readouterr().err


def test_a_trial_whose_corpus_cannot_be_made_is_impossible(tmp_path: Path, pairs: Path) -> None:
    spaces = ["text.target.min_count=1|1000"]
    settings = {"train.max_epochs": 1, "train.seed": 2}
    found = search(pairs, tmp_path / "search", spaces=spaces, trials=4, settings=settings)
    by_count = {one.settings["text.target.min_count"]: one for one in reversed(found.trials)}
    assert by_count[1].ended == "done"
    assert by_count[1000].ended == "impossible" and by_count[1000].value is None
    assert "A vocabulary of kind char" in by_count[1000].why


def test_files_that_change_or_go_end_a_search_and_no_trial(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving = Path(shutil.copy(pairs, tmp_path / "moving.tsv"))
    begin = jumok.training.tune.begin  # type: ignore[attr-defined]
    for change in (moving.unlink, lambda: moving.write_text("a\n", encoding="utf-8")):
        folder = tmp_path / change.__name__

        def changed(*given: Any) -> None:
            change()  # noqa: B023
            begin(*given)

        with monkeypatch.context() as patch, pytest.raises((ConfigError, DataError)):
            patch.setattr("jumok.training.tune.begin", changed)
            search(moving, folder, trials=2)
        shutil.copy(pairs, moving)
        assert len(search(moving, folder, trials=1, resume=True).trials) == 1


def test_a_trial_that_ran_away_has_no_figure_however_good_it_was_before(
    tmp_path: Path, pairs: Path, scripted: Callable[[Sequence[Sequence[float]]], None]
) -> None:
    scripted([[10.0, math.nan], [50.0, 50.0, 50.0]])
    found = search(pairs, tmp_path / "search", trials=2, spaces=SPACES[:1])
    assert [one[:3] for one in found.trials] == [(1, "done", 50.0), (0, "diverged", None)]


def test_a_search_in_which_nothing_is_possible_is_a_sentence(tmp_path: Path, pairs: Path) -> None:
    settings = {"model.decoder.tied": True, "model.decoder.embedding": 32}
    with pytest.raises(ConfigError, match=r"None of the 2 trials .* the last: .*tied"):
        search(pairs, tmp_path / "search", spaces=["model.decoder.embedding=8..15"], trials=2,
               settings=settings)  # fmt: skip


def test_what_is_wrong_is_told_before_anything_is_there(
    tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "search"
    bad = tmp_path / "bad.tsv"
    bad.write_text("a\tb\nalone\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.tsv:2"):
        search(bad, folder)
    with pytest.raises(ConfigError, match="nothing to train on"):
        jumok.tune(output=folder, spaces=SPACES, trials=1)
    with pytest.raises(ConfigError, match="trials=0 came"):
        search(pairs, folder, trials=0)
    with pytest.raises(ConfigError, match="greedy outputs"):
        search(pairs, folder, spaces=["search.beam=1..5"])
    with pytest.raises(ConfigError, match="cuda:7"):
        search(pairs, folder, settings={"train.device": "cuda:7"})
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtra, match="wandb"):
        search(pairs, folder, settings={"train.sinks": "wandb"})
    assert not folder.exists()
    folder.mkdir()
    (folder / "letter.txt").touch()
    with pytest.raises(ConfigError, match=r"no trials\.db"):
        search(pairs, folder, resume=True)
    (folder / "trials.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match=r"trials\.db cannot be read"):
        search(pairs, folder, resume=True)


def test_the_command_shows_the_best_first_in_80_columns(
    tmp_path: Path, pairs: Path, whole: tuple[Path, Any]
) -> None:
    folder = shutil.copytree(whole[0], tmp_path / "search")
    spaces = [word for space in SPACES for word in ("--space", space)]
    command = ["tune", pairs, *as_options(SETTINGS), *spaces, "--trials", 3, "--resume",
               "--output", folder]  # fmt: skip
    table = run_cli(*command)
    assert table.code == 0, table.err
    lines = table.out.splitlines()
    assert all(len(line) <= 80 for line in lines[:-1])
    best = whole[1].best
    assert lines[0].split() == ["trial", "cer", "ended", "settings"]
    assert lines[1].split()[:3] == [f"{best.number:03d}", f"{best.value:.2f}", "done"]
    rate = best.settings["train.learning_rate"]
    hidden = best.settings["model.decoder.hidden"]
    assert lines[1].endswith(f"  hidden={hidden} learning_rate={rate:.4g}")
    assert lines[-1] == f"best: cer {best.value:.2f} in {folder / best.directory.name}"
    found = json.loads(run_cli(*command, "--format", "json").out)
    assert found["best"] == str(folder / best.directory.name)
    assert [one["settings"] for one in found["trials"]] == [
        dict(one.settings) for one in whole[1].trials
    ]
    assert [one["value"] for one in found["trials"]] == [one.value for one in whole[1].trials]


def test_the_best_trial_is_what_training_with_its_settings_gives(
    tmp_path: Path, pairs: Path, whole: tuple[Path, Any]
) -> None:
    best = whole[1].best
    jumok.train(pairs, output=tmp_path / "run", settings={**SETTINGS, **best.settings})
    path = "best/model.safetensors"
    assert (tmp_path / "run" / path).read_bytes() == (best.directory / path).read_bytes()
