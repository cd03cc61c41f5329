"""From files of pairs to a run directory: the whole way, in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch

from jumok.bundle import read_bundle
from jumok.config import (
    Config,
    TokenizerConfig,
    dotted_keys,
    from_tree,
    parse_settings,
    read_tree,
    resolve,
)
from jumok.data import (
    Dataset,
    Pair,
    PairFile,
    encode_pairs,
    read_pairs,
    read_texts,
    split_off_dev,
)
from jumok.engine.torch_engine import (
    TorchEngine,
    find_device,
    first_line,
    load_torch_engine,
    make_model,
)
from jumok.errors import ConfigError, DataError, Interrupted
from jumok.evaluation import evaluate_metric
from jumok.metrics import metric_value
from jumok.nn import Seq2Seq, initialise
from jumok.nn.arithmetic import cpu_arithmetic
from jumok.predictor import Predictor, load
from jumok.storage import find_directory, storage_errors, write_atomic
from jumok.text import Tokenizer, resolve_kind, split_features, train_tokenizer, unknown_rate
from jumok.training.interrupt import listen
from jumok.training.progress import ConsoleReporter
from jumok.training.trainer import Trainer, make_sampler, total_steps

Settings = Iterable[str] | Mapping[str, Any]


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
    names = [preset] if isinstance(preset, str) else list(preset)
    if config_file is None:
        names = ["language-model", *(name for name in names if name != "language-model")]
    config = _configure(texts, dev, names, config_file, settings)
    if config.model.reads:
        raise ConfigError(
            f"A language model has model.kind=language_model, but {config.model.kind} came. Take "
            "the preset language-model, and leave that as it is"
        )
    if tokens_of is None:
        return _train(config, Path(output))
    shared = read_bundle(tokens_of)
    config = _with_tokens_of(config, shared.config.text.target, tokens_of)
    return _train(config, Path(output), shared.target_tokenizer)


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
    names = [preset] if isinstance(preset, str) else list(preset)
    config = _configure(data, dev, names, config_file, settings)
    if not config.model.reads:
        raise ConfigError(
            "A language model is trained on texts and not on pairs: jumok train-lm FILE ..."
        )
    return _train(config, Path(output))


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


def _configure(
    data: str | Path | Sequence[str | Path],
    dev: str | Path | Sequence[str | Path],
    presets: Sequence[str],
    config_file: str | Path | None,
    settings: Settings,
) -> Config:
    config = resolve(presets, settings, {} if config_file is None else read_tree(Path(config_file)))
    files = config.data.model_copy(
        update={
            "train": _names(data) or _names(config.data.train),
            "dev": _names(dev) or _names(config.data.dev),
        }
    )
    return config.model_copy(update={"data": files})


def _train(config: Config, folder: Path, tokenizer: Tokenizer | None = None) -> Predictor:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"The output {folder} is a file. Give a new directory")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"The output directory {folder} is not empty. Give a new one, or go on with the run "
            f"in it: jumok train --resume {folder}"
        )
    find_device(config.train.device)
    if config.search.shortlist:
        raise ConfigError(
            "search.shortlist=true goes by a list that is made with a trained model (jumok "
            "shortlist). Train without it, and set it when you predict"
        )
    _try_metric(config)
    train_pairs, dev_pairs, report = _read(config)
    config = _settle(config, train_pairs)
    tokenizers = _tokenizers(train_pairs, config, tokenizer)
    corpus = _encode(train_pairs, dev_pairs, tokenizers, config, report)
    _fit(_new_model(config, tokenizers), config, corpus, folder)
    return load(folder, config.train.device)


def resume(directory: str | Path, settings: Settings = ()) -> Predictor:
    """Go on with an interrupted run, from the batch where it stopped.

    ``settings`` may change ``train.*`` keys (a later ``train.max_epochs``, say) and nothing else.
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
    config = resolve(settings=settings, base=begun.model_dump())
    find_device(config.train.device)
    last = find_directory(folder / "last")
    if not last.exists():
        raise ConfigError(
            f"The run in {folder} was stopped before its first checkpoint, so there is nothing to "
            f"go on from. Begin again: remove {folder}, or give another --output"
        )
    bundle = read_bundle(last)
    tokenizers = (bundle.source_tokenizer, bundle.target_tokenizer)
    train_pairs, dev_pairs, report = _read(config)
    corpus = _encode(train_pairs, dev_pairs, tokenizers, config, report)
    corpus.report.append(f"going on with {folder}")
    _fit(load_torch_engine(bundle).model, config, corpus, folder, last)
    return load(folder, config.train.device)


