"""`Tokenizer`: a text to ids and back, with one thin rule over a Hugging Face tokenizer.

The rule: **our id = Hugging Face id + 3**. Hugging Face knows ``<unk>`` (its 0) and the tokens of
the text; ``<pad>``, ``<s>`` and ``</s>`` exist only here. So a text that contains ``</s>`` is a
text about markup and can never end a sentence, and no setting of the library can change that.
"""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import tokenizers as hf

from jumok.config import TokenizerConfig
from jumok.errors import BundleError, InputError
from jumok.text.normal import Form, normalise, spans

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
SHIFT = 3
"""Our id minus the Hugging Face id."""
SPACE = "▁"
"""Stands for a space inside `bpe` and `unigram` tokens, and before the first word."""

_NEVER_SEEN = "\U0010ffff"
_FORMAT, _VERSION = "jumok-tokenizer", 1
_KINDS = frozenset(get_args(TokenizerConfig.model_fields["kind"].annotation)) - {"auto"}


class Encoding(NamedTuple):
    """One encoded text: three lists of the same length."""

    ids: list[int]
    """Token ids, without bos and eos."""
    tokens: list[str]
    """Each token as the text has it, an unknown one too. See `display_tokens`."""
    offsets: list[tuple[int, int]]
    """Each token's (start, end) in characters of the text that was handed in. All letters of a
    syllable point at that syllable; a `▁` that stands for no space is empty."""


HALF = (
    "A text must be valid Unicode, but half of a surrogate pair came (as '\\ud83d' in JSON). Send "
    "the whole character"
)
"""What is said of a text that cannot be encoded."""


