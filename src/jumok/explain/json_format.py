"""Attention as data: one JSON object with the fields of `AttentionMap`."""

from __future__ import annotations

import json
import math

import numpy as np

from jumok.explain.attention_map import AttentionMap


def to_json(attention: AttentionMap) -> str:
    """Return the map as JSON text.

    Weights are rounded to 6 decimals. JSON has no infinity, so an impossible token's
    log-probability is written as the lowest number that it has.
    """
    data = {
        "source_text": attention.source_text,
        "target_text": attention.target_text,
        "source_tokens": attention.source_tokens,
        "target_tokens": attention.target_tokens,
        "score": None if attention.score is None else _finite(attention.score),
        "token_log_probs": (
            None
            if attention.token_log_probs is None
            else [_finite(value) for value in attention.token_log_probs]
        ),
        "weights": attention.weights.round(6).tolist(),
    }
    return json.dumps(data, ensure_ascii=False, allow_nan=False)


def from_json(text: str) -> AttentionMap:
    """Read what `to_json` wrote. Raises `ValueError` where the text is something else."""
    try:
        data = json.loads(text)
        return AttentionMap(**{**data, "weights": np.array(data["weights"], dtype=np.float64)})
    except (TypeError, KeyError) as error:
        raise ValueError(f"This JSON is not an attention map of jumok: {error}") from error


def _finite(value: float) -> float:
    lowest = -1.7976931348623157e308
    return lowest if math.isinf(value) else float(value)
