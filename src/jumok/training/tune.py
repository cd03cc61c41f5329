"""A search of settings by Optuna: each trial is a run, and all are kept where they can go on.

    DIR/trials.db       the study: SQLite, as Optuna has it
    DIR/trial-000/ ...  a run for each trial

What a trial tries follows from the seed, its number and the trials before it, so a search that was
killed and goes on finds what one finds that nobody stopped.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from jumok.config import LOWER_IS_BETTER, Config, flatten, from_tree, read_tree, resolve, shown
from jumok.errors import ConfigError, DataError, Diverged, Interrupted, StorageError, TooLarge
from jumok.storage import alone, check_new, find_directory, is_filled, storage_errors
from jumok.training.corpus import contents, make_corpus
from jumok.training.interrupt import StopRequest
from jumok.training.ranks import Ranks, join_ranks
from jumok.training.run import Settings, begin, check_possible, configure, go_on
from jumok.training.sinks import Record, check_sinks
from jumok.training.spaces import Space, Value, parse_spaces

_NAME = "jumok"
"""Of the study in its file."""


class Tried(NamedTuple):
    """What became of a trial."""

    number: int
    ended: str
    """`done`; `pruned`, as it was worse than most; `diverged`, `impossible` or `too large`, as
    `why` says; `as 001` where that trial had the same settings."""
    value: float | None
    """The best figure that it reached; None where it came to nothing."""
    settings: Mapping[str, Value]
    directory: Path
    why: str = ""


class Search(NamedTuple):
    """All trials, the best first."""

    metric: str
    trials: list[Tried]

    @property
    def best(self) -> Tried:
        """The best trial; its directory is that of a run."""
        return self.trials[0]


def tune(
    data: str | Path | Sequence[str | Path] = (),
    *,
    output: str | Path,
    spaces: Sequence[str],
    trials: int,
    dev: str | Path | Sequence[str | Path] = (),
    preset: str | Sequence[str] = (),
    config_file: str | Path | None = None,
    settings: Settings = (),
    resume: bool = False,
) -> Search:
    """Train with ``trials`` different settings, chosen by Optuna among ``spaces``.

    Args:
        output: a new directory for the search.
        spaces: what to try, as ``train.learning_rate=1e-4..1e-2:log``,
            ``model.encoder.layers=1..3`` or ``model.decoder.hidden=128|256|512``.
        trials: how many in all, those before a ``resume`` counted.
        resume: go on with the search in ``output``, if there is one; all else must be as it was.

    The rest is as in `train`. Each trial is judged by the best ``evaluation.metric`` of its
    validations, and pruned where that is worse than the median of the trials before.

    Raises what `train` raises, and `ConfigError` where no trial came to an end.
    """
    if trials < 1:
        raise ConfigError(f"A search has one trial or more, but trials={trials} came. Give more")
    config = configure(data, dev, preset, config_file, settings)
    chosen = parse_spaces(spaces, config)
    check_possible(config)
    check_sinks(config)
    folder = Path(output)
    with join_ranks(config.train.device) as ranks:
        if ranks.world > 1:
            raise ConfigError(
                "A search trains one model after another in one process. Begin it without torchrun"
            )
        with _open_study(folder, config, chosen, resume) as (study, storage):
            work = _Work(study, storage, config, chosen, folder, ranks)
            for number in range(trials):
                try:
                    _try(number, work)
                except (KeyboardInterrupt, Interrupted):
                    raise Interrupted(
                        f"Stopped in trial {number:03d}; everything is kept in {folder}. Go on "
                        "with the same command and --resume"
                    ) from None
            return _ended(study, config, folder)


@contextmanager
def _open_study(
    folder: Path, config: Config, spaces: Sequence[Space], resume: bool
) -> Iterator[tuple[optuna.Study, optuna.storages.BaseStorage]]:
    """The study in ``folder``, which nobody else works on meanwhile."""
    file = folder / "trials.db"
    filled = is_filled(folder)
    if folder.is_file() or (filled and not resume):
        check_new(folder, "or go on with the search in it: the same command and --resume")
    if filled and not file.exists():
        raise ConfigError(f"{folder} holds no search to go on with: there is no trials.db in it")
    if not filled:
        make_corpus(config)  # so that a bad line is told while there is nothing yet
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lower = config.evaluation.metric in LOWER_IS_BETTER
    busy = (
        f"Another search is at work in {folder}. Wait until it has ended, or give another --output"
    )
    try:
        with alone(folder, busy):
            storage = optuna.storages.RDBStorage(f"sqlite:///{file.absolute()}")
            try:
                study = optuna.create_study(
                    storage=storage,
                    study_name=_NAME,
                    direction="minimize" if lower else "maximize",
                    pruner=optuna.pruners.MedianPruner(),
                    load_if_exists=True,
                )
                _check_same(study, config, spaces, folder)
                yield study, storage
            finally:
                storage.remove_session()
                storage.engine.dispose()
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        said = str(error.__cause__ or error).splitlines()[0]
        raise StorageError(f"{file} cannot be read or written ({said})") from error


def _check_same(study: optuna.Study, config: Config, spaces: Sequence[Space], folder: Path) -> None:
    """Refuse to go on with another search than was begun."""
    files = [*config.data.train, "", *config.data.dev]
    now: dict[str, Any] = {
        "settings": flatten(config.model_dump(mode="json", exclude={"data": {"train", "dev"}})),
        "spaces": {space.key: str(space) for space in spaces},
        "files": [contents(path) if path else [] for path in files],
    }
    begun = study.user_attrs.get("begun")
    if begun is None:
        study.set_user_attr("begun", now)
        return
    again = "Give the same command, or begin another search with a new --output"
    for what in ("settings", "spaces"):
        for key in (begun[what] | now[what]) if begun[what] != now[what] else ():
            old, new = (shown(one[what].get(key, "nothing")) for one in (begun, now))
            if old != new:
                word = "the space " if what == "spaces" else ""
                raise ConfigError(
                    f"The search in {folder} was begun with {word}{key}={old}, but {key}={new} "
                    f"came. {again}"
                )
    if begun["files"] != now["files"]:
        raise ConfigError(
            f"The files of pairs are not those that the search in {folder} was begun with. {again}"
        )


class _Work(NamedTuple):
    """A search that is open."""

    study: optuna.Study
    storage: optuna.storages.BaseStorage
    config: Config
    spaces: Sequence[Space]
    folder: Path
    ranks: Ranks


def _try(number: int, work: _Work) -> None:
    """Carry out a trial, or what is left of it."""
    study, config = work.study, work.config
    known = study.get_trials(deepcopy=False)
    if number < len(known) and known[number].state.is_finished():
        return
    study.sampler = _Sampler(f"{config.train.seed} {number}")
    trial = study.ask() if number == len(known) else _reopen(work, number)
    wanted = {space.key: space.draw(trial) for space in work.spaces}
    _say(f"trial {number:03d}: " + " ".join(f"{k}={shown(v)}" for k, v in wanted.items()))
    twin = next((one for one in known[:number] if one.params == wanted), None)
    if twin is not None:  # the same training would give the same model
        _tell_as(study, trial, twin)
        return
    try:
        trying = resolve(settings=wanted, base=config.model_dump())
    except ConfigError as error:
        _tell_lost(study, trial, "impossible", error)
        return
    run = _Run(trial, config.evaluation.metric, _directory(work.folder, number))
    try:
        if known[number:] and trial.should_prune():  # the last thing before a kill
            raise _Pruned
        run.train(trying, work.ranks)
    except _Pruned:
        study.tell(trial, state=TrialState.PRUNED)
        _say(f"trial {number:03d}: pruned, as it is worse than the median of those before")
    except Diverged as error:
        _tell_lost(study, trial, "diverged", error)
    except TooLarge as error:
        _tell_lost(study, trial, "too large", error)
    except (ConfigError, DataError) as error:
        if run.is_begun:
            raise
        # with the search's own settings a corpus could be made of these files
        _check_same(study, config, work.spaces, work.folder)
        _tell_lost(study, trial, "impossible", error)
    else:
        study.tell(trial, run.best())
    if run.stop is not None and run.stop.asked:  # when the run had come to its end
        raise KeyboardInterrupt


class _Sampler(optuna.samplers.TPESampler):
    """Optuna's, for the draws of one trial, each by a seed of its own: a kill may come between two
    of them."""

    def __init__(self, seed: str) -> None:
        super().__init__(seed=_number(seed))
        self._seed = seed

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw a setting by itself, as long as too few trials are there to draw all at once."""
        alone = optuna.samplers.TPESampler(seed=_number(f"{self._seed} {param_name}"))
        return alone.sample_independent(study, trial, param_name, param_distribution)


