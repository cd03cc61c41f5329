"""What a model answers: the text and how it came about."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from jumok.errors import InputError
from jumok.explain import AttentionMap, Units, merge, render_fragment


@dataclass(frozen=True, eq=False)  # arrays have no one truth value
class Prediction:
    """One output with its evidence.

    ``tokens`` end with ``</s>`` unless the output was cut at the length limit;
    ``token_log_probs`` and the rows of ``attention`` stand beside them. ``source_tokens`` also
    end with ``</s>``, which the encoder reads and attention may rest on. Rows of ``attention``
    sum to 1; it is None for a model without attention. The output for an empty source is empty:
    without a token, and without attention. Where a model has several heads,
    ``attention`` is their mean and ``attention_heads`` has each; else that is None. ``copied``
    has, for a model that can copy, the source position that each token was copied from, and None
    for a token that was not copied; so too where unknown tokens were replaced. Ensembles, and
    models beside a language model, do not tell it. ``feature_attention`` is there where a model
    reads features apart: as much again, over these alone. ``source_offsets`` and ``offsets`` have
    each token's (start, end) in characters of ``source`` and of ``text``, and none for ``</s>``.
    """

    source: str
    text: str
    score: float
    tokens: list[str]
    token_log_probs: list[float]
    source_tokens: list[str]
    attention: Float[np.ndarray, "tgt_len src_len"] | None
    attention_heads: Float[np.ndarray, "heads tgt_len src_len"] | None = None
    feature_attention: Float[np.ndarray, "tgt_len src_len"] | None = None
    copied: list[int | None] | None = None
    source_offsets: list[tuple[int, int]] = field(default_factory=list)
    offsets: list[tuple[int, int]] = field(default_factory=list)
    alternatives: list[Prediction] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; each alternative has the same keys."""
        return {
            "source": self.source,
            "text": self.text,
            "score": self.score,
            "tokens": self.tokens,
            "token_log_probs": self.token_log_probs,
            "offsets": [list(span) for span in self.offsets],
            "source_tokens": self.source_tokens,
            "source_offsets": [list(span) for span in self.source_offsets],
            "attention": _list(self.attention),
            "attention_heads": _list(self.attention_heads),
            "feature_attention": _list(self.feature_attention),
            "copied": self.copied,
            "alternatives": [other.to_dict() for other in self.alternatives],
        }

    def attention_map(self, head: int | None = None, units: Units = "token") -> AttentionMap:
        """The attention as something to draw: one head's (from 1), or without ``head`` all of it.

        ``units``: between the model's tokens, or merged to characters or words (`merge`). Raises
        `InputError` where there is none.
        """
        if not self.tokens:
            raise InputError(
                "There is no attention to show: the text is empty, and so is the output"
            )
        if self.attention is None:
            raise InputError(
                "There is no attention to show: this model was trained with "
                "model.attention.score none or peek. Train one with score general, dot or additive"
            )
        weights = self.attention
        if head is not None:
            heads = 1 if self.attention_heads is None else len(self.attention_heads)
            if not 1 <= head <= heads:
                raise InputError(
                    f"This model's heads are numbered from 1 to {heads}, but {head} came"
                )
            weights = weights if self.attention_heads is None else self.attention_heads[head - 1]
        attention = AttentionMap(
            source_tokens=self.source_tokens,
            target_tokens=self.tokens,
            weights=weights,
            source_text=self.source,
            target_text=self.text,
            token_log_probs=self.token_log_probs,
            score=self.score,
        )
        return merge(attention, self.source_offsets, self.offsets, units)

    def _repr_html_(self) -> str:
        """The attention map in a Jupyter notebook."""
        if self.attention is None:
            return f"<p>{html.escape(self.text)}</p>"
        return render_fragment(self.attention_map())


def _list(array: Float[np.ndarray, "..."] | None) -> list[Any] | None:
    return None if array is None else array.tolist()