def _try_metric(config: Config) -> None:
    """Raise now, not after an epoch, where the metric needs a package that is missing."""
    if config.evaluation.metric != "perplexity":
        tokenize = config.evaluation.bleu_tokenize
        metric_value(config.evaluation.metric, ["a"], [["a"]], bleu_tokenize=tokenize)


class Corpus(NamedTuple):
    """Everything that was made of the files."""

    tokenizers: tuple[Tokenizer, Tokenizer]
    train: Dataset
    dev: Dataset
    report: list[str]
    """What there is to say about it, line by line."""


def _names(paths: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    """File names as a run keeps them: absolute, so that it can go on from another directory."""
    every = [paths] if isinstance(paths, str | Path) else list(paths)
    for path in every:
        if not isinstance(path, str | Path):
            raise ConfigError(
                f"Training reads files of pairs, but {path!r:.60} came. Write the pairs to a .tsv "
                "file and give its name"
            )
    return tuple(",".join(_absolute(part) for part in _parts(str(path))) for path in every)


def _parts(name: str) -> list[str]:
    """``SOURCE,TARGET`` as two, unless a file has that very name."""
    return [name] if Path(name).exists() else name.split(",")


def _absolute(name: str) -> str:
    return str(Path(name).absolute()) if Path(name).exists() else name


def _read(config: Config) -> tuple[list[Pair], list[Pair], list[str]]:
    """Training and validation pairs, and what there is to say about the files."""
    if not config.data.train:
        raise ConfigError(
            f"There is nothing to train on: give a file of {_what(config)}, jumok "
            f"{'train' if config.model.reads else 'train-lm'} FILE ..."
        )
    found = _read_files(config.data.train, config)
    report = _skipped(found.bad)
    pairs = found.pairs
    what = _what(config)
    if config.data.dev:
        dev_file = _read_files(config.data.dev, config)
        report += _skipped(dev_file.bad)
        dev_pairs = dev_file.pairs
    else:
        fraction = config.data.dev_fraction
        pairs, dev_pairs = split_off_dev(pairs, fraction, config.data.dev_seed)
        report.append(f"no dev file was given: {fraction:.0%} of the {what} are held out")
    report.append(f"{len(pairs):,} training {what}, {len(dev_pairs):,} validation {what}")
    return pairs, dev_pairs[: config.train.validate_pairs], report


def _read_files(paths: Sequence[str], config: Config) -> PairFile:
    if config.model.reads:
        return read_pairs(paths, config.data, config.model.encoder.features != "none")
    return read_texts(paths, config.data)


def _what(config: Config) -> str:
    """What it is trained on."""
    return "pairs" if config.model.reads else "texts"


def _skipped(bad: Sequence[DataError]) -> list[str]:
    """The first lines that were skipped, and how many there are."""
    if not bad:
        return []
    return [*(f"{error} (skipped)" for error in bad[:10]), f"{len(bad):,} bad lines skipped"]


class _Sources(NamedTuple):
    """The texts of all sources and, where they begin with features, these."""

    texts: list[str]
    features: list[str]


def _sources(pairs: Sequence[Pair], config: Config) -> _Sources:
    if config.model.encoder.features == "none":
        return _Sources([pair.source for pair in pairs], [])
    parts = [split_features(pair.source) for pair in pairs]
    return _Sources([part.text for part in parts], [part.features for part in parts])


def _tokenizers(
    pairs: Sequence[Pair], config: Config, given: Tokenizer | None
) -> tuple[Tokenizer, Tokenizer]:
    """Of the source and of the target. A language model has one, which may be ``given``."""
    if not config.model.reads:
        one = given or train_tokenizer((p.target for p in pairs), config.text.target)
        return one, one
    return (
        _source_tokenizer(pairs, config),
        train_tokenizer((p.target for p in pairs), config.text.target),
    )


def _source_tokenizer(pairs: Sequence[Pair], config: Config) -> Tokenizer:
    """Where a source begins with features, with a vocabulary of theirs."""
    sources = _sources(pairs, config)
    texts = train_tokenizer(sources.texts, config.text.source)
    if not sources.features:
        return texts
    return texts.with_features(train_tokenizer(sources.features, config.text.features))


def _settle(config: Config, pairs: Sequence[Pair]) -> Config:
    """Replace what depends on the data (tokenizer kind `auto`) by what was found."""

    def settled(side: TokenizerConfig, texts: list[str]) -> dict[str, Any]:
        return resolve_kind(texts, side).model_dump()

    text = {"target": settled(config.text.target, [p.target for p in pairs])}
    if config.model.reads:
        sources = _sources(pairs, config)
        text["source"] = settled(config.text.source, sources.texts)
        text["features"] = settled(config.text.features, sources.features)
    return from_tree({**config.model_dump(), "text": text})


def _encode(
    train_pairs: Sequence[Pair],
    dev_pairs: Sequence[Pair],
    tokenizers: tuple[Tokenizer, Tokenizer],
    config: Config,
    report: list[str],
) -> Corpus:
    reads = config.model.reads
    what = _what(config)
    sides = [("target", tokenizers[1], config.text.target)]
    if reads:
        sides.insert(0, ("source", tokenizers[0], config.text.source))
    for side, tokenizer, settings in sides:
        rates = [
            unknown_rate(tokenizer, [getattr(p, side) for p in pairs])
            for pairs in (train_pairs, dev_pairs)
        ]
        report.append(
            f"{side}: {tokenizer.kind} tokens, vocabulary {tokenizer.vocab_size:,} (minimum count "
            f"{settings.min_count}), unknown {rates[0]:.2%} of train, {rates[1]:.2%} of dev"
        )
    copies = config.model.attention.copy_tokens
    train_set, dev_set = (
        encode_pairs(some, *tokenizers, config.data, copies, least_source=int(reads))
        for some in (train_pairs, dev_pairs)
    )
    for name, dataset in (("training", train_set), ("validation", dev_set)):
        if dataset.dropped:
            report.append(
                f"{dataset.dropped:,} {name} {what} left out: too long, or without tokens"
            )
        if not len(dataset):
            raise DataError(
                f"None of the {dataset.dropped:,} {name} {what} can be used: all are longer than "
                f"data.max_source_length={config.data.max_source_length} or "
                f"data.max_target_length={config.data.max_target_length} tokens. Raise these limits"
            )
    return Corpus(tokenizers, train_set, dev_set, report)


def _new_model(config: Config, tokenizers: tuple[Tokenizer, Tokenizer]) -> Seq2Seq:
    """A model with its first weights."""
    torch.manual_seed(config.train.seed)
    try:
        model = make_model(config.model, *tokenizers)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise ConfigError(
            f"A model of these sizes does not fit into memory ({first_line(error)}). "
            "Lower model.encoder.hidden, model.decoder.hidden or the embeddings"
        ) from None
    initialise(model)
    return model


def _fit(
    model: Seq2Seq, config: Config, corpus: Corpus, folder: Path, last: Path | None = None
) -> None:
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    settings, metric = config.train, config.evaluation.metric
    model.to(settings.device)
    model.use_fast_roads(settings.fast)

    def measure(judged: Seq2Seq) -> float:
        engine = TorchEngine(judged, settings.device)
        return evaluate_metric(Predictor(engine, *corpus.tokenizers, config), corpus.dev.pairs)

    steps = total_steps(config, make_sampler(corpus.train, settings))
    budget = settings.max_minutes * 60 if settings.max_minutes else None
    reporter = ConsoleReporter(steps, budget, metric, folder / "train.log")
    # the fast road is for CPUs; on a GPU the same switch would mean TF32
    on_cpu = settings.device == "cpu"
    road = cpu_arithmetic(settings.threads, settings.fast) if on_cpu else nullcontext()

    def answer() -> None:
        reporter.message(
            "stopping as soon as all is kept; Ctrl-C again stops at once, without keeping more"
        )

    with listen(answer) as stop, reporter, road:
        trainer = Trainer(
            model,
            config,
            corpus.tokenizers,
            corpus.train,
            corpus.dev,
            measure,
            folder,
            reporter,
            stop,
        )
        if last is not None:
            trainer.resume(last)
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


def _stopped_at_once(folder: Path) -> str:
    if find_directory(folder / "last").exists():
        return f"Stopped. Go on from the last checkpoint with: jumok train --resume {folder}"
    return (
        "Stopped before the first checkpoint, so nothing is kept. Begin again with another "
        f"--output, or remove {folder}"
    )
