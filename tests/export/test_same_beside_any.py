"""A text has the same output alone, in a batch, in another order and under more padding: with every
search option, and every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from exports import IN_EIGHT_BITS, assert_equal, export, write
from tiny import tiny_language_model, tiny_predictor, tiny_shortlist

from jumok.config import SearchConfig
from jumok.engine import EngineName
from jumok.prediction import Prediction
from jumok.predictor import Predictor, load

MODEL = "bahdanau2015"
"""Of the tiny ones, that which looks about and varies its tokens most."""
TEXTS = ["a", "가각힣 d", "zqa?", "abcdeedcbaab", "", "힣", "e d c", "각가b"]
LONG = "edcba 가각힣" * 3
PLACES = range(len(TEXTS))
PREFIXES = ["x", "y x", "", "z w v", "x", "w", "x x", "u"]
KIND = {"beam", "n_best", "sample", "seed"}
"""Options that say what kind of search it is."""
DRAWN = {"sample": True, "n_best": 2, "seed": 4}
ASKED: dict[str, dict[str, Any]] = {
    "greedy": {"beam": 1},
    "a beam": {"beam": 3},
    "n-best": {"beam": 4, "n_best": 3},
    "average": {"beam": 4, "length_penalty": "average"},
    "gnmt": {"beam": 4, "length_penalty": "gnmt", "length_alpha": 2.0},
    "coverage": {"beam": 4, "coverage_penalty": 2.0},
    "a language model": {"beam": 3, "lm_weight": 0.7},
    "least": {"min_length": 6},
    "most": {"beam": 2, "max_length_ratio": 0.5, "max_length_offset": 1},
    "no bigram twice": {"beam": 2, "min_length": 6, "no_repeat_ngram": 2},
    "repetition": {"beam": 3, "min_length": 6, "repetition_penalty": 1.5},
    "required": {"beam": 4, "required": ["z y"], "max_length_offset": 9},
    "forbidden": {"beam": 2, "forbidden": ["u v", "w"]},
    "groups": {"beam": 4, "groups": 2, "diversity": 0.5, "n_best": 4},
    "drawn": DRAWN,
    "cold": {**DRAWN, "temperature": 0.5},
    "of few": {**DRAWN, "top_k": 2},
    "of the probable": {**DRAWN, "top_p": 0.6},
    "unknown": {"beam": 2, "min_length": 4, "replace_unknown": True},
    "a dictionary": {
        "beam": 2,
        "min_length": 4,
        "replace_unknown": True,
        "dictionary": {"a": "u", "가": "v", "q": "w"},
    },
    "a shortlist": {"beam": 3, "shortlist": True},
    "a prefix": {"prefix": "y x"},
    "prefixes": {"beam": 3, "prefix": PREFIXES},
    "choices": {"beam": 3, "n_best": 3, "choices": ["x y z", "y x", "z w v u", "u"]},
    "drawn, of what is asked": {
        **DRAWN,
        "temperature": 1.5,
        "top_k": 5,
        "top_p": 0.9,
        "min_length": 3,
        "no_repeat_ngram": 2,
        "repetition_penalty": 1.2,
        "forbidden": ["v v"],
        "prefix": PREFIXES,
        "lm_weight": 0.3,
        "shortlist": True,
    },
    "ranked, of what is asked": {
        "beam": 6,
        "n_best": 2,
        "groups": 2,
        "diversity": 0.3,
        "length_penalty": "average",
        "coverage_penalty": 0.4,
        "lm_weight": 0.3,
        "required": ["w"],
        "forbidden": ["u u"],
        "prefix": PREFIXES,
        "min_length": 3,
        "max_length_offset": 9,
        "repetition_penalty": 1.2,
    },
    "unknown, in a shortlist": {
        "beam": 3,
        "replace_unknown": True,
        "shortlist": True,
        "min_length": 4,
        "length_penalty": "gnmt",
        "coverage_penalty": 0.4,
        "no_repeat_ngram": 3,
        "prefix": PREFIXES,
    },
    "chosen, with a language model": {
        "beam": 4,
        "n_best": 2,
        "choices": ["x y z", "y x", "z w v u", "x u"],
        "prefix": ["", "y", "z", "x", "x", "x y", "", "z w"],
        "length_penalty": "average",
        "lm_weight": 0.5,
        "shortlist": True,
    },
}


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported language model of the tiny models' target tokens."""
    tokens = tiny_predictor(MODEL, 3).target_tokenizer
    path = write(tmp_path_factory.mktemp("judge") / "model", tiny_language_model(tokens, 4))
    export(path)
    return path


def predict(
    predictor: Predictor, order: Sequence[int], options: dict[str, Any], batch_size: int
) -> dict[int, Prediction]:
    """Outputs by the places of their texts in `TEXTS`, asked in this order; -1 is `LONG`."""
    asked = {**options, "batch_size": batch_size}
    if isinstance(asked.get("prefix"), list):
        asked["prefix"] = ["" if i < 0 else asked["prefix"][i] for i in order]
    texts = [LONG if i < 0 else TEXTS[i] for i in order]
    return dict(zip(order, predictor.predict(texts, **asked), strict=True))


def check(predictor: Predictor, options: dict[str, Any], atol: float) -> list[Prediction]:
    """Outputs, which are the same however their texts are put together."""
    alone = {i: predict(predictor, [i], options, 1)[i] for i in PLACES}
    for order, batch_size in (
        (PLACES, 50),
        (PLACES[::-1], 50),
        ([*PLACES[3:], *PLACES[:3]], 3),
        ([-1, *PLACES], 50),
    ):
        together = predict(predictor, order, options, batch_size)
        for i in PLACES:
            assert_equal(alone[i], together[i], atol)
    return [alone[i] for i in PLACES]


def shown(found: Iterable[Prediction]) -> list[tuple[str, float]]:
    """Texts and scores, to see whether an option did anything."""
    return [(p.text, round(p.score, 1)) for one in found for p in (one, *one.alternatives)]


@pytest.mark.parametrize("engine", ["torch", "onnx", "onnx-int8"])
def test_every_option_gives_the_same_whatever_stands_beside(
    engine: EngineName, exported: Callable[[str], Path], judge: Path
) -> None:
    path = exported(MODEL)
    plain = load(path, engine=engine)
    judged = load(path, language_model=judge, engine=engine)
    for predictor in (plain, judged):
        vars(predictor)["_shortlist"] = tiny_shortlist(plain, 1, most=3, frequent=2)
    atol = IN_EIGHT_BITS if engine == "onnx-int8" else 1e-4
    for name, options in ASKED.items():
        predictor = judged if "lm_weight" in options else plain
        kind = {key: value for key, value in options.items() if key in KIND}
        try:
            found = check(predictor, options, atol)
            if options != kind:
                assert shown(found) != shown(predict(plain, PLACES, kind, 50).values())
        except AssertionError as error:
            error.add_note(f"with {name}: {options}")
            raise


def test_every_option_is_asked() -> None:
    asked = {key for options in ASKED.values() for key in options}
    of_the_call = {"prefix", "choices", "dictionary"}
    speed = {"batch_size", "max_source_length"}
    assert asked == (SearchConfig.model_fields.keys() | of_the_call) - speed
