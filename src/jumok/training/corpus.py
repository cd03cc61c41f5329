"""From files of pairs to ids: read, cut into tokens, encoded; in memory, or kept on the disk.

What is kept on the disk lies in ``data.cache``, one directory for tokenizers and one for each set
of ids, named by a hash of all that they follow from: the files' contents, how they are read, the
tokenizers, the limits. So it is made once, and found again by whatever run needs the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from jumok.config import Config, TokenizerConfig, from_tree, shown
from jumok.data import (
    Dataset,
    Pair,
    Part,
    Parts,
    encode_parts,
    files_of,
    open_dataset,
    pairs_drawn,
    read_parts,
    split_parts,
)
from jumok.errors import ConfigError, DataError
from jumok.progress import Bar
from jumok.storage import replace_directory, sha256, storage_errors, write_atomic
from jumok.text import Tokenizer, resolve_kind, split_features, train_tokenizer

LARGE = 50_000_000
"""Bytes of files from which on their ids are kept on the disk, where ``data.cache`` is `auto`."""
_VERSION = 1
"""Of what is kept: another one is made anew."""
_SKIPPED = "skipped.json"
_SIDES = ("source", "target")


class Corpus(NamedTuple):
    """Everything that was made of the files."""

    config: Config
    """With what depends on the data (tokenizer kind `auto`) settled."""
    tokenizers: tuple[Tokenizer, Tokenizer]
    train: Dataset
    dev: Dataset
    report: list[str]
    """What there is to say about it, line by line."""


def make_corpus(
    config: Config,
    tokenizers: tuple[Tokenizer, Tokenizer] | None = None,
    of_target: Tokenizer | None = None,
    quiet: bool = False,
) -> Corpus:
    """Read and encode the files of ``config.data``.

    Args:
        tokenizers: of the source and of the target; without them they are learnt.
        of_target: that of the target alone, in the same way.
        quiet: show no progress.

    Raises `ConfigError` and `DataError`.
    """
    if not config.data.train:
        raise ConfigError(
            f"There is nothing to train on: give a file of {_what(config)}, jumok "
            f"{'train' if config.model.reads else 'train-lm'} FILE ..."
        )
    weights = config.data.weights
    if weights and len(weights) != len(config.data.train):
        raise ConfigError(
            f"data.weights has a number for each training file, but there are {len(weights)} for "
            f"{len(config.data.train)} files. Give as many"
        )
    with Bar(quiet) as bar:
        cache = _cache(config)
        files = _Files(config, cache is None, bar)
        if tokenizers is None:
            config, tokenizers = _tokenizers(config, files, of_target, cache)
        train, dev = (_dataset(part, config, files, tokenizers, cache) for part in ("train", "dev"))
        skipped = files.read[2] if cache is None else cache.skipped
    report = _report(config, tokenizers, train, dev, skipped)
    if weights and not pairs_drawn(train.counts.ends, weights):
        raise ConfigError(
            f"data.weights={shown(weights)} leaves none of the {len(train):,} training "
            f"{_what(config)} to an epoch. Raise the weights"
        )
    return Corpus(config, tokenizers, train, dev, report)


def _what(config: Config) -> str:
    """What it is trained on."""
    return "pairs" if config.model.reads else "texts"


def _ignores_case(config: Config) -> bool:
    """Whether texts that differ in case alone are one to the model."""
    text = config.text
    return (text.source if config.model.reads else text.target).lowercase


class _Files:
    """The files of a run, which are not read before anybody asks."""

    def __init__(self, config: Config, in_memory: bool, bar: Bar) -> None:
        self.config, self.in_memory, self.bar = config, in_memory, bar

    def _read(self, paths: Sequence[str]) -> Parts:
        config = self.config
        return read_parts(
            paths,
            config.data,
            features=config.model.encoder.features != "none",
            texts_alone=not config.model.reads,
            lowercase=_ignores_case(config),
            in_memory=self.in_memory,
            tell=lambda read: self.bar.show(None, "reading", f"{read:,} {_what(config)}"),
        )

    @cached_property
    def read(self) -> tuple[list[Part], list[Part], Skipped]:
        """Training and validation pairs, and what was skipped."""
        data = self.config.data
        found = self._read(data.train)
        skipped = _skipped(found)
        if data.dev:
            dev = self._read(data.dev)
            return found.parts, dev.parts, [*skipped, *_skipped(dev)]
        alone = not self.config.model.reads
        train, held = split_parts(found.parts, data.dev_fraction, data.dev_seed, alone)
        return train, held, skipped

    def all(self, side: str) -> _Texts:
        """The texts of one side of the training pairs, as often as wanted."""
        return _Texts(self.read[0], lambda pair: getattr(pair, side))


Skipped = list[str]
"""The first lines that were skipped, and how many there are."""


def _skipped(found: Parts) -> Skipped:
    if not found.bad:
        return []
    return [
        *(f"{error} (skipped)" for error in found.bad),
        f"{found.bad_lines:,} bad lines skipped",
    ]


class _Texts(Iterable[str]):
    """Something of each pair, whenever they are gone through."""

    def __init__(self, parts: Sequence[Part], pick: Callable[[Pair], str]) -> None:
        self._parts, self._pick = parts, pick

    def __iter__(self) -> Iterator[str]:
        return (self._pick(pair) for part in self._parts for pair in part.pairs)


# --- tokenizers ------------------------------------------------------------------------------


def _tokenizers(
    config: Config, files: _Files, of_target: Tokenizer | None, cache: _Cache | None
) -> tuple[Config, tuple[Tokenizer, Tokenizer]]:
    """Of the source and of the target, and the configuration with their kinds settled."""
    if cache is None:
        return _learn_tokenizers(config, files, of_target)
    given = None if of_target is None else of_target.to_json()
    store = cache.folder("tokenizers", [config.text.model_dump(), given])
    with cache.lock(store):
        if not store.exists():
            settled, made = _learn_tokenizers(config, files, of_target)
            with replace_directory(store) as folder:
                for side, tokenizer in zip(_SIDES, made, strict=True):
                    tokenizer.save(folder / f"{side}.json")
                text = json.dumps(settled.text.model_dump())
                (folder / "text.json").write_text(text, encoding="utf-8")
    text = json.loads((store / "text.json").read_text(encoding="utf-8"))
    source, target = (Tokenizer.load(store / f"{side}.json") for side in _SIDES)
    settled = from_tree({**config.model_dump(), "text": text})
    return settled, (target if not config.model.reads else source, target)


def _learn_tokenizers(
    config: Config, files: _Files, of_target: Tokenizer | None
) -> tuple[Config, tuple[Tokenizer, Tokenizer]]:
    def settled(side: TokenizerConfig, texts: Iterable[str]) -> dict[str, Any]:
        return resolve_kind(texts, side).model_dump()

    targets = files.all("target")
    text = {"target": settled(config.text.target, targets)}
    if not config.model.reads:
        config = from_tree({**config.model_dump(), "text": text})
        one = of_target or train_tokenizer(targets, config.text.target)
        return config, (one, one)
    sources, features = files.all("source"), None
    if config.model.encoder.features != "none":
        train = files.read[0]
        sources = _Texts(train, lambda pair: split_features(pair.source).text)
        features = _Texts(train, lambda pair: split_features(pair.source).features)
    text["source"] = settled(config.text.source, sources)
    text["features"] = settled(config.text.features, features or [])
    config = from_tree({**config.model_dump(), "text": text})
    of_source = train_tokenizer(sources, config.text.source)
    if features is not None:
        of_source = of_source.with_features(train_tokenizer(features, config.text.features))
    return config, (of_source, of_target or train_tokenizer(targets, config.text.target))


# --- ids -------------------------------------------------------------------------------------


def _dataset(
    part: str,
    config: Config,
    files: _Files,
    tokenizers: tuple[Tokenizer, Tokenizer],
    cache: _Cache | None,
) -> Dataset:
    """Ids of the training or the validation pairs."""
    data, copies = config.data, config.model.attention.copy_tokens
    most = config.train.validate_pairs if part == "dev" else None

    def encode(store: Path | None) -> Dataset:
        train, dev, skipped = files.read
        if store is not None:
            store.mkdir(exist_ok=True)
            write_atomic(store / _SKIPPED, json.dumps(skipped, ensure_ascii=False))
        parts = train if part == "train" else dev
        whole = sum(len(one.sources) for one in parts)
        if most is not None:
            whole = min(whole, most)
        return encode_parts(
            _first([one.pairs for one in parts], most),
            *tokenizers,
            data,
            copies,
            least_source=int(config.model.reads),
            store=store,
            tell=lambda read: files.bar.show(read / whole, "encoding", f"{read:,} of {whole:,}"),
        )

    if cache is None:
        return encode(None)
    limits = [data.max_source_length, data.max_target_length, copies, most]
    store = cache.folder("ids", [part, limits, *(one.to_json() for one in tokenizers)])
    with cache.lock(store):
        found = open_dataset(store)
        if found is None:
            found = encode(store)
    cache.skipped = json.loads((store / _SKIPPED).read_text(encoding="utf-8"))
    return found


def _first(parts: Sequence[Iterable[Pair]], most: int | None) -> list[Iterable[Pair]]:
    """The first so many pairs of all parts."""
    if most is None:
        return list(parts)
    first: list[Pair] = []
    for part in parts:
        for pair in part:
            if len(first) == most:
                return [first]
            first.append(pair)
    return [first]


class _Cache:
    """Where what was made of these files lies."""

    def __init__(self, config: Config, folder: Path) -> None:
        self._folder = folder
        self.skipped: Skipped = []
        data = config.data
        held_out = [data.dev_fraction, data.dev_seed, *(["lowercase"] * _ignores_case(config))]
        reading = {"format", "source_column", "target_column", "features_column", "encoding"}
        self._known = [
            _VERSION,
            [contents(path, data.format) for path in data.train],
            [contents(path, data.format) for path in data.dev] or held_out,
            data.model_dump(include={*reading, "skip_bad_lines"}),
            config.model.encoder.features,
            config.model.reads,
        ]

    def folder(self, what: str, of: Sequence[Any]) -> Path:
        """The directory of what follows from the files and from ``of``."""
        text = json.dumps([self._known, *of], sort_keys=True, ensure_ascii=False)
        return self._folder / f"{what}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def lock(self, store: Path) -> FileLock:
        """Nobody else makes the same at the same time."""
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            return FileLock(f"{store}.lock")


def _cache(config: Config) -> _Cache | None:
    """None where everything stays in memory."""
    data = config.data
    if data.cache == "none":
        return None
    if data.cache != "auto":
        return _Cache(config, Path(data.cache))
    sizes = [
        _size(path) for name in (*data.train, *data.dev) for path in files_of(name, data.format)
    ]
    if sum(sizes) < LARGE:
        return None
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return _Cache(config, Path(base) / "jumok")


def _size(path: Path) -> int:
    """Bytes, guessed where they are packed."""
    size = path.stat().st_size
    return 3 * size if path.suffix == ".gz" else size


def contents(name: str, form: str = "auto") -> list[str]:
    """SHA-256 of each file of ``name``, and the ending, which says how it is read."""
    found = []
    for path in files_of(name, form):
        if not path.is_file():
            raise DataError(
                f"{path} is a pipe or a device, which can be read only once; jumok tune and "
                "data.cache read it again. Write it into a file first"
            )
        ending = Path(path.name.lower().removesuffix(".gz")).suffix
        found.append(sha256(path) + ending)
    return found


# --- the report ------------------------------------------------------------------------------


def _report(
    config: Config,
    tokenizers: tuple[Tokenizer, Tokenizer],
    train: Dataset,
    dev: Dataset,
    skipped: Skipped,
) -> list[str]:
    what = _what(config)
    report = list(skipped)
    if not config.data.dev:
        report.append(
            f"no dev file was given: {100 * config.data.dev_fraction:g}% of the {what} are held out"
        )
    read = [len(dataset) + dataset.counts.dropped for dataset in (train, dev)]
    report.append(f"{read[0]:,} training {what}, {read[1]:,} validation {what}")
    for i, side in enumerate(_SIDES):
        if side == "source" and not config.model.reads:
            continue
        tokenizer, settings = tokenizers[i], getattr(config.text, side)
        rates = [dataset.unknown_rates()[i] for dataset in (train, dev)]
        report.append(
            f"{side}: {tokenizer.kind} tokens, vocabulary {tokenizer.vocab_size:,} (minimum count "
            f"{settings.min_count}), unknown {rates[0]:.2%} of train, {rates[1]:.2%} of dev"
        )
    for name, dataset in (("training", train), ("validation", dev)):
        dropped = dataset.counts.dropped
        if dropped:
            report.append(f"{dropped:,} {name} {what} left out: too long, or without tokens")
        if not len(dataset):
            raise DataError(
                f"None of the {dropped:,} {name} {what} can be used: all are longer than "
                f"data.max_source_length={config.data.max_source_length} or "
                f"data.max_target_length={config.data.max_target_length} tokens. Raise these limits"
            )
    return report