class Tokenizer:
    """Cuts texts of one side into tokens of one vocabulary. Made by `train_tokenizer` or `load`.

    The text is brought to Unicode NFC first (kind `jamo`: NFD), so texts that look the same get
    the same ids. Kinds `char` and `jamo` give every known text back exactly. `split` drops empty
    pieces: separators at the start and the end are lost, and several in a row become one. `word`
    joins by single spaces; `bpe` and `unigram` lose only one space at the start, and read `▁` as
    a space.

    With ``features``, the first word of a text is a list of features (``V;PST gehen``), which that
    tokenizer cuts. They stand before the text, with ids from `text_size` on; the first of these is
    a feature that is unknown.
    """

    def __init__(
        self,
        model: hf.Tokenizer,
        kind: str,
        separator: str = " ",
        lowercase: bool = False,
        features: Tokenizer | None = None,
    ) -> None:
        self.kind = kind
        self.features = features
        self._plain = None if features is None else Tokenizer(model, kind, separator, lowercase)
        self._model = model
        self._lowercase = lowercase
        self._form: Form = "NFD" if kind == "jamo" else "NFC"
        self._separator = normalise(separator, self._form, lowercase)  # as the texts are
        vocab = model.get_vocab()
        self._pieces = [*SPECIALS[:SHIFT], *sorted(vocab, key=vocab.__getitem__)]
        self.text_size = len(self._pieces)
        if features is not None:
            self._pieces += features._pieces[UNK:]

    @property
    def vocab_size(self) -> int:
        """Number of ids, specials included."""
        return len(self._pieces)

    def encode(self, text: str) -> Encoding:
        """Ids, tokens and offsets of ``text``. Raises `InputError` for broken Unicode."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        """`encode` for many texts at once."""
        if self.features is not None and self._plain is not None:
            return self._join(texts, self.features, self._plain)
        normal = [self.normalise(text) for text in texts]
        encoded = self._call(self._model.encode_batch, normal)
        return [self._align(*three) for three in zip(texts, normal, encoded, strict=True)]

    def encode_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Only the ids: several times faster than `encode_batch`, for training data."""
        if self.features is not None:
            return [encoding.ids for encoding in self.encode_batch(texts)]
        encoded = self._call(self._model.encode_batch_fast, [self.normalise(t) for t in texts])
        return [[i + SHIFT for i in one.ids] for one in encoded]

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ``ids`` stand for. Pad, bos and eos are left out; unknown is ``<unk>``."""
        return self.join(self.tokens([i for i in ids if i not in (PAD, BOS, EOS)]))

    def join(self, pieces: Sequence[str]) -> str:
        """The text that tokens stand for."""
        if self.kind in ("word", "split"):
            return (" " if self.kind == "word" else self._separator).join(pieces)
        text = "".join(pieces)
        if self.kind in ("bpe", "unigram"):
            return text.removeprefix(SPACE).replace(SPACE, " ")
        return unicodedata.normalize("NFC", text)

    def places(self, pieces: Sequence[str]) -> list[tuple[int, int]]:
        """Each piece's (start, end) in `join(pieces)`, as `Encoding.offsets` has it of a text."""
        between = {"word": 1, "split": len(self._separator)}.get(self.kind, 0)
        ends = itertools.accumulate(len(piece) + between for piece in pieces)
        found = [(e - between - len(p), e - between) for p, e in zip(pieces, ends, strict=True)]
        text = "".join(pieces)
        if self.kind in ("bpe", "unigram") and text.startswith(SPACE):
            return [(max(a - 1, 0), max(b - 1, 0)) for a, b in found]
        exact = self.kind != "jamo" and unicodedata.is_normalized("NFC", text)
        joined = self.kind in ("char", "jamo") and not (exact or text.isascii())
        return _composed(text, found) if joined else found

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The token of each id, specials by name. Raises `IndexError` outside the vocabulary."""
        if min(ids, default=0) < 0:
            raise IndexError(f"token ids start at 0, but {min(ids)} came")
        return [self._pieces[i] for i in ids]

    def comparable(self, text: str) -> str:
        """``text`` as this tokenizer would write it, if it knew every token: for references."""
        normal = unicodedata.normalize("NFC", self.normalise(text))
        if self.kind == "word":
            return " ".join(normal.split())
        if self.kind == "split":
            return self._separator.join(p for p in normal.split(self._separator) if p)
        if self.kind in ("bpe", "unigram"):  # one at the start is that before every first word
            return normal.replace(SPACE, " ").removeprefix(" ")
        return normal

    def normalise(self, text: str) -> str:
        """The form of ``text`` that is cut into tokens."""
        return normalise(text, self._form, self._lowercase)

    # --- files -----------------------------------------------------------------------------------

    def to_json(self) -> str:
        """This tokenizer as JSON text; key ``tokenizer`` is a plain Hugging Face tokenizer."""
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "kind": self.kind,
            "separator": self._separator,
            "lowercase": self._lowercase,
            "tokenizer": json.loads(self._model.to_str()),
        }
        if self.features is not None:
            content["features"] = json.loads(self.features.to_json())
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Tokenizer:
        """The tokenizer in JSON ``text``. Raises `BundleError` for anything but `to_json`'s."""
        content = _parse(text)
        model = _hugging_face(content["tokenizer"])
        features = content.get("features")
        return cls(
            model,
            content["kind"],
            content["separator"],
            content["lowercase"],
            None if features is None else cls.from_json(json.dumps(features)),
        )

    def save(self, path: Path) -> None:
        """Write `to_json` to ``path``."""
        path.write_text(self.to_json(), encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a file that `save` wrote. Raises `BundleError` naming the file."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, BundleError) as error:
            raise BundleError(f"{path}: {error}") from None

    # --- features --------------------------------------------------------------------------------

    def with_features(self, features: Tokenizer) -> Tokenizer:
        """This tokenizer, and ``features`` for the first word of every text."""
        return Tokenizer(self._model, self.kind, self._separator, self._lowercase, features)

    def _join(self, texts: Sequence[str], features: Tokenizer, plain: Tokenizer) -> list[Encoding]:
        """What both tokenizers make of their parts."""
        parts = [split_features(text, index) for index, text in enumerate(texts)]
        heads = features.encode_batch([part.features for part in parts])
        rests = plain.encode_batch([part.text for part in parts])
        shift = self.text_size - UNK
        return [
            Encoding(
                [i + shift for i in head.ids] + rest.ids,
                head.tokens + rest.tokens,
                [(a + part.start, b + part.start) for a, b in head.offsets]
                + [(a + part.cut, b + part.cut) for a, b in rest.offsets],
            )
            for part, head, rest in zip(parts, heads, rests, strict=True)
        ]

    # --- inside ----------------------------------------------------------------------------------

    def _call(self, encode: Any, normal: list[str]) -> list[hf.Encoding]:
        try:
            return encode(normal, add_special_tokens=False)
        except TypeError:  # the library's word for a string that is not Unicode text
            raise InputError(HALF) from None

    def _align(self, text: str, normal: str, encoded: hf.Encoding) -> Encoding:
        """Our ids, and offsets that count in ``text`` where Hugging Face's count in ``normal``."""
        ids = [i + SHIFT for i in encoded.ids]
        offsets: list[tuple[int, int]] = list(encoded.offsets)
        tokens = [
            normal[a:b] if i == UNK else piece
            for i, piece, (a, b) in zip(ids, encoded.tokens, offsets, strict=True)
        ]
        if tokens[:1] == [SPACE] and normal[0] not in (" ", SPACE):
            offsets[0] = (0, 0)  # put before the first word; the library says it covers a letter
        if normal != text or (self._form == "NFD" and not text.isascii()):
            origin = spans(text, self._form, self._lowercase)
            offsets = [(origin[a][0], origin[b - 1][1]) if b else (0, 0) for a, b in offsets]
        return Encoding(ids, tokens, offsets)


def _composed(text: str, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where stretches of ``text`` lie in its normal form NFC."""
    first, last = [0] * len(text), [0] * len(text)
    for place, (start, end) in reversed(list(enumerate(spans(text, "NFC")))):
        for i in range(start, end):
            first[i] = place
            last[i] = max(last[i], place + 1)
    return [(first[a], last[b - 1]) if a < b else (0, 0) for a, b in places]


class FeaturesAndText(NamedTuple):
    """``V;PST gehen`` in two, and where each begins."""

    features: str
    text: str
    start: int
    cut: int


def split_features(text: str, index: int | None = None) -> FeaturesAndText:
    """The first word, and what comes after the space behind it; a blank text has neither.

    White space before the word is left out. Only U+0020 ends it: a no-break or an ideographic
    space does not. Raises `InputError`, with ``index``, where one of the two is missing.
    """
    start = len(text) - len(text.lstrip())
    features, _, rest = text[start:].partition(" ")
    if not text.strip():
        return FeaturesAndText("", "", 0, 0)
    if not rest.strip():
        raise InputError(
            "The model reads features, a space and a text, as in 'V;PST gehen', but "
            f"{text[:40]!r} came, which is one word. Put the features first",
            index=index,
        )
    return FeaturesAndText(features, rest, start, start + len(features) + 1)


def unknown_rate(tokenizer: Tokenizer, texts: Iterable[str]) -> float:
    """Share of tokens of ``texts`` that the vocabulary does not know (0 where there are none)."""
    encoded = tokenizer.encode_ids(list(texts))
    return unknown_count(tokenizer, encoded) / max(1, sum(map(len, encoded)))


def unknown_count(tokenizer: Tokenizer, encoded: Iterable[Sequence[int]]) -> int:
    """How many ids of encoded texts stand for what the vocabulary does not know."""
    unknown = [UNK] if tokenizer.features is None else [UNK, tokenizer.text_size]
    return sum(ids.count(i) for ids in encoded for i in unknown)


def _parse(text: str) -> dict[str, Any]:
    """The JSON object in ``text``, with every key that `Tokenizer.from_json` reads."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"The tokenizer is not valid JSON ({error}). Copy it again") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise BundleError(
            f'A tokenizer of jumok says "format": "{_FORMAT}", but this JSON does not. '
            "Point to a file that jumok wrote"
        )
    if content.get("version") != _VERSION:
        raise BundleError(
            f"This jumok reads tokenizers of version {_VERSION}, but version "
            f"{content.get('version')!r} came. Use the jumok that wrote it, or train again"
        )
    wanted = {"kind": str, "separator": str, "lowercase": bool, "tokenizer": dict}
    for key, kind in wanted.items():
        if not isinstance(content.get(key), kind):
            raise BundleError(
                f"The tokenizer's key '{key}' should hold a {kind.__name__}, but "
                f"{content.get(key)!r:.60} came. The file is damaged: copy it again"
            )
    if content["kind"] not in _KINDS:
        raise BundleError(
            f"The tokenizer's kind must be one of {', '.join(sorted(_KINDS))}, but "
            f"'{content['kind']}' came. The file is damaged: copy it again"
        )
    return content


def _hugging_face(content: dict[str, Any]) -> hf.Tokenizer:
    """The Hugging Face tokenizer in ``content``, if it keeps the rule at the top of this file."""
    foreign = [
        k for k in ("added_tokens", "truncation", "padding", "post_processor") if content.get(k)
    ]
    if foreign:
        raise BundleError(
            f"A tokenizer of jumok has no {' and no '.join(foreign)}, but this one has. "
            "Train a tokenizer with jumok instead of editing one"
        )
    try:
        model = hf.Tokenizer.from_str(json.dumps(content))
        ids = model.get_vocab()
        probe = model.encode(_NEVER_SEEN).ids[-1:]
    except Exception as error:  # the library raises bare Exception
        raise BundleError(f"The tokenizer is damaged ({error}). Copy it again") from None
    unknown = UNK - SHIFT
    dense = sorted(ids.values()) == list(range(len(ids)))
    if not dense or ids.get(SPECIALS[UNK]) != unknown or probe != [unknown]:
        raise BundleError(
            "The tokenizer's ids should run from 0 without gaps, and '<unk>' should be 0, but "
            "they do not. The file is damaged: copy it again"
        )
    return model
