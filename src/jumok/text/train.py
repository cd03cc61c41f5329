"""Make a vocabulary from texts. The same texts and settings always give the same file."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import tokenizers as hf
from tokenizers import models, normalizers, pre_tokenizers, trainers

from jumok.config import TokenizerConfig
from jumok.errors import DataError
from jumok.text.hangul import is_syllable
from jumok.text.normal import Form, normalise
from jumok.text.tokenizer import SHIFT, SPACE, SPECIALS, UNK, Tokenizer

_UNKNOWN = SPECIALS[UNK]
# what str.split() splits at; the library's \s lacks the four separators
_WHITE = hf.Regex(r"[\s\x{1c}-\x{1f}]+")


def resolve_kind(texts: Iterable[str], config: TokenizerConfig) -> TokenizerConfig:
    """``config`` with kind `auto` settled: `jamo` where most letters are Hangul, else `char`."""
    if config.kind != "auto":
        return config
    letters = hangul = 0
    for text in texts:
        for char, count in Counter(unicodedata.normalize("NFC", text)).items():
            letters += count * char.isalpha()
            hangul += count * is_syllable(char)
    return config.model_copy(update={"kind": "jamo" if 2 * hangul > letters else "char"})


class _Each(Iterable[str]):
    """Texts with something done to each, whenever they are gone through."""

    def __init__(self, texts: Iterable[str], change: Callable[[str], str]) -> None:
        self._texts, self._change = texts, change

    def __iter__(self) -> Iterator[str]:
        return map(self._change, self._texts)


def train_tokenizer(
    texts: Iterable[str], config: TokenizerConfig, may_be_empty: bool = False
) -> Tokenizer:
    """A tokenizer whose vocabulary comes from ``texts``, most frequent tokens first.

    What can be gone through again, and not once alone as an iterator, is never kept as a whole.
    Raises `DataError` when the texts give no token at all, unless the vocabulary ``may_be_empty``.
    """
    if isinstance(texts, Iterator):
        texts = list(texts)
    config = resolve_kind(texts, config)
    form: Form = "NFD" if config.kind == "jamo" else "NFC"
    texts = _Each(texts, lambda text: normalise(text, form, config.lowercase))
    if config.kind == "bpe":
        model: models.Model = _bpe(texts, config)
    elif config.kind == "unigram":
        model = _unigram(texts, config)
    else:
        model = _counted(texts, config, form)
    tokenizer = hf.Tokenizer(model)
    if tokenizer.get_vocab_size() == 1 and not may_be_empty:
        raise DataError(
            f"A vocabulary of kind {config.kind} needs text, but {_count(texts)} texts gave no "
            f"token that comes {config.min_count} times or more. Check the files, or lower "
            "min_count"
        )
    tokenizer.normalizer = _normaliser(form, config.lowercase)
    splitter = _splitter(config)
    if splitter is not None:
        tokenizer.pre_tokenizer = splitter
    return Tokenizer(tokenizer, config.kind, config.separator, config.lowercase)


def _count(texts: Iterable[str]) -> int:
    return sum(1 for _ in texts)


def _normaliser(form: Form, lowercase: bool) -> normalizers.Normalizer:
    """For other programs that read our files: texts come here in this form already.

    Must leave such texts as they are, offsets included (NFC then NFD would not).
    """
    unicode = normalizers.NFD() if form == "NFD" else normalizers.NFC()
    return (
        normalizers.Sequence([unicode, normalizers.Lowercase(), unicode]) if lowercase else unicode
    )


def _splitter(config: TokenizerConfig) -> pre_tokenizers.PreTokenizer | None:
    if config.kind in ("bpe", "unigram"):
        return pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    if config.kind == "word":
        return pre_tokenizers.Split(_WHITE, "removed")
    if config.kind == "split":
        return pre_tokenizers.Split(_separator(config), "removed")
    return None


def _separator(config: TokenizerConfig) -> str:
    """The separator as it looks in normalised text."""
    return normalise(config.separator, "NFC", config.lowercase)


def _capacity(config: TokenizerConfig) -> int:
    """Most tokens of the text that fit beside the specials."""
    return config.vocab_size - len(SPECIALS)


def _most_common(counts: Counter[str], config: TokenizerConfig) -> list[str]:
    """Tokens worth keeping: by count, equal counts in code-point order."""
    kept = [t for t, n in counts.items() if n >= config.min_count and t != _UNKNOWN]
    return sorted(kept, key=lambda t: (-counts[t], t))[: _capacity(config)]


# --- kinds that count: char, jamo, word, split ---------------------------------------------------


def _counted(texts: Iterable[str], config: TokenizerConfig, form: Form) -> models.Model:
    counts: Counter[str] = Counter()
    for text in texts:
        if config.kind == "word":
            counts.update(text.split())
        elif config.kind == "split":
            counts.update(part for part in text.split(_separator(config)) if part)
        else:
            counts.update(text)
    vocab = {t: i for i, t in enumerate([_UNKNOWN, *_most_common(counts, config)])}
    if config.kind in ("word", "split"):
        return models.WordLevel(vocab, unk_token=_UNKNOWN)
    # BPE without merges is one token per character, and far faster than a regex that splits
    return models.BPE(vocab, [], unk_token=_UNKNOWN)


# --- subwords ------------------------------------------------------------------------------------


def _within_alphabet(texts: Iterable[str], config: TokenizerConfig) -> Iterable[str]:
    """The texts, with the rarest characters blanked where not all would fit the vocabulary.

    The trainers have limits of their own, but break ties in hash order or not at all.
    """
    counts = Counter({SPACE: 1})
    for text in texts:
        counts.update(text.replace(" ", SPACE))
    counts[SPACE] = max(counts.values()) + 1  # before every word: never the one that is dropped
    keep = sorted(counts, key=lambda c: (-counts[c], c))[: _capacity(config)]
    drop = dict.fromkeys(map(ord, counts.keys() - set(keep)), " ")
    return _Each(texts, lambda text: text.translate(drop)) if drop else texts


def _trained(
    texts: Iterable[str], config: TokenizerConfig, model: models.Model, trainer: trainers.Trainer
) -> hf.Tokenizer:
    tokenizer = hf.Tokenizer(model)
    splitter = _splitter(config)
    assert splitter is not None
    tokenizer.pre_tokenizer = splitter
    tokenizer.train_from_iterator(iter(texts), trainer)
    return tokenizer


def _bpe(texts: Iterable[str], config: TokenizerConfig) -> models.Model:
    """Byte-pair encoding over characters (Sennrich et al. 2016)."""
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size - SHIFT,
        min_frequency=config.min_count,
        special_tokens=[_UNKNOWN],
        show_progress=False,
    )
    texts = _within_alphabet(texts, config)
    trained = _trained(texts, config, models.BPE(unk_token=_UNKNOWN), trainer)
    model = json.loads(trained.to_str())["model"]
    # a text may spell the name of unknown tokens: that stays several pieces, and in no other
    known = {piece for piece in model["vocab"] if len(piece) == 1}
    merges = []
    for left, right in model["merges"]:
        if left in known and right in known and left + right != _UNKNOWN:
            merges.append((left, right))
            known.add(left + right)
    pieces = [_UNKNOWN, *sorted(known, key=model["vocab"].__getitem__)]
    return models.BPE({piece: i for i, piece in enumerate(pieces)}, merges, unk_token=_UNKNOWN)


def _unigram(texts: Iterable[str], config: TokenizerConfig) -> models.Model:
    """The unigram language model of Kudo 2018."""
    trainer = trainers.UnigramTrainer(
        vocab_size=config.vocab_size - SHIFT,
        special_tokens=[_UNKNOWN],
        unk_token=_UNKNOWN,
        show_progress=False,
    )
    texts = _within_alphabet(texts, config)
    trained = _trained(texts, config, models.Unigram(), trainer)
    pieces = dict(map(tuple, json.loads(trained.to_str())["model"]["vocab"]))
    pieces.pop(_UNKNOWN, None)
    scores = _levelled(pieces)
    if config.min_count > 1:
        used: Counter[str] = Counter()
        stream = iter(texts)
        while some := list(islice(stream, 10_000)):
            used.update(t for e in trained.encode_batch(some) for t in e.tokens)
        scores = {p: s for p, s in scores.items() if len(p) == 1 or used[p] >= config.min_count}
    # the trainer overshoots small sizes: characters first, then the best pieces that still fit
    order = sorted(scores, key=lambda p: (len(p) > 1, -scores[p], p))[: _capacity(config)]
    ranked = sorted(order, key=lambda p: (-scores[p], p))
    return models.Unigram([(_UNKNOWN, 0.0), *((p, scores[p]) for p in ranked)], 0, False)


def _levelled(pieces: dict[str, float]) -> dict[str, float]:
    """Scores without the trainer's traces of hash order, so that training is repeatable.

    The trainer gives characters that it had pruned back with the lowest score + 0.0001 k, k in
    hash order. They all get the lowest score here. The rest is rounded past its noise.
    """
    if not pieces:
        return {}
    lowest = min(pieces.values())
    band = lowest + 0.0001 * (sum(len(p) == 1 for p in pieces) + 1)
    return {
        p: round(lowest if len(p) == 1 and score <= band else score, 6)
        for p, score in pieces.items()
    }
