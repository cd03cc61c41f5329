"""One text at a time: findings of characters by hand, scripts against the `regex` package."""

import sys
import unicodedata

import pytest
import regex

from jumok.doctor.characters import look, script_of
from jumok.doctor.kinds import names_in

# text: its findings
TEXTS = {
    "주목, 'attention' — naïve 注意 ありがとう": [],
    "Спасибо, Σωκράτης": [],
    "می‌خواهم 👩‍🔬": [],  # spelt with invisible joiners
    "a\x07b": ["control-character"],
    "a\x85b": ["control-character"],  # of C1
    "a\tb": ["line-break"],
    "a\nb": ["line-break"],
    " a": ["extra-space"],
    "가 ": ["extra-space"],
    "a  b": ["extra-space"],
    "a\u00a0b": ["odd-space"],
    "a\u202fb": ["odd-space"],
    "a\u3000b": ["odd-space"],
    "a\u200bb": ["invisible-character"],
    "a\ufeffb": ["invisible-character"],
    "a\u00adb": ["invisible-character"],
    "가\u3164나": ["invisible-character"],  # the Hangul filler is a letter to Unicode
    "\ue000": ["private-character"],
    "한국": [],
    unicodedata.normalize("NFD", "한국"): ["not-nfc"],
    "e\u0301": ["not-nfc"],
    "30 \u212a": ["not-nfc"],  # the kelvin sign, to NFC a K
    "so\u037e": ["not-nfc"],  # the Greek question mark, to NFC a semicolon
    "ㅋㅋ": ["loose-jamo"],
    "\u110f\u110f": ["loose-jamo"],  # look the same, and NFC does not join them
    "ᆯ지": ["loose-jamo"],
    "\u1112\u1161\u11ab": ["not-nfc"],  # these it joins
    "Ａ１": ["width-form"],
    "ｶﾀ": ["width-form"],
    "cafÃ©": ["mojibake"],
    "Ã„rger": ["mojibake"],
    "donâ€™t": ["mojibake"],
    "안녕".encode().decode("latin-1"): ["mojibake", "control-character"],
    "caf\ufffd": ["mojibake"],
    "Âme, Ã, â la carte, ï, São, »ß«": [],
    "“my fiancé”—she said": [],  # marks after a letter of Latin-1
    "‘touché’”": [],
    "«café»…": [],
    "“AMANHÃ”": [],
    "« J’ai mangé\u00a0» dit-il": ["odd-space"],  # and what French and others space so
    "le café\u00a0— dit-il": ["odd-space"],
    "“touché”\u00a0: così\u00a0»": ["odd-space"],
    "arrivé\u00a0…": ["odd-space"],
    "payé\u00a0€\u00a05, třetí\u00a0život": ["odd-space"],
    "société²\u00a0; Nestlé®\u00a0!": ["odd-space"],
    "TỪ XÃ\u00a0HỘI": ["odd-space"],
    "AMANHÃ\u00a0»": ["odd-space"],
    "Ã\u00a0 la carte, voilÃ\u00a0": ["mojibake", "odd-space"],
    "LÃ\u00a0 bas": ["mojibake", "odd-space"],
    "5Â\u00a0km": ["mojibake", "odd-space"],
    "Smithâ€\u00a0": ["mojibake", "odd-space"],  # a dagger
    "p\u0430ypal": ["mixed-script"],  # a Cyrillic а
    "Москва Moscow": [],
    "t͡ʃʰ β": [],  # phones, a Greek letter among them, by itself
}


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_findings_of_a_text(text):
    nfc = unicodedata.normalize("NFC", text)
    assert set(names_in(look(text, nfc).flags)) == set(TEXTS[text])


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("word", [*"éÜßñ…“가한漢à\u00a0", "전화"])
def test_utf_8_read_as_something_else_is_seen(word, encoding):
    text = word.encode().decode(encoding)
    nfc = unicodedata.normalize("NFC", text)
    assert "mojibake" in names_in(look(text, nfc).flags)
    assert "mojibake" not in names_in(look(word, word).flags)


def test_letters_are_counted_by_script():
    text = "주목 attention 注意ひらカタ 1, 2 — Σ ʰー"
    assert look(text, text).scripts == {
        "Hangul": 2, "Latin": 9, "Han": 2, "Hiragana": 2, "Katakana": 2, "Greek": 1,
    }  # fmt: skip
    assert look("ab, c 1!", "ab, c 1!").scripts == {"Latin": 3}
    assert look("1!", "1!").scripts == {}


def test_scripts_are_those_of_unicode():
    """Of all letters in NFC: modifier letters apart, two dozen of 131,000 differ."""
    names = ("Hangul", "Latin", "Han", "Hiragana", "Katakana", "Cyrillic", "Greek", "Arabic",
             "Hebrew", "Thai", "Devanagari", "Armenian", "Georgian", "Ethiopic")  # fmt: skip
    every = "".join(c for i in range(sys.maxunicode + 1) if (c := chr(i)).isalpha())
    letters = {c for c in every if unicodedata.is_normalized("NFC", c)}
    letters -= set(regex.findall(r"\p{Lm}", every))
    truth = {name: set(regex.findall(rf"\p{{Script={name}}}", every)) & letters for name in names}
    found = {c: script_of(c) for c in letters}
    ours = {name: {c for c in letters if found[c] == name} for name in names}
    different = {c for name in names for c in truth[name] ^ ours[name]}
    assert len(letters) > 130_000
    assert len(different) < 10, different
    none = set(regex.findall(r"\p{Script=Common}", every)) & letters
    assert len([c for c in none if found[c]]) < 20