def _number(seed: str) -> int:
    return random.Random(seed).getrandbits(32)


def _reopen(work: _Work, number: int) -> optuna.Trial:
    """The trial in which a search was stopped."""
    study_id = work.storage.get_study_id_from_name(_NAME)
    trial_id = work.storage.get_trial_id_from_study_id_trial_number(study_id, number)
    return optuna.Trial(work.study, trial_id)


def _tell_as(study: optuna.Study, trial: optuna.Trial, twin: FrozenTrial) -> None:
    """Tell Optuna of a trial what it was told of another."""
    _say(f"trial {trial.number:03d}: as trial {twin.number:03d}")
    trial.set_user_attr("ended", f"as {twin.number:03d}")
    if "why" in twin.user_attrs:
        trial.set_user_attr("why", twin.user_attrs["why"])
    if twin.state == TrialState.COMPLETE:
        study.tell(trial, twin.value)
        return
    for number, value in twin.intermediate_values.items():
        trial.report(value, number)
    study.tell(trial, state=TrialState.PRUNED)


def _tell_lost(study: optuna.Study, trial: optuna.Trial, ended: str, error: Exception) -> None:
    """Tell Optuna that a trial was pruned, so that it looks elsewhere: to Optuna such a trial is
    worse than all that were done, and the worse, the sooner it ended."""
    why = str(error).partition(". ")[0]
    trial.set_user_attr("ended", ended)
    trial.set_user_attr("why", why)
    study.tell(trial, state=TrialState.PRUNED)
    _say(f"trial {trial.number:03d}: {ended}: {why}")


