"""From files of pairs to a run directory: the whole way, in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, runtime_checkable

import torch

from jumok.bundle import read_bundle
from jumok.config import (
    Config,
    TeacherForcing,
    TokenizerConfig,
    dotted_keys,
    from_tree,
    parse_settings,
    read_tree,
    resolve,
)
from jumok.data import split_name
from jumok.engine.torch_engine import (
    TorchEngine,
    find_device,
    first_line,
    load_torch_engine,
    make_model,
)
from jumok.errors import BundleError, ConfigError, Diverged, Interrupted, TooLarge
from jumok.evaluation import Validation, validate
from jumok.metrics import try_metrics
from jumok.nn import Seq2Seq, initialise
from jumok.nn.arithmetic import cpu_arithmetic, gpu_arithmetic
from jumok.predictor import Predictor, load
from jumok.storage import (
    LOCK,
    alone,
    check_new,
    find_directory,
    old_directory,
    remove_directory,
    restore_directory,
    storage_errors,
    write_atomic,
)
from jumok.text import Tokenizer
from jumok.training.corpus import Corpus, make_corpus
from jumok.training.forecast import Forecast, forecast
from jumok.training.heap import kept_heap
from jumok.training.interrupt import StopRequest, listen
from jumok.training.progress import ConsoleReporter, Reporter, SilentReporter
from jumok.training.ranks import Ranks, device_of_rank, join_ranks
from jumok.training.schedule import given_share
from jumok.training.sinks import Record, Sinks, check_sinks
from jumok.training.state import read_state
from jumok.training.trainer import Trainer, make_sampler, total_steps

Settings = Iterable[str] | Mapping[str, Any]


@runtime_checkable
class Watch(Protocol):
    """Who looks after a run. What it raises ends the run."""

    def begun(self, stop: StopRequest) -> None:
        """The run begins, and ``stop`` hears the user."""

    def hear(self, record: Record) -> None:
        """A validation is done, and its checkpoint is not yet written."""


def train_lm(
    texts: str | Path | Sequence[str | Path] = (),
    *,
    output: str | Path,
    dev: str | Path | Sequence[str | Path] = (),
    preset: str | Sequence[str] = (),
    config_file: str | Path | None = None,
    settings: Settings = (),
    tokens_of: str | Path | None = None,
) -> Predictor:
    """Train a language model on files of texts, one a line, and return the best one.

    Args:
        tokens_of: a model whose target side it is to share the tokens of, so that it can judge that
            model's outputs (``search.lm_weight``); without it they are learnt from the texts.

    The rest is as in `train`. Without a ``config_file`` the preset ``language-model`` comes before
    all others.
    """
    config, tokenizer = _of_texts(texts, dev, preset, config_file, settings, tokens_of)
    return _train(config, Path(output), tokenizer)


def train(
    data: str | Path | Sequence[str | Path] = (),
    *,
    output: str | Path,
    dev: str | Path | Sequence[str | Path] = (),
    preset: str | Sequence[str] = (),
    config_file: str | Path | None = None,
    settings: Settings = (),
) -> Predictor:
    """Train on files of pairs and return the best model, ready to predict.

    Args:
        data: file or files of pairs; ``SOURCE,TARGET`` for two parallel plain-text files. May
            be left out where ``data.train`` is among the settings.
        output: a new directory for the run: ``best/`` and ``last/`` models, ``config.yaml``,
            ``metrics.jsonl``, ``train.log``.
        dev: validation pairs; without them ``data.dev_fraction`` (10 % if not set) is held out.
        preset: one preset or several.
        config_file: YAML file of settings to begin with, as the ``config.yaml`` of a run.
        settings: ``section.field=value`` strings, or a mapping of such keys.

    Raises `ConfigError`, `DataError`, `StorageError`, and `Interrupted` on Ctrl-C.
    """
    return _train(_of_pairs(data, dev, preset, config_file, settings), Path(output))


@kept_heap()
def forecast_training(
    data: str | Path | Sequence[str | Path] = (),
    *,
    dev: str | Path | Sequence[str | Path] = (),
    preset: str | Sequence[str] = (),
    config_file: str | Path | None = None,
    settings: Settings = (),
    language_model: bool = False,
    tokens_of: str | Path | None = None,
) -> tuple[list[str], Forecast]:
    """What `train` (or `train_lm`) with the same arguments would find in the files, and take.

    Nothing is written but what `train` would find in ``data.cache``. Raises what `train` would
    raise before it begins.
    """
    tokenizer = None
    if language_model:
        config, tokenizer = _of_texts(data, dev, preset, config_file, settings, tokens_of)
    else:
        config = _of_pairs(data, dev, preset, config_file, settings)
    check_possible(config)
    check_sinks(config)
    corpus = make_corpus(config, of_target=tokenizer)
    model = _new_model(corpus.config, corpus.tokenizers)
    with TemporaryDirectory() as folder, _arithmetic(config), _memory_errors():
        slowest = corpus._replace(config=_as_at_the_end(corpus))
        trainer = _trainer(
            model, slowest, Path(folder), SilentReporter(), StopRequest(lambda: None), Ranks()
        )
        try:
            return corpus.report, forecast(trainer, corpus.config)
        except Diverged:
            raise Diverged(
                "In the updates that were tried, the loss or its gradient shot up or was no finite "
                "number: so it would in the run. Lower it: --set train.learning_rate="
                f"{config.train.learning_rate / 10:g}"
            ) from None


def _as_at_the_end(corpus: Corpus) -> Config:
    """Its settings with as few given tokens in each update as in the last one: own tokens take
    longer."""
    config = corpus.config
    forcing = config.train.teacher_forcing
    last = total_steps(config, make_sampler(corpus.train, config))
    share = given_share(forcing, last)
    # where every token is given, a way to choose the own ones is refused
    fixed = TeacherForcing(rate=share, own=forcing.own) if share < 1 else TeacherForcing()
    return config.model_copy(
        update={"train": config.train.model_copy(update={"teacher_forcing": fixed})}
    )


def _of_pairs(
    data: str | Path | Sequence[str | Path],
    dev: str | Path | Sequence[str | Path],
    preset: str | Sequence[str],
    config_file: str | Path | None,
    settings: Settings,
) -> Config:
    config = configure(data, dev, preset, config_file, settings)
    if not config.model.reads:
        raise ConfigError(
            "A language model is trained on texts and not on pairs: jumok train-lm FILE ..."
        )
    return config


def _must_be_of_texts(kind: object) -> None:
    if kind != "language_model":
        raise ConfigError(
            f"A language model has model.kind=language_model, but {kind} came. Take the preset "
            "language-model, and leave that as it is"
        )


def _of_texts(
    texts: str | Path | Sequence[str | Path],
    dev: str | Path | Sequence[str | Path],
    preset: str | Sequence[str],
    config_file: str | Path | None,
    settings: Settings,
    tokens_of: str | Path | None,
) -> tuple[Config, Tokenizer | None]:
    names = _presets(preset)
    if config_file is None:
        names = ["language-model", *(name for name in names if name != "language-model")]
    settings = parse_settings(settings)
    # before it is told what else a model of another kind would lack
    _must_be_of_texts(settings.get("model.kind", "language_model"))
    config = configure(texts, dev, names, config_file, settings)
    _must_be_of_texts(config.model.kind)
    if tokens_of is None:
        return config, None
    shared = read_bundle(tokens_of)
    config = _with_tokens_of(config, shared.config.text.target, tokens_of)
    return config, shared.target_tokenizer


def _with_tokens_of(config: Config, theirs: TokenizerConfig, model: str | Path) -> Config:
    """``config`` with what it says of tokens taken from the model that has made them.

    Refuses settings of one's own, which neither the preset says nor that model.
    """
    preset = resolve(["language-model"]).text.target
    for field in TokenizerConfig.model_fields:
        own, found = getattr(config.text.target, field), getattr(theirs, field)
        if own not in (found, getattr(preset, field)):
            raise ConfigError(
                f"text.target.{field}={str(own).lower()} says how to cut texts, but --tokens-of "
                f"takes the tokens of {model}, which has {str(found).lower()}. Leave one of the "
                "two out"
            )
    text = config.text.model_copy(update={"target": theirs})
    return config.model_copy(update={"text": text})


def configure(
    data: str | Path | Sequence[str | Path],
    dev: str | Path | Sequence[str | Path],
    preset: str | Sequence[str],
    config_file: str | Path | None,
    settings: Settings,
) -> Config:
    """All settings of a run on these files."""
    base = {} if config_file is None else read_tree(Path(config_file))
    config = resolve(_presets(preset), settings, base)
    form = config.data.format
    files = config.data.model_copy(
        update={
            "train": _names(data or config.data.train, form),
            "dev": _names(dev or config.data.dev, form),
            "cache": _place(config.data.cache),
        }
    )
    return config.model_copy(update={"data": files})


def _presets(preset: str | Sequence[str]) -> list[str]:
    return [preset] if isinstance(preset, str) else list(preset)


def _place(cache: str) -> str:
    return cache if cache in ("auto", "none") else str(Path(cache).absolute())


def _train(config: Config, folder: Path, tokenizer: Tokenizer | None = None) -> Predictor:
    with join_ranks(config.train.device) as ranks:
        if ranks.leads:
            _check_new(folder)
        begin(config, folder, tokenizer, ranks)
        return load(folder, config.train.device)


@kept_heap()
def begin(
    config: Config,
    folder: Path,
    tokenizer: Tokenizer | None,
    ranks: Ranks,
    watch: Watch | None = None,
) -> None:
    """A new run in ``folder``; the target's tokens are those of ``tokenizer`` or learnt."""
    check_possible(config)
    if ranks.leads:
        check_sinks(config)
    corpus = make_corpus(config, of_target=tokenizer, quiet=not ranks.leads)
    model = _new_model(corpus.config, corpus.tokenizers)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, ranks):
        if ranks.leads:
            _check_new(folder)  # as another process may have been faster
        _fit(model, corpus, folder, ranks, watch=watch)


