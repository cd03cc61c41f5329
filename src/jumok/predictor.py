"""Text in, `Prediction` out: the one object that front ends see."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
from jaxtyping import Float, Int

from jumok.bundle import Bundle, Shortlist, read_bundle, read_shortlist
from jumok.config import Config, SearchConfig, resolve
from jumok.constraints import Constraints
from jumok.data import Copying, copy_row, pad, sorted_batches, source_ids, source_order
from jumok.engine import (
    Candidates,
    Engine,
    EngineName,
    EnsembleEngine,
    FusionEngine,
    WholeSearch,
    load_engine,
)
from jumok.errors import ConfigError, InputError
from jumok.metrics import perplexity
from jumok.prediction import Prediction
from jumok.progress import Counted
from jumok.search import (
    CoveragePenalty,
    Hypothesis,
    Sampling,
    Task,
    Watch,
    beam_search,
    coverage_penalty,
    forced_search,
    greedy_search,
    length_penalty,
    mean_of_heads,
    sample_search,
)
from jumok.text import BOS, EOS, PAD, SPACE, SPECIALS, UNK, Encoding, Speller, Tokenizer

_T = TypeVar("_T", bound=Sized)
_P = TypeVar("_P", bound="Predictor")

OF_THE_MODEL = {"lm_weight": 0.0, "coverage_penalty": 0.0}
"""Search settings under which `Predictor.score` gives the model's own probabilities."""

_OF_GIVEN_TEXTS = frozenset({"batch_size", "max_source_length"})
"""Search settings that say something of texts that are given."""

_OF_SCORES = _OF_GIVEN_TEXTS | {*OF_THE_MODEL, "length_penalty", "length_alpha"}
"""And those that say something of their scores."""


def check_of_given_texts(
    search: Mapping[str, Any], useful: Collection[str] = _OF_GIVEN_TEXTS
) -> None:
    """Raise `ConfigError` for a search setting that says nothing where both texts are given."""
    idle = sorted(search.keys() - useful)
    if idle:
        *others, last = (f"search.{key}" for key in sorted(useful))
        raise ConfigError(
            f"search.{idle[0]} is of no use where both texts are given: only "
            f"{', '.join(others)} and {last} are. Leave it out"
        )


def check_prefixes(prefix: str | Sequence[str] | None, texts: Sequence[str]) -> None:
    """Raise `InputError` unless there is a prefix for each text, one for all, or none."""
    if not (prefix is None or isinstance(prefix, str) or len(prefix) == len(texts)):
        raise InputError(
            f"There must be a prefix for each of the {len(texts)} texts, or one string for all, "
            f"but {len(prefix)} prefixes came"
        )


def load(
    path: str | Path | Sequence[str | Path],
    device: str = "cpu",
    language_model: str | Path | None = None,
    engine: EngineName = "auto",
) -> Predictor:
    """Load a model directory, or a run directory's best model; several are an ensemble.

    The settings of an ensemble are those of its first model, and so is its shortlist. A
    ``language_model`` of the same target tokens judges outputs with ``search.lm_weight``. For
    ``engine`` see `jumok.engine.load_engine`.

    Raises `BundleError` for a damaged directory, `ConfigError` for models that cannot go together,
    and `MissingExtra` where torch is needed and absent.
    """
    paths = [path] if isinstance(path, str | Path) else list(path)
    if not paths:
        raise ConfigError("Name a model to load, or several for an ensemble, but none came")
    bundles = [read_bundle(one) for one in paths]
    first, *others = bundles
    for other in others:
        _check_alike(first, other)
    judge = None if language_model is None else read_bundle(language_model)
    if judge is not None:
        _check_judge(first, judge)
    engines = [load_engine(bundle, device, engine) for bundle in bundles]
    kind = Predictor if first.config.model.reads else LanguageModel
    return kind(
        EnsembleEngine(engines) if others else engines[0],
        first.source_tokenizer,
        first.target_tokenizer,
        first.config,
        None if judge is None else load_engine(judge, device, engine),
        partial(read_shortlist, first),
    )


