"""What one text says of itself: odd characters, normal form, and the scripts of its letters."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import NamedTuple

from jumok.doctor.kinds import BITS

_ASCII_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_OTHER_ASCII = bytes(byte for byte in range(128) if byte not in _ASCII_LETTERS)

# UTF-8 read as Latin-1 or Windows-1252: Â or Ã and one more, or â to ï and two more, where these
# are what the bytes 80 to BF become. Some of them also stand after letters by rights: é”—
_MARKS, _SPACE = "‘’“”‚„–—…«»‹›", "\xa0"
_CONTINUED = "".join(map(chr, range(0x80, 0xC0))) + bytes(
    set(range(0x80, 0xA0)) - {0x81, 0x8D, 0x8F, 0x90, 0x9D}
).decode("cp1252")
_ANY, _MARK = f"[{re.escape(_CONTINUED)}]", f"[{_MARKS}]"
_OTHER = f"[{re.escape(''.join(set(_CONTINUED) - set(_MARKS + _SPACE)))}]"
# as does a space that does not break: é\xa0» and XÃ\xa0HỘI, and Nestlé®\xa0:
_MOJIBAKE = re.compile(
    rf"[ÂÃ](?:{_OTHER}|{_MARK}(?=\w)|\xa0(?=[ a-z])|(?<![A-ZÀ-ÞĐ]Ã)\xa0)"
    rf"|[â-ï](?:{_OTHER}{_ANY}(?<![®™¹²³]\xa0)|{_MARK}{_OTHER}|\xa0[\x80-\x9f])|\ufffd"
)

_CONFUSABLE = frozenset({"Latin", "Greek", "Cyrillic"})
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0")
"""Hangul letters that are blank."""
_JAMO = (("\u1100", "\u11ff"), ("\u3131", "\u318e"), ("\ua960", "\ua97c"), ("\ud7b0", "\ud7fb"))
"""Conjoining letters, of which NFC makes syllables where it can, and those that stand alone."""
_JOINERS = frozenset("\u200c\u200d")
"""Persian, the scripts of India and emoji are spelt with them."""


class Look(NamedTuple):
    """What was seen in one text."""

    flags: int
    scripts: dict[str, int]
    """How many letters there are of each script."""


def look(text: str, nfc: str) -> Look:
    """Look at a text, of which ``nfc`` is the normal form."""
    spaced = text[:1] == " " or text[-1:] == " " or "  " in text
    flags = BITS["extra-space"] if spaced else 0
    if text != nfc:
        flags |= BITS["not-nfc"]
    if nfc.isascii():
        if not nfc.isprintable():
            for char in set(nfc):
                flags |= _FLAGS[char]
        letters = len(nfc.encode().translate(None, _OTHER_ASCII))
        return Look(flags, {"Latin": letters} if letters else {})
    scripts: dict[str, int] = {}
    for char, count in Counter(nfc).items():
        flags |= _FLAGS[char]
        if script := _SCRIPTS[char]:
            scripts[script] = scripts.get(script, 0) + count
    if len(_CONFUSABLE & scripts.keys()) > 1 and _has_mixed_word(nfc):
        flags |= BITS["mixed-script"]
    if _MOJIBAKE.search(nfc):
        flags |= BITS["mojibake"]
    return Look(flags, scripts)


def script_of(char: str) -> str:
    """The script of a letter by its Unicode name; empty for what belongs to none, or to several.

    Modifier letters and letters of mathematics belong to none.
    """
    if not char.isalpha():
        return ""
    words = unicodedata.name(char, "").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ").split()
    if not words or words[0] in _NO_SCRIPT or "PROLONGED" in words:
        return ""
    return _OTHER_NAMES.get(words[0], words[0].capitalize())


def script_group(script: str) -> str:
    """Scripts that are written together by nature count as one: kanji and kana."""
    return "Han" if script in ("Hiragana", "Katakana") else script


# first words of names, after which there is no script's
_NO_SCRIPT = frozenset(
    {"MODIFIER", "SUPERSCRIPT", "MATHEMATICAL", "DOUBLE-STRUCK", "BLACK-LETTER", "SCRIPT", "MICRO"}
    | {"FEMININE", "MASCULINE", "ALEF", "BET", "GIMEL", "DALET", "INFORMATION", "EULER"}
    | {"KATAKANA-HIRAGANA"}
)
_OTHER_NAMES = {"CJK": "Han", "IDEOGRAPHIC": "Han", "HENTAIGANA": "Hiragana"}


class _Scripts(dict[str, str]):
    """Scripts of the characters met so far."""

    def __missing__(self, char: str) -> str:
        self[char] = found = script_of(char)
        return found


class _Flags(dict[str, int]):
    """Findings of the characters met so far."""

    def __missing__(self, char: str) -> int:
        name = _finding(char)
        self[char] = found = BITS[name] if name else 0
        return found


_SCRIPTS, _FLAGS = _Scripts(), _Flags()


def _finding(char: str) -> str:
    """What a character is to be reported as, by itself; empty if nothing."""
    category = unicodedata.category(char)
    if char in "\t\n\r":
        return "line-break"
    if category == "Cc":
        return "control-character"
    if category == "Co":
        return "private-character"
    if category[0] == "Z" and char != " ":
        return "odd-space"
    if (category == "Cf" and char not in _JOINERS) or char in _FILLERS:
        return "invisible-character"
    if any(first <= char <= last for first, last in _JAMO):
        return "loose-jamo"
    wide = unicodedata.decomposition(char).startswith(("<wide>", "<narrow>"))
    return "width-form" if wide else ""


def _has_mixed_word(text: str) -> bool:
    """Whether letters that look alike but are of different scripts meet in a word."""
    words = (word for word in text.split() if not word.isascii())
    return any(len(_CONFUSABLE & {_SCRIPTS[char] for char in word}) > 1 for word in words)