def _check_new(folder: Path) -> None:
    check_new(folder, f"or go on with the run in it: jumok train --resume {folder}")


def _alone(folder: Path, ranks: Ranks) -> AbstractContextManager[None]:
    """No other run works in ``folder`` meanwhile; rank 0 sees to it for all ranks."""
    if not ranks.leads:
        return nullcontext()
    busy = f"Another process trains in {folder}. Wait until it has ended, or give another --output"
    return alone(folder, busy)


def check_possible(config: Config) -> None:
    """Raise now what would be raised when it has taken long already."""
    find_device(device_of_rank(config.train.device))
    if config.search.shortlist:
        raise ConfigError(
            "search.shortlist=true goes by a list that is made with a trained model (jumok "
            "shortlist). Train without it, and set it when you predict"
        )
    judged = config.evaluation
    if judged.metric != "perplexity":  # beside it, errors of tokens are told, too
        try_metrics((judged.metric, "per"), bleu_tokenize=judged.bleu_tokenize)


def resume(directory: str | Path, settings: Settings = ()) -> Predictor:
    """Go on with an interrupted run, from the batch where it stopped.

    ``settings`` may change ``train.*`` keys (a later ``train.max_epochs``, say) and nothing else,
    and not ``train.validate_pairs``.
    """
    folder = Path(directory)
    if not (folder / "config.yaml").exists():
        raise ConfigError(f"{folder} holds no run to go on with: there is no config.yaml in it")
    begun = from_tree(read_tree(folder / "config.yaml"))
    for key in parse_settings(settings):
        if key in dotted_keys() and not key.startswith("train."):
            raise ConfigError(
                f"A run that goes on can change train.* settings and no others, but {key} came"
            )
        if key == "train.validate_pairs":
            raise ConfigError(
                f"{key} decides on what a run is judged, so that its figures could not be compared "
                "with those before. Leave it as it is, or begin a new run"
            )
    config = resolve(settings=settings, base=begun.model_dump())
    with join_ranks(config.train.device) as ranks:
        go_on(config, folder, ranks)
        return load(folder, config.train.device)


