"""What the user asks of every output, as rules of a search.

Phrases, prefixes and choices are texts; here they become units of the target tokenizer's text, and
automata over them. Whatever is given out meets them: where nothing can, that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from jumok.config import SearchConfig
from jumok.errors import InputError
from jumok.search import (
    Guide,
    Rule,
    Rules,
    Spelling,
    avoids,
    begins,
    contains,
    forbid,
    min_length,
    no_repeat_ngram,
    normal,
    one_of,
    repetition_penalty,
)
from jumok.text import UNK, Speller, Tokenizer


class Constraints:
    """Of one call: the settings', and a prefix (for all or for each source) and choices, if given.

    Raises `InputError` for a text that the model cannot write, and for a source's own prefix with
    the source's ``index``.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        speller: Speller,
        settings: SearchConfig,
        forbidden: Bool[np.ndarray, "vocab"],
        copies: bool,
        prefix: str | Sequence[str] | None = None,
        choices: Sequence[str] | None = None,
    ) -> None:
        self._speller = speller = speller.for_one_call()
        self._spelling = Spelling(speller.vocabulary)
        self._one_for_all = isinstance(prefix, str)
        prefixes = [prefix] if isinstance(prefix, str) else prefix
        self._prefixes = self._begun = None
        if prefixes is not None:
            self._prefixes = list(prefixes)
            self._begun = [len(ids) for ids in tokenizer.encode_ids(self._prefixes)]
        self._least = settings.min_length
        self._choices = [] if choices is None else _answers(tokenizer, choices)
        self._plain = _plain_rules(settings, forbidden)
        self._phrases = settings.required
        self.plain = (
            prefixes is None
            and choices is None
            and not (settings.required or settings.forbidden or settings.replace_unknown)
            and len(self._plain) == 1
        )
        """Whether nothing is asked but that <pad>, <s> and <unk> are not written."""
        if not copies:  # what can be copied depends on the source
            for phrase in settings.required:
                _writable(speller, phrase, "A phrase in search.required")
            for index, one in enumerate(prefixes or ()):
                _writable(speller, one, "A prefix", None if self._one_for_all else index)
        skip = speller.skipped
        self._required_units = [_units(speller, phrase) for phrase in settings.required]
        self._required = [contains(units, skip) for units in self._required_units]
        phrases = [_units(speller, phrase) for phrase in settings.forbidden]
        self._avoided = avoids(phrases, skip) if phrases else None

    @property
    def longest(self) -> int:
        """Tokens that an output must be allowed to have, EOS counted."""
        return 1 + max(self._least, *map(len, self._choices or [[]]))

    def begun(self, sources: Sequence[int]) -> Int[np.ndarray, "batch"]:
        """Tokens of each source's prefix, as the tokenizer cuts it."""
        if self._begun is None:
            return np.zeros(len(sources), dtype=np.int64)
        return np.array([self._begun[0 if self._one_for_all else i] for i in sources])

    def has_required(self, text: str) -> bool:
        """Whether the required phrases are in an output whose unknown tokens were replaced: what
        came for one can join what stands beside it."""
        written = self._speller.cut(text)
        return all(
            any(
                written[start : start + len(phrase)] == phrase
                for start in range(len(written) - len(phrase) + 1)
            )
            for phrase in self._required_units
        )

    def needed(self, sources: Sequence[int]) -> list[Int[np.ndarray, "tokens"]]:
        """For each source the tokens without which what is asked could not be written."""
        if self._prefixes is None:
            return [self._always] * len(sources)
        places = [0 if self._one_for_all else source for source in sources]
        made = {place: self._speller.within(self._prefixes[place]) for place in set(places)}
        return [np.concatenate([self._always, made[place]]) for place in places]

    @cached_property
    def _always(self) -> Int[np.ndarray, "tokens"]:
        """What phrases and choices need, whatever the source: of thousands of choices much."""
        every = [self._speller.within(phrase) for phrase in self._phrases]
        every += [np.array(ids, dtype=np.int64) for ids in self._choices]
        return np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *every]))

    def rules(
        self,
        sources: Sequence[int],
        extra: Sequence[Sequence[str]] | None,
        tokens: Int[np.ndarray, "some"] | None = None,
    ) -> Rules:
        """For a batch of the call's sources; ``extra`` are the tokens beyond the vocabulary that
        each lets be copied, ``tokens`` the only ones of it where there are candidates."""
        if extra is None and tokens is None:
            guides, spelling, chosen = self._shared, self._spelling, self._chosen
        else:
            vocabulary = self._speller.vocabulary
            tokens = np.arange(len(vocabulary)) if tokens is None else tokens
            more = None if extra is None else self._spell(extra)
            spelling = Spelling(vocabulary[tokens], more)
            guides, chosen = self._guides(spelling, extra or ()), self._chooses(tokens)
            if self._prefixes is not None and self._one_for_all and extra is None:
                guides.append(self._begins(self._prefixes, spelling))
        if self._prefixes is not None and not (self._one_for_all and extra is None):
            own = [self._prefixes[0 if self._one_for_all else source] for source in sources]
            guides = [*guides, self._begins(own, spelling, extra)]
        return Rules(self._plain, [*guides, *chosen])

    @cached_property
    def _shared(self) -> list[Guide]:
        """The same for all batches where nothing can be copied; guides keep what they worked out
        of a state."""
        guides = self._guides(self._spelling, ())
        if self._prefixes is not None and self._one_for_all:
            guides.append(self._begins(self._prefixes, self._spelling))
        return guides

    @cached_property
    def _chosen(self) -> list[Guide]:
        return self._chooses(np.arange(len(self._speller.vocabulary)))

    def _chooses(self, tokens: Int[np.ndarray, "some"]) -> list[Guide]:
        return [Guide(one_of(self._choices), Spelling(tokens[:, None]))] if self._choices else []

    def _guides(self, spelling: Spelling, extra: Sequence[Sequence[str]]) -> list[Guide]:
        """To and away from phrases, which are looked for in what tokens are written with: the text
        must be that, and not what Unicode would make of it."""
        automata = [*self._required, *([] if self._avoided is None else [self._avoided])]
        form = self._speller.form
        if automata and form is not None:
            letters = self._speller.letters([token for tokens in extra for token in tokens])
            found = normal(letters, form)
            automata += [] if found is None else [found]
        return [Guide(automaton, spelling) for automaton in automata]

    def _begins(
        self,
        prefixes: Sequence[str],
        spelling: Spelling,
        extra: Sequence[Sequence[str]] | None = None,
    ) -> Guide:
        copied = [[]] * len(prefixes) if extra is None else extra
        joining = [self._speller.joining(*one) for one in zip(prefixes, copied, strict=True)]
        units = [self._speller.cut(prefix) for prefix in prefixes]
        barred, marks = [one.barred for one in joining], [one.marks for one in joining]
        return Guide(begins(units, self._speller.skipped, barred, marks), spelling)

    def _spell(self, extra: Sequence[Sequence[str]]) -> Int[np.ndarray, "batch more longest"]:
        flat = self._speller.spell([token for tokens in extra for token in tokens])
        most = max(map(len, extra), default=0)
        found = np.full((len(extra), most, flat.shape[1]), -1, dtype=np.int64)
        start = 0
        for row, tokens in zip(found, extra, strict=True):
            row[: len(tokens)] = flat[start : start + len(tokens)]
            start += len(tokens)
        return found


