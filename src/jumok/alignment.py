"""Which words of a pair belong together, by the attention of a model that is made to write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jumok.errors import ConfigError, InputError
from jumok.explain import (
    AttentionMap,
    Links,
    Symmetrisation,
    Units,
    group,
    links,
    symmetrise,
)
from jumok.prediction import Prediction
from jumok.predictor import OF_THE_MODEL, LanguageModel, Predictor, check_of_given_texts

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Alignment:
    """One pair: its links, and the attention that they come from."""

    links: Links
    """(source unit, target unit), from 0, the ends of the texts left out."""
    attention: AttentionMap
    """Between units of the text, the ends counted: a row is a target unit."""
    reverse: AttentionMap | None
    """That of the model for the other direction: a row is a source unit."""
    source_tokens: list[str]
    """What the model read, ending with `</s>`."""
    tokens: list[str]
    """What the model was made to write, ending with `</s>`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        reverse = self.reverse
        return {
            "source": self.attention.source_text,
            "target": self.attention.target_text,
            "source_tokens": self.source_tokens,
            "tokens": self.tokens,
            "source_units": list(self.attention.source_tokens),
            "target_units": list(self.attention.target_tokens),
            "weights": self.attention.weights.tolist(),
            "reverse_weights": None if reverse is None else reverse.weights.tolist(),
            "links": sorted(self.links, key=lambda link: (link[1], link[0])),
            "score": self.attention.score,
        }


def align(
    predictor: Predictor,
    pairs: Pairs,
    reverse: Predictor | None = None,
    units: Units = "word",
    symmetrisation: Symmetrisation | None = None,
    **search: Any,
) -> list[Alignment]:
    """Alignments of given pairs, in their order; see `Aligner`."""
    return Aligner(predictor, reverse, units, symmetrisation, **search).align(pairs)


class Aligner:
    """Links of given pairs: from each target unit to the source unit that it looks at most.

    Args:
        predictor: a model with attention.
        reverse: one that reads targets and writes sources. It links each source unit to a target
            unit, and the links of both are joined.
        units: what is linked. Attention between words is made of that between tokens (`merge`).
        symmetrisation: how they are joined, `grow-diag-final-and` if not said otherwise.
        search: ``batch_size`` and ``max_source_length``.

    Raises `InputError` for models without attention or of the same direction, `ConfigError` for a
    setting that is of no use.
    """

    def __init__(
        self,
        predictor: Predictor,
        reverse: Predictor | None = None,
        units: Units = "word",
        symmetrisation: Symmetrisation | None = None,
        **search: Any,
    ) -> None:
        check_of_given_texts(search)
        if symmetrisation is not None and reverse is None:
            raise ConfigError(
                f"Symmetrisation {symmetrisation} joins the links of two directions, but there is "
                "one. Add a model for the other (--reverse-model), or leave it out"
            )
        for one in (predictor, reverse):
            if one is not None:
                _check_attends(one)
        if reverse is not None:
            _check_directions(predictor, reverse)
        self._predictor, self._reverse = predictor, reverse
        self._units, self._how = units, symmetrisation or "grow-diag-final-and"
        self._search = {**OF_THE_MODEL, **search}

    @property
    def features(self) -> bool:
        """Whether sources begin with features."""
        return self._predictor.config.model.encoder.features != "none"

    def align(self, pairs: Pairs) -> list[Alignment]:
        """Alignments in the order of the pairs.

        Raises `InputError`, with the pair's ``index``, for a text that cannot be read, and where
        the two models do not see the same units.
        """
        forward = self._predictor.score(pairs, **self._search)
        if self._reverse is None:
            return [self._alignment(one, None, i) for i, one in enumerate(forward)]
        turned = [(target, source) for source, target in pairs]
        backward = self._reverse.score(turned, **self._search)
        both = enumerate(zip(forward, backward, strict=True))
        return [self._alignment(one, other, i) for i, (one, other) in both]

    def _alignment(self, one: Prediction, other: Prediction | None, index: int) -> Alignment:
        attention = one.attention_map(units=self._units)
        found, reverse = links(attention), None
        if other is not None:
            self._check_units("source", one.source, one.source_offsets, other.offsets, index)
            self._check_units("target", one.text, one.offsets, other.source_offsets, index)
            reverse = other.attention_map(units=self._units)
            back = frozenset((source, target) for target, source in links(reverse))
            found = symmetrise(found, back, self._how)
        return Alignment(found, attention, reverse, one.source_tokens, one.tokens)

    def _check_units(
        self,
        side: str,
        text: str,
        offsets: Sequence[tuple[int, int]],
        others: Sequence[tuple[int, int]],
        index: int,
    ) -> None:
        one, other = (group(text, some, self._units).spans for some in (offsets, others))
        if one != other:
            way = "Link words instead (units word)" if self._units != "word" else "Train both alike"
            raise InputError(
                f"Both models must cut a text into the same units, but they make {len(one)} and "
                f"{len(other)} others of the {side} '{text:.40}'. {way}",
                index=index,
            )


def _check_attends(predictor: Predictor) -> None:
    if isinstance(predictor, LanguageModel):
        raise InputError(
            "Pairs are aligned by a model that reads sources, but a language model came, which "
            "reads none. Train one with jumok train"
        )
    if not predictor.engine.attends:
        raise InputError(
            "Pairs are aligned by attention, but this model was trained with model.attention.score="
            f"{predictor.config.model.attention.score}. Train one with score general, dot or "
            "additive"
        )


def _check_directions(predictor: Predictor, reverse: Predictor) -> None:
    """Raise `InputError` where both models read the same side, as far as can be told."""
    source, target, read, written = (
        tokenizer.to_json()
        for one in (predictor, reverse)
        for tokenizer in (one.source_tokenizer, one.target_tokenizer)
    )
    if source != target and (source, target) == (read, written):
        raise InputError(
            "The reverse model must read targets and write sources, but it reads and writes the "
            "same tokens as the other model. Train one with the sides changed over (TSV: --set "
            "data.source_column=2 --set data.target_column=1; parallel text: TARGET,SOURCE)"
        )
