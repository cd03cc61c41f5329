"""The input of all renderers, its labels, hard alignments, and JSON."""

from __future__ import annotations

import math
import unicodedata

import numpy as np
import pytest

from jumok.explain import AttentionMap, from_json, links, pharaoh, to_json

WEIGHTS = [[0.7, 0.2, 0.1], [0.0, 0.0, 0.0], [0.1, 0.3, 0.6], [0.1, 0.8, 0.1]]


def a_map(**fields) -> AttentionMap:
    return AttentionMap(["a", "b", "</s>"], ["x", "y", "w", "z"], np.array(WEIGHTS), **fields)


def test_shapes_that_do_not_fit_name_both():
    with pytest.raises(ValueError, match=r"shape \(2, 1\), but shape \(1, 2\) came"):
        AttentionMap(["a"], ["x", "y"], np.ones((1, 2)))
    with pytest.raises(ValueError, match="one number per target token, 4, but 1 came"):
        a_map(token_log_probs=[-1.0])


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.5, math.inf])
def test_weights_must_be_shares(bad):
    with pytest.raises(ValueError, match="numbers from 0 to 1"):
        AttentionMap(["a"], ["x"], np.array([[bad]]))


def test_the_map_keeps_its_own_weights():
    weights = np.array([[1.0]], dtype=np.float32)
    attention = AttentionMap(["a"], ["x"], weights)
    weights[0, 0] = 0.0
    assert attention.weights[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        attention.weights[0, 0] = 0.5


def test_strongest_by_hand():
    assert a_map().strongest == [0, None, 2, 1]
    assert AttentionMap(["a", "b"], ["x"], np.array([[0.5, 0.5]])).strongest == [0]


def test_pharaoh_by_hand():
    # x looks at a; y at nothing; the third at the end of the source; z at b
    assert pharaoh(links(a_map())) == "0-0 1-3"


def test_pharaoh_leaves_out_links_to_the_end():
    attention = AttentionMap(["b", "a", "</s>"], ["x", "y", "</s>"], np.eye(3)[[1, 2, 0]])
    assert pharaoh(links(attention)) == "1-0"


def test_only_the_last_token_can_be_the_end():
    markup = ["</s>", "<s>", "<pad>", "<unk>", "</s>"]
    attention = AttentionMap(markup, markup, np.eye(5))
    assert attention.source_labels == attention.target_labels == [*markup[:-1], "∎"]
    assert pharaoh(links(attention)) == "0-0 1-1 2-2 3-3"
    assert AttentionMap(["</s>", "a"], ["x"], np.array([[1.0, 0.0]])).source_labels[0] == "</s>"


def test_labels_are_visible_and_harmless():
    jamo = unicodedata.normalize("NFD", "각")
    tokens = [*jamo, " ", "\x1b[2J", "\u202e", "\ud800", "", "\u0301", "\u200d", "\x85", "</s>"]
    attention = AttentionMap(tokens, ["x"], np.zeros((1, len(tokens))))
    assert attention.source_labels == [
        *("ㄱ", "ㅏ", "ㄱ", "␣", "␛[2J", "\ufffd", "\ufffd", "·", "◌\u0301", "·", "\ufffd", "∎"),
    ]


def test_no_label_is_blank():
    tokens = [*"\u115f\u1160\u3164\uffa0\u2800\u00a0\u3000", "\u115fᅡ"]
    attention = AttentionMap(tokens, ["x"], np.zeros((1, len(tokens))))
    assert attention.source_labels == ["␣"] * 7 + ["␣ㅏ"]


def test_joiners_inside_a_token_stay():
    family = "👩\u200d👧"
    assert AttentionMap([family], ["x"], np.ones((1, 1))).source_labels == [family]


def test_json_is_the_map_again():
    attention = a_map(
        source_text='a "b"',
        target_text="주목 </s>",
        token_log_probs=[-0.1, -2.0, -3.0, 0.0],
        score=-5.1,
    )
    text = to_json(attention)
    again = from_json(text)
    assert "주목" in text
    np.testing.assert_allclose(again.weights, attention.weights, atol=1e-6)
    for name in ("source_tokens", "target_tokens", "source_text", "target_text", "score"):
        assert getattr(again, name) == getattr(attention, name)
    assert again.probabilities == pytest.approx([math.exp(v) for v in (-0.1, -2, -3, 0)])


def test_json_has_no_infinity():
    text = to_json(a_map(token_log_probs=[-math.inf, -1.0, -1.0, -1.0], score=-math.inf))
    assert "Infinity" not in text
    again = from_json(text)
    assert again.probabilities[0] == 0.0


@pytest.mark.parametrize("text", ["{}", "[1]", '{"weights": [[1]], "colour": 2}', "no JSON"])
def test_json_of_something_else(text):
    with pytest.raises(ValueError, match=r"not an attention map|Expecting value"):
        from_json(text)
