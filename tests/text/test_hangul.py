"""Display of tokens, against a list typed by hand."""

import unicodedata

from jumok.text import display_tokens


def test_every_modern_letter_stands_alone():
    initial = [chr(0x1100 + i) for i in range(19)]
    vowel = [chr(0x1161 + i) for i in range(21)]
    final = [chr(0x11A8 + i) for i in range(27)]
    assert "".join(display_tokens(initial)) == "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
    assert "".join(display_tokens(vowel)) == "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
    assert (
        "".join(display_tokens(final)) == "ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"
    )


def test_white_space_controls_and_marks_are_visible():
    assert display_tokens([" ", "\n", "\t", "\x00", "\u0301"]) == ["␣", "↵", "⇥", "␀", "◌\u0301"]
    # vowels of Thai and Hindi, whose combining class is 0
    assert display_tokens(["\u0e31", "\u093f"]) == ["◌\u0e31", "◌\u093f"]


def test_the_rest_stays():
    old = "\u1113"  # HANGUL CHOSEONG NIEUN-KIYEOK has no stand-alone twin
    assert "CHOSEONG" in unicodedata.name(old)
    assert display_tokens(["a", "각", "▁the", "😀", old, ""]) == ["a", "각", "▁the", "😀", old, ""]
