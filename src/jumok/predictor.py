"""Text in, `Prediction` out: the one object that front ends see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import Float

from jumok.bundle import read_bundle
from jumok.config import Config, SearchConfig, resolve
from jumok.data import pad, sorted_batches, source_ids, source_order
from jumok.engine import Engine, load_engine
from jumok.errors import InputError
from jumok.prediction import Prediction
from jumok.search import (
    Hypothesis,
    beam_search,
    forced_search,
    greedy_search,
    length_penalty,
)
from jumok.text import BOS, EOS, PAD, UNK, Encoding, Tokenizer


def load(path: str | Path, device: str = "cpu") -> Predictor:
    """Load a model directory, or a run directory's best model.

    Raises `BundleError` for a damaged directory and `MissingExtra` where torch is absent.
    """
    bundle = read_bundle(path)
    return Predictor(
        load_engine(bundle, device),
        bundle.source_tokenizer,
        bundle.target_tokenizer,
        bundle.config,
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
    ) -> None:
        self.engine = engine
        self.source_tokenizer = source_tokenizer
        self.target_tokenizer = target_tokenizer
        self.config = config
        self._forbidden = np.zeros(engine.target_vocab, dtype=bool)
        self._forbidden[[PAD, BOS, UNK]] = True

    @overload
    def predict(self, source: str, **search: Any) -> Prediction: ...
    @overload
    def predict(self, source: Sequence[str], **search: Any) -> list[Prediction]: ...
    def predict(self, source: str | Sequence[str], **search: Any) -> Prediction | list[Prediction]:
        """Output for one text, or a list of outputs for a list of texts.

        Keywords are fields of `SearchConfig` (``beam=5, n_best=3``) that stand in for the model's
        own; ``n_best`` without ``beam`` widens the beam where it must. A text without any token
        gives an empty output, so that lines stay beside lines. Raises `InputError`, with the
        text's ``index``, for one of more tokens than ``search.max_source_length``.
        """
        if isinstance(source, str):
            return self.predict([source], **search)[0]
        settings = self._settings(search)
        encodings = self._encode(list(source), settings)
        found: list[list[Hypothesis]] = [[] for _ in source]
        for batch in self._batches(encodings, settings.batch_size):
            for index, hypotheses in zip(
                batch, self._search([encodings[i] for i in batch], settings), strict=True
            ):
                found[index] = hypotheses
        return [
            self._prediction(text, encoding, hypotheses)
            for text, encoding, hypotheses in zip(source, encodings, found, strict=True)
        ]

    def score(self, pairs: Sequence[tuple[str, str]], **search: Any) -> list[Prediction]:
        """Given outputs, forced: their token log-probabilities, score and attention.

        A token that the target vocabulary lacks is scored as ``<unk>``.
        """
        settings = self._settings(search)
        encodings = self._encode([source for source, _ in pairs], settings)
        targets = [
            np.array([*encoding.ids, EOS])
            for encoding in self.target_tokenizer.encode_batch([target for _, target in pairs])
        ]
        found: list[Hypothesis | None] = [None] * len(pairs)
        lengths = np.array([len(e.ids) + 1 for e in encodings], dtype=np.int64)
        for batch in sorted_batches(lengths, settings.batch_size):
            source, source_lengths = self._pad([encodings[i] for i in batch])
            hypotheses = forced_search(
                self.engine.step,
                self.engine.start(source, source_lengths),
                [targets[i] for i in batch],
                length_penalty(settings),
            )
            for index, hypothesis in zip(batch, hypotheses, strict=True):
                found[index] = hypothesis
        return [
            replace(self._prediction(source, encoding, [h] if h else []), text=target)
            for (source, target), encoding, h in zip(pairs, encodings, found, strict=True)
        ]

    def _settings(self, search: Mapping[str, Any]) -> SearchConfig:
        if not search:
            return self.config.search
        if "beam" not in search and isinstance(search.get("n_best"), int):
            search = {**search, "beam": max(self.config.search.beam, search["n_best"])}
        settings = {f"search.{key}": value for key, value in search.items()}
        return resolve(base=self.config.model_dump(), settings=settings).search

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
        filled = [i for i, e in enumerate(encodings) if e.ids]
        lengths = np.array([len(encodings[i].ids) for i in filled], dtype=np.int64)
        for batch in sorted_batches(lengths, batch_size):
            yield [filled[i] for i in batch]

    def _pad(self, encodings: Sequence[Encoding]) -> tuple[np.ndarray, np.ndarray]:
        reverse = self.config.data.reverse_source
        return pad([source_ids(e.ids, reverse) for e in encodings])

    def _search(
        self, encodings: Sequence[Encoding], settings: SearchConfig
    ) -> list[list[Hypothesis]]:
        source, lengths = self._pad(encodings)
        limits = (settings.max_length_ratio * (lengths - 1)).astype(
            int
        ) + settings.max_length_offset
        penalty = length_penalty(settings)
        state = self.engine.start(source, lengths)
        if settings.beam == 1:
            found = greedy_search(self.engine.step, state, limits, self._forbidden, penalty)
            return [[hypothesis] for hypothesis in found]
        return beam_search(
            self.engine.step,
            state,
            limits,
            self._forbidden,
            penalty,
            settings.beam,
            settings.n_best,
        )

    def _prediction(
        self, source: str, encoding: Encoding, hypotheses: Sequence[Hypothesis]
    ) -> Prediction:
        source_tokens = [*encoding.tokens, "</s>"]
        if not hypotheses:
            return Prediction(source, "", 0.0, [], [], source_tokens, None)
        order = source_order(len(encoding.ids), self.config.data.reverse_source)
        made = [
            Prediction(
                source=source,
                text=self.target_tokenizer.decode(h.tokens.tolist()),
                score=h.score,
                tokens=self.target_tokenizer.tokens(h.tokens.tolist()),
                token_log_probs=h.token_log_probs.tolist(),
                source_tokens=source_tokens,
                attention=None if h.attention is None else _mean_of_heads(h.attention)[:, order],
                attention_heads=None
                if h.attention is None or h.attention.ndim == 2
                else h.attention.swapaxes(0, 1)[..., order],
            )
            for h in hypotheses
        ]
        best, *others = made
        return replace(best, alternatives=others)


def _mean_of_heads(
    attention: Float[np.ndarray, "tgt_len *heads src_len"],
) -> Float[np.ndarray, "tgt_len src_len"]:
    return attention.mean(axis=1) if attention.ndim == 3 else attention