@kept_heap()
def go_on(config: Config, folder: Path, ranks: Ranks, watch: Watch | None = None) -> None:
    """Go on with the run in ``folder``, from its last checkpoint."""
    find_device(device_of_rank(config.train.device))
    if ranks.leads:
        check_sinks(config)
    with _alone(folder, ranks):
        last, damage = _newest_intact(folder)
        bundle = read_bundle(last)
        tokenizers = bundle.source_tokenizer, bundle.target_tokenizer
        corpus = make_corpus(config, tokenizers, quiet=not ranks.leads)
        corpus.report.extend([*damage, f"going on with {folder}"])
        _fit(load_torch_engine(bundle).model, corpus, folder, ranks, last, watch)


def _newest_intact(folder: Path) -> tuple[Path, list[str]]:
    """The checkpoint to go on from, and what there is to say of a newer one that is damaged."""
    last = folder / "last"
    there = [path for path in (last, old_directory(last)) if path.exists()]
    if not there:
        raise ConfigError(
            f"The run in {folder} was stopped before its first checkpoint, so there is nothing to "
            f"go on from. Begin again: remove {folder}, or give another --output"
        )
    damage: list[str] = []
    for path in there:
        try:
            read_bundle(path).check_weights()
            state, _ = read_state(path)
        except BundleError as error:
            damage.append(str(error))
        else:
            if damage:
                damage.append(f"the checkpoint before that one is intact: step {state.step}")
            return path, damage
    raise BundleError(" ".join(damage))


