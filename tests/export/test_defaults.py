"""Inputs of a whole search that are left out are as in the model's own settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from exports import SOURCES

from jumok.data import pad, source_ids
from jumok.predictor import Predictor, load

TEXTS = [text for text in SOURCES if text]


def searched(path: Path, predictor: Predictor, graph: str) -> list[tuple[list[str], float]]:
    """Tokens and score of each text, by a graph that is given nothing that may be left out."""
    search, reverse = predictor.config.search, predictor.config.data.reverse_source
    encodings = predictor.source_tokenizer.encode_batch(TEXTS)
    source, lengths = pad([source_ids(one.ids, reverse) for one in encodings])
    limits = (search.max_length_ratio * (lengths - 1)).astype(int) + search.max_length_offset
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path / "onnx" / graph, options)
    left_out = {one.name for one in session.get_overridable_initializers()}
    assert left_out == {"penalty_base", "penalty_alpha", *["beam"] * (graph == "beam.onnx")}
    names = ["tokens", "counts", "scores"]
    given = {"source": source, "lengths": lengths, "limits": limits}
    rows = zip(*session.run(names, given), strict=True)
    written = predictor.target_tokenizer.tokens
    return [(written(tokens[:count].tolist()), float(score)) for tokens, count, score in rows]


@pytest.mark.parametrize(("graph", "options"), [("greedy.onnx", {"beam": 1}), ("beam.onnx", {})])
def test_what_is_left_out_is_as_the_model_has_it(
    graph: str, options: dict[str, object], exported_beam: Path
) -> None:
    predictor = load(exported_beam, engine="torch")
    own = predictor.predict(TEXTS, **options)
    for (tokens, score), one in zip(searched(exported_beam, predictor, graph), own, strict=True):
        assert tokens == one.tokens
        assert score == pytest.approx(one.score, abs=1e-4)
    others: list[dict[str, object]] = [
        *({"length_penalty": "none"}, {"length_penalty": "average"}, {"length_alpha": 1.4}),
        *([] if options else [{"beam": 3}, {"beam": 5}]),
    ]
    for other in others:  # which would be noticed
        scores = [one.score for one in predictor.predict(TEXTS, **{**options, **other})]
        assert not np.allclose(scores, [one.score for one in own], atol=1e-3)
