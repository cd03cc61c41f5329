"""What a request may ask for."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from jumok.config import SearchConfig
from jumok.errors import InputError

_SERVER_ONLY = ("batch_size", "max_source_length", "max_length_ratio", "max_length_offset")
"""Search settings that say what a server can bear. They are the server's own (``--set``)."""

_TABLE = 8_000_000
"""Numbers in the table that phrases, choices or prefixes become: a row for each of their units, a
column for each different one. Made in a second, and with copies 400 MB at worst."""
_STEP = 64
"""What a unit costs beside its row, however short that is."""


@dataclass(frozen=True)
class Limits:
    """Of one server; all are on unless said otherwise."""

    texts: int = 64
    """Texts of one request; so many outputs of a language model."""
    characters: int = 2_000
    """Characters of one text, phrase or prefix."""
    phrases: int = 1_000
    """Phrases, choices and entries of a dictionary of one request."""
    beam: int = 20
    """Hypotheses kept, and outputs given for a text, unless the server's own settings have more."""
    attention: int = 8_000_000
    """Numbers of attention that the texts of a request may need: beam x source tokens x the most
    tokens of an output. They are kept while it is searched, and written into the answer."""
    waiting: int = 256
    """Texts that may wait for their turn, over all requests."""
    seconds: float = 30.0
    """How long a request may wait for its answer, and its body for its end."""

    @property
    def body(self) -> int:
        """Bytes of a request. JSON writes a character in at most 12, and a pair has two texts."""
        return 65_536 + 24 * self.characters * self.texts

    def check_texts(self, count: int) -> None:
        """Raise `InputError` for too many texts."""
        if count > self.texts:
            raise InputError(
                f"A request may have {self.texts} texts, but {count} came. Divide it, or "
                "start the server with a higher --max-texts"
            )

    def check_length(self, text: str, index: int | None = None) -> None:
        """Raise `InputError` for a text that is too long."""
        if len(text) > self.characters:
            raise InputError(
                f"A text may have {self.characters} characters, but one of {len(text)} came "
                f"({text:.30}...). Divide it, or start the server with a higher --max-characters",
                index=index,
            )

    def check_phrases(self, count: int) -> None:
        """Raise `InputError` for too many phrases."""
        if count > self.phrases:
            raise InputError(
                f"A request may have {self.phrases} phrases (choices, entries of a dictionary, "
                f"required, forbidden), but {count} came. Leave some out, or start the server with "
                "a higher --max-phrases"
            )

    def check_table(self, texts: Iterable[Iterable[Hashable]]) -> None:
        """Raise `InputError` for phrases, choices or prefixes, cut into units, that are too much
        together for the table that is made of them before a search."""
        units, different = 0, set[Hashable]()
        for text in texts:  # only as far as there is room
            text = list(text)
            units += 1 + len(text)
            different.update(text)
            if units * (_STEP + len(different)) > _TABLE:
                raise InputError(
                    "Phrases, choices and prefixes may each have units x (different units + "
                    f"{_STEP}) = {_TABLE:,} in a request, but {units:,} units came, "
                    f"{len(different):,} of them different. Send fewer or shorter ones"
                )

    def check_attention(self, numbers: int) -> None:
        """Raise `InputError` for texts that are too long for their search."""
        if numbers > self.attention:
            raise InputError(
                f"A request may need {self.attention:,} numbers of attention (beam x source tokens "
                f"x the most tokens of an output), but this one may need {numbers:,}. Send fewer "
                "or shorter texts, ask for a narrower beam, or start the server with a higher "
                "--max-attention"
            )

    def check_outputs(self, count: int, own: SearchConfig) -> None:
        """Raise `InputError` for more texts of a language model than a server's beam is wide."""
        _check_most("n", count, max(self.beam, own.n_best))

    def check_search(
        self, asked: dict[str, object], settings: SearchConfig, own: SearchConfig
    ) -> None:
        """Raise `InputError` where a request asks for more work than a server's own settings do.

        Args:
            asked: what the request says.
            settings: what comes of it.
            own: the server's.
        """
        for key in _SERVER_ONLY:
            if key in asked:
                raise InputError(
                    f"search.{key} is the server's own (start it with --set search.{key}=...). "
                    "Leave it out"
                )
        for key, most in (
            ("beam", max(self.beam, own.beam)),
            ("n_best", max(self.beam, own.n_best)),
            ("min_length", max(own.min_length, own.max_length_offset)),
        ):
            _check_most(f"search.{key}", getattr(settings, key), most)


def _check_most(what: str, came: int, most: int) -> None:
    if came > most:
        raise InputError(
            f"{what} may be at most {most} at this server, but {came} came. Ask for less"
        )