def _put_back(last: Path) -> None:
    """Put the checkpoint before in the place of the one that is damaged, which would else take its
    place with the next one."""
    if last.exists():
        remove_directory(last)
    restore_directory(last)


def _names(paths: str | Path | Sequence[str | Path], form: str) -> tuple[str, ...]:
    """File names as a run keeps them: absolute, so that it can go on from another directory."""
    every = [paths] if isinstance(paths, str | Path) else list(paths)
    for path in every:
        if not isinstance(path, str | Path):
            raise ConfigError(
                f"Training reads files of pairs, but {path!r:.60} came. Write the pairs to a .tsv "
                "file and give its name"
            )
    return tuple(",".join(map(_absolute, split_name(path, form))) for path in every)


def _absolute(path: Path) -> str:
    return str(path.absolute() if path.exists() else path)


def _new_model(config: Config, tokenizers: tuple[Tokenizer, Tokenizer]) -> Seq2Seq:
    """A model with its first weights."""
    torch.manual_seed(config.train.seed)
    try:
        model = make_model(config.model, *tokenizers)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise TooLarge(
            f"A model of these sizes does not fit into memory ({first_line(error)}). "
            "Lower model.encoder.hidden, model.decoder.hidden or the embeddings"
        ) from None
    initialise(model)
    return model


def _trainer(
    model: Seq2Seq,
    corpus: Corpus,
    folder: Path,
    reporter: Reporter,
    stop: StopRequest,
    ranks: Ranks,
    hear: Callable[[Record], None] = lambda record: None,
) -> Trainer:
    config = corpus.config
    device = device_of_rank(config.train.device)
    model.to(device)
    if ranks.world > 1:  # noise of its own for each; the weights are rank 0's
        torch.manual_seed(config.train.seed + ranks.rank)
    model.use_fast_roads(config.train.fast)

    def measure(judged: Seq2Seq) -> Validation:
        engine = TorchEngine(judged, device)
        return validate(Predictor(engine, *corpus.tokenizers, config), corpus.dev.pairs)

    return Trainer(
        model,
        config,
        corpus.tokenizers,
        corpus.train,
        corpus.dev,
        measure,
        folder,
        reporter,
        stop,
        ranks,
        hear,
    )


