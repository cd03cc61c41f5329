"""Normal forms and the way back, against `unicodedata` and texts written by hand."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumok.text.normal import normalise, spans

MIXED = st.text(
    st.one_of(
        st.sampled_from("가각힣각ᄒ\u0301\u0316\u0344\u0f71\u0f72\u0f73\u0f75é e\u212bİßΣ😀"),
        st.characters(codec="utf-8"),
    ),
    max_size=12,
)


@given(MIXED, st.sampled_from(["NFC", "NFD"]), st.booleans())
def test_spans_cover_the_text_in_order(text, form, lowercase):
    found = spans(text, form, lowercase)
    assert len(found) == len(normalise(text, form, lowercase))
    pieces = list(dict.fromkeys(found))
    assert "".join(text[a:b] for a, b in pieces) == text
    assert "".join(normalise(text[a:b], form) for a, b in pieces) == unicodedata.normalize(
        form, text
    )


@given(MIXED, st.sampled_from(["NFC", "NFD"]), st.booleans())
def test_equivalent_texts_become_equal(text, form, lowercase):
    wanted = normalise(text, form, lowercase)
    assert normalise(unicodedata.normalize("NFC", text), form, lowercase) == wanted
    assert normalise(unicodedata.normalize("NFD", text), form, lowercase) == wanted


@pytest.mark.parametrize(
    ("text", "form", "wanted"),
    [
        ("", "NFC", []),
        ("각a", "NFC", [(0, 1), (1, 2)]),
        ("각a", "NFD", [(0, 1), (0, 1), (0, 1), (1, 2)]),
        ("ᄀ\u1161ᆨa", "NFC", [(0, 3), (3, 4)]),
        ("ᄀ\u1161ᆨ", "NFD", [(0, 3), (0, 3), (0, 3)]),
        ("e\u0301x", "NFC", [(0, 2), (2, 3)]),
        ("xé", "NFD", [(0, 1), (1, 2), (1, 2)]),
    ],
)
def test_spans_by_hand(text, form, wanted):
    assert spans(text, form) == wanted


def test_lower_case_that_grows_keeps_its_place():
    assert normalise("aİb", "NFC", True) == "ai\u0307b"
    assert spans("aİb", "NFC", True) == [(0, 1), (1, 2), (1, 2), (2, 3)]