def _check_judge(model: Bundle, judge: Bundle) -> None:
    """Raise `ConfigError` unless ``judge`` can say how probable the model's outputs are."""
    if judge.config.model.reads:
        raise ConfigError(
            f"{judge.path} is no language model. Train one: jumok train-lm TEXT... --tokens-of "
            f"{model.path}"
        )
    if judge.target_tokenizer.to_json() != model.target_tokenizer.to_json():
        raise ConfigError(
            f"A language model that judges outputs must have the same tokens, but {judge.path} has "
            f"others. Train it with jumok train-lm TEXT... --tokens-of {model.path}"
        )


def _check_alike(one: Bundle, other: Bundle) -> None:
    """Raise `ConfigError` unless two models read and write alike."""
    alike = {
        "be of one kind (model.kind)": one.config.model.kind == other.config.model.kind,
        "cut the target into the same tokens": (
            one.target_tokenizer.to_json() == other.target_tokenizer.to_json()
        ),
        "cut the source into the same tokens": (
            one.source_tokenizer.to_json() == other.source_tokenizer.to_json()
        ),
        "read in the same direction (data.reverse_source)": (
            one.config.data.reverse_source == other.config.data.reverse_source
        ),
        "all copy or all not copy (model.attention.copy_tokens)": (
            one.config.model.attention.copy_tokens == other.config.model.attention.copy_tokens
        ),
    }
    for demand, met in alike.items():
        if not met:
            raise ConfigError(
                f"The models of an ensemble must {demand}, but {one.path} and {other.path} do not. "
                "Train them on the same pairs with the same text settings"
            )


