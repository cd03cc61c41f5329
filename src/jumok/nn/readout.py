"""From the decoder's features to scores over the target vocabulary."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn


class LastMap(NamedTuple):
    """The linear map that ends every readout, not yet made: ``logits = weight x + bias``.

    So a loss may make the logits a few at a time (`jumok.nn.cross_entropy`).
    """

    x: Float[Tensor, "*rows size"]
    weight: Float[Tensor, "vocab size"]
    bias: Float[Tensor, "vocab"]


class Columns(NamedTuple):
    """The last map of some tokens alone, of which each row may write its own: a shortlist.

    Jean et al. 2015, section 3.3: with candidates for each source, the softmax of a step is over
    these alone.
    """

    weight: Float[Tensor, "size some"]
    bias: Float[Tensor, "batch some"]
    """-inf where a row may not write a token."""

    def select(self, index: Int[Tensor, "rows"]) -> Columns:
        """The given rows of the batch."""
        return self._replace(bias=self.bias[index])


class LinearReadout(nn.Linear):
    """``logits = W_y features + b_y``; where ``tied``, W_y is the target embeddings' table.

    Press & Wolf 2017, section 3. Tied, it owns no matrix and is given the table at every call: so
    there is one parameter, under one name, wherever models are saved, averaged or loaded.
    """

    def __init__(self, features: int, vocab: int, tied: bool = False) -> None:
        super().__init__(features, vocab)
        self.tied = tied
        if tied:
            self.register_parameter("weight", None)

    @property
    def last(self) -> LinearReadout:
        """The layer of the last map."""
        return self

    def last_map(
        self,
        features: Float[Tensor, "*rows features"],
        table: Float[Tensor, "vocab features"] | None = None,
    ) -> LastMap:
        """The product that gives the scores; ``table`` only where tied."""
        return LastMap(features, self.weight if table is None else table, self.bias)


class MaxoutReadout(nn.Module):
    """Deep output with one maxout layer: Bahdanau et al. 2015, A.2.2; Cho et al. 2014, A.1.2.

        t~     = U_o s + V_o E y_{t-1} + C_o c        (features are [s; E y; c])
        t_j    = max(t~_{2j-1}, t~_{2j})
        logits = W_o t

    Differs: with the state after the step, s_t, as in eq. 4 of Bahdanau et al. and in Cho et al.;
    the appendix of Bahdanau et al. writes s_{t-1}. Biases are added.
    """

    def __init__(self, features: int, hidden: int, vocab: int, tied: bool = False) -> None:
        super().__init__()
        self.deep = nn.Linear(features, 2 * hidden)
        self.output = LinearReadout(hidden, vocab, tied)

    @property
    def last(self) -> LinearReadout:
        """The layer of the last map."""
        return self.output

    def last_map(
        self,
        features: Float[Tensor, "*rows features"],
        table: Float[Tensor, "vocab hidden"] | None = None,
    ) -> LastMap:
        """The product that gives the scores; ``table`` only where tied."""
        pairs = self.deep(features).unflatten(-1, (-1, 2))
        return self.output.last_map(pairs.amax(dim=-1), table)