def _plain_rules(settings: SearchConfig, forbidden: Bool[np.ndarray, "vocab"]) -> list[Rule]:
    if settings.replace_unknown:
        forbidden = forbidden.copy()
        forbidden[UNK] = False
    rules = [forbid(forbidden)]
    if settings.min_length:
        rules.append(min_length(settings.min_length))
    if settings.no_repeat_ngram:
        rules.append(no_repeat_ngram(settings.no_repeat_ngram))
    if settings.repetition_penalty != 1:
        rules.append(repetition_penalty(settings.repetition_penalty))
    return rules


def _units(speller: Speller, phrase: str) -> list[int]:
    units = speller.cut(phrase)
    if not units:
        raise InputError(
            "A phrase in search.required or search.forbidden must have a token, but "
            f"{phrase!r} has none. Leave it out"
        )
    return units


def _writable(speller: Speller, text: str, what: str, index: int | None = None) -> None:
    missing = speller.missing(text)
    if missing is not None:
        raise InputError(
            f"{what} must be something the model can write, but no token of its vocabulary has "
            f"{missing!r}, which is in {text!r:.60}. Write it otherwise",
            index=index,
        )


def _answers(tokenizer: Tokenizer, choices: Sequence[str]) -> list[list[int]]:
    if isinstance(choices, str):
        raise InputError(f"Choices are a list of texts, but one text came ({choices!r:.60})")
    if not choices:
        raise InputError("There must be something to choose from, but no choice came")
    encoded = tokenizer.encode_batch(list(choices))
    for choice, encoding in zip(choices, encoded, strict=True):
        for token, i in zip(encoding.tokens, encoding.ids, strict=True):
            if i == UNK:
                raise InputError(
                    "A choice must be something the model can write, but its vocabulary lacks "
                    f"{token!r}, which is in {choice!r:.60}. Leave that choice out"
                )
    return [encoding.ids for encoding in encoded]