def _arithmetic(config: Config) -> AbstractContextManager[object]:
    """The fast road is for CPUs, on a GPU its switch would mean TF32; and for batches: with one row
    oneDNN's products take twice as long as torch's own, and an update a tenth longer."""
    settings = config.train
    if settings.device == "cpu":
        return cpu_arithmetic(settings.threads, settings.fast and settings.batch_size > 1)
    return gpu_arithmetic(torch.device(settings.device))


_NO_MEMORY = "can't allocate memory", "CUDA error: out of memory"
"""What torch says of a CPU's memory, and of a GPU's where it did not ask for it itself."""


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn what is raised where memory runs out into a `TooLarge` with advice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(words in str(error) for words in _NO_MEMORY):
            raise
        raise TooLarge(
            f"The training does not fit into memory ({first_line(error)}). Lower train.batch_size "
            "(or train.batch_tokens) and raise train.accumulate as much, or make the model smaller"
        ) from None


def _fit(
    model: Seq2Seq,
    corpus: Corpus,
    folder: Path,
    ranks: Ranks,
    last: Path | None = None,
    watch: Watch | None = None,
) -> None:
    config = corpus.config
    settings, metric = config.train, config.evaluation.metric
    steps = total_steps(config, make_sampler(corpus.train, config))
    budget = settings.max_minutes * 60 if settings.max_minutes else None
    reporter: Reporter = (
        ConsoleReporter(steps, budget, metric, folder / "train.log")
        if ranks.leads
        else SilentReporter()
    )

    def answer() -> None:
        reporter.message(
            "stopping as soon as all is kept; Ctrl-C again stops at once, without keeping more"
        )

    told = config if ranks.leads else None
    with (
        listen(answer) as stop,
        reporter,
        _arithmetic(config),
        _memory_errors(),
        Sinks(told, folder, reporter) as sinks,
    ):
        if watch is not None:
            watch.begun(stop)

        def hear(record: Record) -> None:
            sinks.hear(record)
            if watch is not None:
                watch.hear(record)

        trainer = _trainer(model, corpus, folder, reporter, stop, ranks, hear)
        if last is not None:
            trainer.resume(last)
        ranks.wait()  # until everybody has read what may be written anew
        try:
            sinks.begin(trainer.state.step)
        except ConfigError:
            if last is None and ranks.leads:
                _empty(folder)  # what others have begun would stand in the way of another attempt
            raise
        if ranks.leads:
            if last == old_directory(folder / "last"):
                _put_back(folder / "last")
            write_atomic(folder / "config.yaml", config.to_yaml())
        for line in corpus.report:
            reporter.message(line)
        reporter.message(f"model: {sum(p.numel() for p in model.parameters()):,} parameters")
        try:
            state = trainer.fit()
        except KeyboardInterrupt:
            raise Interrupted(_stopped_at_once(folder)) from None
        best = "no better model" if state.best is None else f"best {metric} {state.best:.2f}"
        reporter.message(
            f"done after {state.step} updates and {state.seconds:.0f} s ({trainer.limit()}); "
            f"{best}; model in {folder / 'best'}"
        )
        ranks.wait()  # until the best model is there


def _empty(folder: Path) -> None:
    """Remove what a run that has not begun has left in its new directory, but for the lock."""
    with storage_errors(folder):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()


def _stopped_at_once(folder: Path) -> str:
    if find_directory(folder / "last").exists():
        return f"Stopped. Go on from the last checkpoint with: jumok train --resume {folder}"
    return (
        "Stopped before the first checkpoint, so nothing is kept. Begin again with another "
        f"--output, or remove {folder}"
    )