class _Pruned(Exception):  # noqa: N818 - no error
    """A trial is worse than most."""


class _Run:
    """The run of a trial: Optuna is told of each validation, and stops it where it is poor."""

    def __init__(self, trial: optuna.Trial, metric: str, folder: Path) -> None:
        self._trial, self._metric, self._folder = trial, metric, folder
        self.stop: StopRequest | None = None

    @property
    def is_begun(self) -> bool:
        """Whether its corpus and its model could be made."""
        return self.stop is not None or find_directory(self._folder / "last").exists()

    def begun(self, stop: StopRequest) -> None:
        """From here on a Ctrl-C is heard by ``stop``."""
        self.stop = stop

    def hear(self, record: Record) -> None:
        """Let Optuna know, and ask it."""
        # validations are numbered, as steps mean another thing where batches have another size
        number = len(self._records()) - 1
        known = self._trial.study.get_trials(deepcopy=False)[self._trial.number]
        if number not in known.intermediate_values:  # a kill may have come after
            self._trial.report(record[self._metric], number)
        if self._trial.should_prune():
            raise _Pruned

    def train(self, config: Config, ranks: Ranks) -> None:
        """The whole run, or what is left of it."""
        if self.is_begun:
            go_on(from_tree(read_tree(self._folder / "config.yaml")), self._folder, ranks, self)
            return
        shutil.rmtree(self._folder, ignore_errors=True)  # what a kill left of its beginning
        begin(config, self._folder, None, ranks, self)

    def best(self) -> float:
        """The figure of the best model."""
        return [one[self._metric] for one in self._records() if one["best"]][-1]

    def _records(self) -> list[dict[str, Any]]:
        lines = (self._folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def _ended(study: optuna.Study, config: Config, folder: Path) -> Search:
    """All that ended, the best first; then what was pruned, then what came to nothing."""
    sign = 1 if config.evaluation.metric in LOWER_IS_BETTER else -1

    def order(trial: FrozenTrial) -> tuple[int, float, int]:
        value = _value(trial, sign)
        if value is None:
            return 2, 0.0, trial.number
        return int(trial.state != TrialState.COMPLETE), sign * value, trial.number

    trials = sorted(
        (one for one in study.get_trials(deepcopy=False) if one.state.is_finished()), key=order
    )
    if not any(one.state == TrialState.COMPLETE for one in trials):
        why = [one.user_attrs["why"] for one in trials if "why" in one.user_attrs]
        raise ConfigError(
            f"None of the {len(trials)} trials came to an end; the last: {why[-1]}. Search "
            "elsewhere, with a new --output"
        )
    return Search(config.evaluation.metric, [_tried(one, sign, folder) for one in trials])


def _tried(trial: FrozenTrial, sign: int, folder: Path) -> Tried:
    done = "done" if trial.state == TrialState.COMPLETE else "pruned"
    ended = trial.user_attrs.get("ended", done)
    first = int(ended.removeprefix("as ")) if ended.startswith("as ") else trial.number
    return Tried(
        trial.number,
        ended,
        _value(trial, sign),
        trial.params,
        _directory(folder, first),
        trial.user_attrs.get("why", ""),
    )


def _value(trial: FrozenTrial, sign: int) -> float | None:
    """The best figure of a trial; None where it came to nothing."""
    if trial.state == TrialState.COMPLETE:
        return trial.value
    if "why" in trial.user_attrs:
        return None
    return min(trial.intermediate_values.values(), key=lambda one: sign * one, default=None)


def _directory(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:03d}"


def _say(text: str) -> None:
    print(text, file=sys.stderr)