class Predictor:
    """A model with its tokenizers and settings.

    The same text gives the same output whatever stands beside it: batches are made for speed
    alone.
    """

    def __init__(
        self,
        engine: Engine,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        config: Config,
        judge: Engine | None = None,
        find_shortlist: Callable[[], Shortlist | None] = lambda: None,
    ) -> None:
        self.engine = engine
        self._find_shortlist = find_shortlist
        self.judge = judge
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer
        self.config = config
        self._forbidden = np.zeros(engine.target_vocab, dtype=bool)
        self._forbidden[[PAD, BOS, UNK]] = True
        copies = config.model.attention.copy_tokens
        self._copying = Copying(source_tokenizer, target_tokenizer) if copies else None
        self._reads = config.model.reads
        # from a mean of members, or beside a judge, it cannot be told what made a token probable
        self._tells_copies = judge is None and not isinstance(engine, EnsembleEngine)

    @overload
    def predict(
        self,
        source: str,
        *,
        prefix: str | None = None,
        choices: Sequence[str] | None = None,
        dictionary: Mapping[str, str] | None = None,
        tell: Counted | None = None,
        **search: Any,
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        source: Sequence[str],
        *,
        prefix: str | Sequence[str] | None = None,
        choices: Sequence[str] | None = None,
        dictionary: Mapping[str, str] | None = None,
        tell: Counted | None = None,
        **search: Any,
    ) -> list[Prediction]: ...
    def predict(
        self,
        source: str | Sequence[str],
        *,
        prefix: str | Sequence[str] | None = None,
        choices: Sequence[str] | None = None,
        dictionary: Mapping[str, str] | None = None,
        tell: Counted | None = None,
        **search: Any,
    ) -> Prediction | list[Prediction]:
        """Output for one text, or a list of outputs for a list of texts.

        Keywords are fields of `SearchConfig` (``beam=5, n_best=3``) that stand in for the model's
        own; ``n_best`` without ``beam`` widens the beam where it must, to a multiple of ``groups``.
        A text without any token gives an empty output, so that lines stay beside lines. There are
        fewer outputs than ``n_best`` where a beam finds no more that differ.

        Args:
            source: the text or texts.
            prefix: what outputs begin with, one for all or one for each text.
            choices: the only outputs there are.
            dictionary: with ``replace_unknown``, what to write for a source token, if not itself.
            tell: told how many texts are done, and of how many that are not empty.
            search: fields of `SearchConfig`.

        Raises `InputError`, with the text's ``index``, for one of more tokens than
        ``search.max_source_length``, and where no output meets what is asked.
        """
        if isinstance(source, str):
            one = prefix if prefix is None or isinstance(prefix, str) else list(prefix)
            return self.predict(
                [source], prefix=one, choices=choices, dictionary=dictionary, tell=tell, **search
            )[0]
        settings = self.settings(search)
        if settings.shortlist:
            _ = self._shortlist  # where there is none, that is said though there may be no text
        self._judge_must_speak(settings)
        replaced = self._replaced(settings, dictionary)
        check_prefixes(prefix, source)
        constraints = Constraints(
            self.target_tokenizer,
            self._speller,
            settings,
            self._forbidden,
            self._copying is not None,
            prefix,
            choices,
        )
        self._check_readable(source)
        encodings = self._encode(list(source), settings)
        found: list[list[Hypothesis]] = [[] for _ in source]
        for batch in _told(self._batches(encodings, settings.batch_size), tell):
            for index, hypotheses in zip(
                batch, self._search(batch, encodings, settings, constraints), strict=True
            ):
                found[index] = hypotheses
        made = [
            self._prediction(text, encoding, hypotheses, replaced)
            for text, encoding, hypotheses in zip(source, encodings, found, strict=True)
        ]
        if replaced is None or not settings.required:
            return made
        return [_with_required(one, constraints, index) for index, one in enumerate(made)]

    def score(
        self, pairs: Sequence[tuple[str, str]], tell: Counted | None = None, **search: Any
    ) -> list[Prediction]:
        """Given outputs, forced: their token log-probabilities, score and attention.

        A token that the target vocabulary lacks, and that cannot be copied, is scored as ``<unk>``.
        Probabilities are among all tokens, whatever ``search.shortlist`` says.

        Raises `ConfigError` for a field of `SearchConfig` in ``search`` that says nothing here.
        """
        settings = self.settings(search)
        check_of_given_texts(search, _OF_SCORES)
        self._check_readable([source for source, _ in pairs])
        encodings = self._encode([source for source, _ in pairs], settings)
        written = self.target_tokenizer.encode_batch([target for _, target in pairs])
        targets = [
            np.array([*self._extended(target, source), EOS])
            for source, target in zip(encodings, written, strict=True)
        ]
        found: list[Hypothesis | None] = [None] * len(pairs)
        lengths = np.array([len(e.ids) + 1 for e in encodings], dtype=np.int64)
        for batch in _told(sorted_batches(lengths, settings.batch_size), tell):
            engine = self._judged(settings)
            source, source_lengths, copies = self._sources([encodings[i] for i in batch])
            hypotheses = forced_search(
                engine.step,
                engine.start(source, source_lengths, copies),
                [targets[i] for i in batch],
                length_penalty(settings),
                self._coverage(settings, source, source_lengths),
            )
            for index, hypothesis in zip(batch, hypotheses, strict=True):
                found[index] = hypothesis
        return [
            replace(
                self._prediction(source, encoding, [h] if h else []),
                text=target,
                offsets=forced.offsets,
            )
            for (source, target), encoding, forced, h in zip(
                pairs, encodings, written, found, strict=True
            )
        ]

    def settings(self, search: Mapping[str, Any]) -> SearchConfig:
        """The model's own, but for those in ``search``."""
        if not search:
            return self.config.search
        if "beam" not in search and isinstance(search.get("n_best"), int):
            groups = search.get("groups", self.config.search.groups)
            share = groups if isinstance(groups, int) and groups > 0 else 1  # others are refused
            widest = max(self.config.search.beam, search["n_best"])
            search = {**search, "beam": -(-widest // share) * share}
        settings = {f"search.{key}": value for key, value in search.items()}
        return resolve(base=self.config.model_dump(), settings=settings).search

    def with_search(self: _P, search: Mapping[str, Any]) -> _P:
        """The same model with other search settings of its own; engine and texts are shared."""
        other = copy(self)
        other.config = self.config.model_copy(update={"search": self.settings(search)})
        return other

    def _check_readable(self, sources: Sequence[str]) -> None:
        if not self._reads and any(sources):
            raise InputError(
                "This is a language model, which reads no source: it goes on with a text "
                "(jumok generate MODEL --prompt TEXT)",
                index=next(i for i, text in enumerate(sources) if text),
            )

    def _encode(self, sources: list[str], settings: SearchConfig) -> list[Encoding]:
        encodings = self.source_tokenizer.encode_batch(sources)
        for index, (encoding, source) in enumerate(zip(encodings, sources, strict=True)):
            if len(encoding.ids) > settings.max_source_length:
                raise InputError(
                    f"A text may have search.max_source_length={settings.max_source_length} "
                    f"tokens, but one of {len(encoding.ids)} came ({source:.30}...). Divide it, or "
                    "raise the limit",
                    index=index,
                )
        return encodings

    def _batches(self, encodings: Sequence[Encoding], batch_size: int) -> Iterator[list[int]]:
        filled = [i for i, e in enumerate(encodings) if e.ids or not self._reads]
        lengths = np.array([len(encodings[i].ids) for i in filled], dtype=np.int64)
        for batch in sorted_batches(lengths, batch_size):
            yield [filled[i] for i in batch]

    def _judge_must_speak(self, settings: SearchConfig) -> None:
        if self.judge is not None and not settings.lm_weight:
            raise ConfigError(
                "A language model came to judge outputs, but search.lm_weight=0 gives it no say. "
                "Set that (to 0.2, say), or leave the language model out"
            )

    def _judged(self, settings: SearchConfig) -> Engine:
        """The engine, with the language model where it has something to say."""
        if not settings.lm_weight:
            return self.engine  # as training and perplexities want it
        if self.judge is None:
            raise ConfigError(
                f"search.lm_weight={settings.lm_weight:g} is the weight of a language model, but "
                "none came. Name one (--language-model), or leave the weight out"
            )
        return FusionEngine(self.engine, self.judge, settings.lm_weight)

    def _sources(
        self, encodings: Sequence[Encoding]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """What `Engine.start` is given."""
        reverse = self.config.data.reverse_source
        source, lengths = pad([source_ids(e.ids, reverse) for e in encodings])
        copies = None
        if self._copying is not None:
            rows = [self._copying.source(e)[0] for e in encodings]
            copies, _ = pad([copy_row(row, reverse) for row in rows])
        return source, lengths, copies

    def _extended(self, target: Encoding, source: Encoding) -> list[int]:
        """Target ids, those that can only be copied among them."""
        if self._copying is None:
            return target.ids
        _, extra = self._copying.source(source)
        return self._copying.target(target.ids, target.tokens, extra)

    @cached_property
    def _speller(self) -> Speller:
        return Speller(self.target_tokenizer)

    def check_can_be_short(self) -> None:
        """Raise `ConfigError` unless target tokens can be listed for source tokens."""
        if not self._reads:
            raise ConfigError(
                "A shortlist has the target tokens that source tokens may become, but a language "
                "model reads no source: it searches without one (search.shortlist=false)"
            )
        if self._copying is not None:
            raise ConfigError(
                "A shortlist leaves out most target tokens, but this model may copy any token of "
                "a source (model.attention.copy_tokens=true): it searches without one "
                "(search.shortlist=false)"
            )

    @cached_property
    def _shortlist(self) -> Shortlist:
        self.check_can_be_short()
        found = self._find_shortlist()
        if found is None:
            raise ConfigError(
                "search.shortlist=true goes by a list of the target tokens that each source token "
                "may become, but the model has none yet. Make one from its training pairs: jumok "
                "shortlist MODEL PAIRS..."
            )
        return found

    def _candidates(
        self, batch: Sequence[int], read: Sequence[Encoding], constraints: Constraints
    ) -> Candidates:
        """The shortlist's tokens for each source, and those that the constraints need."""
        allowed = np.zeros((len(read), self.engine.target_vocab), dtype=bool)
        for row, encoding, needed in zip(allowed, read, constraints.needed(batch), strict=True):
            row[self._shortlist.of(encoding.ids)] = True
            row[needed] = True
        tokens = np.flatnonzero(allowed.any(axis=0))
        return Candidates(tokens, allowed[:, tokens])

    def _search(
        self,
        batch: Sequence[int],
        encodings: Sequence[Encoding],
        settings: SearchConfig,
        constraints: Constraints,
        watch: Watch | None = None,
    ) -> list[list[Hypothesis]]:
        read = [encodings[i] for i in batch]
        engine = self._judged(settings)
        source, lengths, copies = self._sources(read)
        limits = (settings.max_length_ratio * (lengths - 1)).astype(
            int
        ) + settings.max_length_offset
        listed = self._candidates(batch, read, constraints) if settings.shortlist else None
        extra = None
        if self._copying is not None:
            extra = [self._copying.source(encoding)[1] for encoding in read]
        task = Task(
            np.maximum(limits + constraints.begun(batch), constraints.longest),
            length_penalty(settings),
            constraints.rules(batch, extra, None if listed is None else listed.tokens),
            self._coverage(settings, source, lengths),
        )

        def same(ids: Int[np.ndarray, "tgt_len"], index: int) -> str:
            written = (ids if listed is None else listed.tokens[ids]).tolist()
            return self._join(written, self._tokens(written, extra[index] if extra else ()))

        if isinstance(engine, WholeSearch) and self._is_plain(settings, constraints):
            penalty = length_penalty(settings)
            return engine.whole_search(
                source, lengths, task.max_lengths, penalty, settings.beam, listed
            )
        step, state = engine.step, engine.start(source, lengths, copies, listed)
        if settings.sample:
            sampling = Sampling(settings.temperature, settings.top_k, settings.top_p)
            generators = [
                [_generator(settings.seed, number, e.ids) for number in range(settings.n_best)]
                for e in read
            ]
            found = sample_search(step, state, task, sampling, generators, watch)
        elif settings.beam == 1 and not settings.required:
            found = greedy_search(step, state, task)
        else:
            found = beam_search(
                step,
                state,
                task,
                settings.beam,
                settings.n_best,
                settings.groups,
                settings.diversity,
                same,
            )
        for index, hypotheses in zip(batch, found, strict=True):
            if not hypotheses or (settings.sample and len(hypotheses) < settings.n_best):
                raise InputError(
                    "The search found no output that meets all that is asked (required and "
                    "forbidden phrases, prefix, repetitions). Ask for less, widen search.beam, or "
                    "raise search.max_length_offset",
                    index=index,
                )
        return _of_the_vocabulary(found, listed)

    def _is_plain(self, settings: SearchConfig, constraints: Constraints) -> bool:
        """Whether an engine can do the search as a whole."""
        one = settings.n_best == 1 and settings.groups == 1 and not settings.sample
        plain = constraints.plain and not settings.coverage_penalty and self._copying is None
        return one and plain and self._reads

    def _coverage(
        self, settings: SearchConfig, source: np.ndarray, lengths: np.ndarray
    ) -> CoveragePenalty | None:
        if not settings.coverage_penalty:
            return None
        self._must_attend("search.coverage_penalty")
        model, places = self.config.model, np.arange(source.shape[1])
        counted = places < lengths[:, None]
        if model.encoder.features == "apart":  # those have an attention of their own
            counted &= source < self.source_tokenizer.text_size
        if model.attention.score == "location":
            counted &= places < model.attention.positions
        return coverage_penalty(settings.coverage_penalty, counted)

    def _replaced(
        self, settings: SearchConfig, dictionary: Mapping[str, str] | None
    ) -> Mapping[str, str] | None:
        """What unknown tokens are replaced with, if they are."""
        if not settings.replace_unknown:
            if dictionary is not None:
                raise ConfigError(
                    "A dictionary is for unknown tokens that are replaced. Set "
                    "search.replace_unknown=true, or leave the dictionary out"
                )
            return None
        self._must_attend("search.replace_unknown")
        found: dict[str, str] = {}
        for key, word in (dictionary or {}).items():
            token = self.source_tokenizer.normalise(key)
            if found.setdefault(token, word) != word:
                raise InputError(
                    f"A dictionary has one entry for a source token, but {found[token]!r:.60} and "
                    f"{word!r:.60} came for {token!r:.60}, as this model reads it. Leave one out"
                )
        return found

    def _must_attend(self, setting: str) -> None:
        if not self.engine.attends:
            raise ConfigError(
                f"{setting} goes by the attention, but this model was trained with "
                f"model.attention.score={self.config.model.attention.score}. Leave it out"
            )

    def _tokens(self, ids: Sequence[int], extra: Sequence[str]) -> list[str]:
        """The token of each id; ``extra`` are those that can only be copied."""
        size = self.engine.target_vocab
        known = self.target_tokenizer.tokens([i if i < size else UNK for i in ids])
        return [token if i < size else extra[i - size] for i, token in zip(ids, known, strict=True)]

    def _join(self, ids: Sequence[int], tokens: Sequence[str]) -> str:
        """The text that tokens stand for, specials left out."""
        return self.target_tokenizer.join(_words(ids, tokens))

    def _prediction(
        self,
        source: str,
        encoding: Encoding,
        hypotheses: Sequence[Hypothesis],
        replaced: Mapping[str, str] | None = None,
    ) -> Prediction:
        if not hypotheses:
            tokens, offsets = [*encoding.tokens, "</s>"], encoding.offsets
            return Prediction(source, "", 0.0, [], [], tokens, None, source_offsets=offsets)
        order = source_order(len(encoding.ids), self.config.data.reverse_source)
        copying = self._copying
        copies, extra = ([], []) if copying is None else copying.source(encoding)
        is_text = [i < self.source_tokenizer.text_size for i in encoding.ids]  # and not a feature
        best, *others = [
            self._one(source, encoding, copies, extra, order, h, replaced, is_text)
            for h in hypotheses
        ]
        if replaced is not None:  # what differed before may say the same now
            first = {one.text: one for one in reversed([best, *others])}
            others = [one for one in others if first[one.text] is one]
        return replace(best, alternatives=others) if others else best

    def _replacement(self, token: str, replaced: Mapping[str, str]) -> str:
        """What stands for an unknown token: a source token as the target spells it."""
        plain = self.source_tokenizer.join([token])
        word = replaced.get(plain, plain)
        starts = token.startswith(SPACE) or self.source_tokenizer.kind in ("word", "split")
        inside = self.target_tokenizer.kind in ("bpe", "unigram")
        return SPACE + word if inside and starts else word

    def _one(
        self,
        source: str,
        encoding: Encoding,
        copies: list[int],
        extra: list[str],
        order: Int[np.ndarray, "src_len"],
        found: Hypothesis,
        replaced: Mapping[str, str] | None,
        is_text: Sequence[bool],
    ) -> Prediction:
        ids = found.tokens.tolist()
        tokens = self._tokens(ids, extra)
        source_tokens = [*encoding.tokens, "</s>"]
        attention = heads = None
        looked, _, beside = found.evidence
        if looked is not None:
            attention = mean_of_heads(looked)[:, order]
            if looked.ndim == 3:
                heads = looked.swapaxes(0, 1)[..., order]
        copied = None
        if attention is not None and self._tells_copies:
            copied = _copied(found, attention, [*copies, EOS])
        if replaced is not None and attention is not None:
            for place in np.flatnonzero(found.tokens == UNK):
                most = int(np.where(is_text, attention[place, :-1], -1.0).argmax())
                tokens[place] = self._replacement(source_tokens[most], replaced)
                copied = copied or [None] * len(ids)
                copied[place] = most
        return Prediction(
            source=source,
            text=self._join(ids, tokens),
            score=found.score,
            tokens=tokens,
            token_log_probs=found.token_log_probs.tolist(),
            source_tokens=source_tokens,
            attention=attention,
            attention_heads=heads,
            feature_attention=None if beside is None else mean_of_heads(beside)[:, order],
            copied=copied,
            source_offsets=encoding.offsets,
            offsets=self.target_tokenizer.places(_words(ids, tokens)),
        )


def _with_required(one: Prediction, constraints: Constraints, index: int) -> Prediction:
    """What is left where a phrase may have gone when unknown tokens were replaced."""
    if not one.tokens:  # of an empty source
        return one
    kept = [made for made in (one, *one.alternatives) if constraints.has_required(made.text)]
    if not kept:
        raise InputError(
            "What took the place of unknown tokens joined a required phrase, which is no longer "
            "there. Ask for more outputs (n_best), or leave search.replace_unknown out",
            index=index,
        )
    return replace(kept[0], alternatives=kept[1:])


def _of_the_vocabulary(
    found: list[list[Hypothesis]], listed: Candidates | None
) -> list[list[Hypothesis]]:
    """Hypotheses with ids of the vocabulary for places in a list."""
    if listed is None:
        return found
    return [[one._replace(tokens=listed.tokens[one.tokens]) for one in some] for some in found]


def _told(batches: Iterable[_T], tell: Counted | None) -> Iterator[_T]:
    """The batches; how many texts they had so far is told before the first and after each."""
    waiting = list(batches)
    done, total = 0, sum(map(len, waiting))
    for batch in waiting:
        if tell is not None:
            tell(done, total)
        yield batch
        done += len(batch)
    if tell is not None:
        tell(done, total)


def _words(ids: Sequence[int], tokens: Sequence[str]) -> list[str]:
    """Tokens without specials."""
    return [token for i, token in zip(ids, tokens, strict=True) if i not in (PAD, BOS, EOS)]


class LanguageModel(Predictor):
    """A model of texts: it writes them, and says how probable they are. It reads no source."""

    def generate(
        self,
        prompt: str = "",
        n: int = 1,
        watch: Callable[[int, str], None] | None = None,
        **search: Any,
    ) -> list[Prediction]:
        """``n`` texts that begin with ``prompt``, drawn by chance (``search.sample``) if not said
        otherwise. With ``sample=False`` they are searched for: then there are up to ``n``, as a
        beam may find no more that differ.

        ``watch(number, text)`` is told after every token how far a text has come, while they are
        drawn. Keywords are fields of `SearchConfig`. Raises `InputError` for a prompt that the
        vocabulary cannot write.
        """
        settings = self.drawing(n, search)
        self._judge_must_speak(settings)
        self._replaced(settings, None)
        constraints = Constraints(
            self.target_tokenizer, self._speller, settings, self._forbidden, False, prompt
        )
        nothing = self.source_tokenizer.encode("")
        written: list[list[int]] = [[] for _ in range(n)]

        def told(outputs: Int[np.ndarray, "rows"], tokens: Int[np.ndarray, "rows"]) -> None:
            assert watch is not None
            for output, token in zip(outputs.tolist(), tokens.tolist(), strict=True):
                written[output].append(token)
                watch(output, self.target_tokenizer.decode(written[output]))

        [found] = self._search([0], [nothing], settings, constraints, told if watch else None)
        return [self._prediction(prompt, nothing, [one]) for one in found]

    def drawing(self, n: int, search: Mapping[str, Any]) -> SearchConfig:
        """The settings that `generate` writes ``n`` texts by, or up to ``n``."""
        if "n_best" in search:
            raise ConfigError("n says how many texts are written; leave search.n_best out")
        return self.settings({"sample": True, **search, "n_best": n})

    def perplexity(self, texts: Sequence[str], tell: Counted | None = None) -> Perplexities:
        """How surprised the model is by texts; ``tell`` is told how far it has come."""
        if not texts:
            raise InputError("There must be a text to be surprised by, but none came")
        forced = self.score([("", text) for text in texts], tell=tell, **OF_THE_MODEL)
        total = sum(sum(one.token_log_probs) for one in forced)
        # every text has an end, which is written too
        characters = sum(len(unicodedata.normalize("NFC", text)) + 1 for text in texts)
        words = sum(len(text.split()) + 1 for text in texts)
        tokens = sum(len(one.tokens) for one in forced)
        unknown = sum(one.tokens.count(SPECIALS[UNK]) for one in forced)
        return Perplexities(
            perplexity(total, tokens),
            perplexity(total, characters),
            perplexity(total, words),
            100 * unknown / tokens,
        )


class Perplexities(NamedTuple):
    """exp of the mean negative log-probability of a token, a character, or a word between spaces;
    the end of a text is one of each. ``unknown``: per cent of tokens that the vocabulary lacks,
    whose letters the model need not write, so that models can be compared only where it is 0."""

    token: float
    character: float
    word: float
    unknown: float


def _copied(
    found: Hypothesis, attention: Float[np.ndarray, "tgt_len src_len"], copies: Sequence[int]
) -> list[int | None] | None:
    """Where each token was copied from: the position that gave most, where copying gave more of
    its probability than the vocabulary did."""
    generation = found.evidence.generation
    if generation is None:
        return None
    shares = (1 - generation[:, None]) * attention
    shares *= np.array(copies) == found.tokens[:, None]
    return [
        int(row.argmax()) if row.sum() > np.exp(log_prob) / 2 else None
        for row, log_prob in zip(shares, found.token_log_probs, strict=True)
    ]


def _generator(seed: int, number: int, ids: Sequence[int]) -> np.random.Generator:
    """Chance for one output of one text, the same wherever the text comes up."""
    text = f"{seed} {number} {list(ids)}".encode()
    key = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")
    return np.random.Generator(np.random.Philox(key=key))
