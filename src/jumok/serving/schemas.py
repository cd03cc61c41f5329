"""What goes over the wire: requests, and the shapes of answers for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from jumok.config import SearchConfig
from jumok.explain import Units


def _search_schema() -> dict[str, Any]:
    """`SearchConfig`'s own, where nothing has to be there."""
    schema = SearchConfig.model_json_schema()
    return {**schema, "title": "Search", "description": "Settings that stand in for the model's."}


Search = Annotated[dict[str, Any], WithJsonSchema(_search_schema())]
"""Fields of `SearchConfig`, which the predictor checks with all others."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class PredictRequest(_Message):
    """Texts that outputs are wanted for."""

    texts: list[str]
    """Sources; each is answered, in order."""
    prefix: str | list[str] | None = None
    """What outputs begin with, one for all or one for each text."""
    choices: list[str] | None = None
    """The only outputs there are."""
    dictionary: dict[str, str] | None = None
    """With `search.replace_unknown`, what to write for a source token."""
    search: Search = {}
    """As in `{"beam": 5, "n_best": 3}`."""


class SourceAndTarget(_Message):
    """A pair whose target is forced."""

    source: str = ""
    """Empty for a language model."""
    target: str
    """The output that is given."""


class ScoreRequest(_Message):
    """Outputs that a score is wanted for."""

    pairs: list[SourceAndTarget]
    """Each is answered, in order."""
    search: Search = {}
    """As in `{"length_penalty": "average"}`."""


class ExplainRequest(_Message):
    """A text whose attention is to be drawn."""

    text: str
    """The source."""
    target: str | None = None
    """The output, if it is given and not looked for."""
    units: Units = "token"
    """Draw between the model's tokens, characters or words."""
    head: int | None = Field(default=None, ge=1)
    """One head of several, from 1; else their mean."""
    search: Search = {}
    """As in `{"beam": 5}`."""


class GenerateRequest(_Message):
    """Texts that a language model is to write."""

    prompt: str = ""
    """What they begin with."""
    n: int = Field(default=1, ge=1)
    """How many."""
    stream: bool = False
    """Send them while they are drawn, as server-sent events."""
    search: Search = {}
    """As in `{"temperature": 0.7, "top_p": 0.9, "seed": 2}`."""


class Output(BaseModel):
    """A `jumok.Prediction`: an output with its evidence."""

    model_config = ConfigDict(extra="forbid")
    source: str
    text: str
    score: float
    tokens: list[str]
    token_log_probs: list[float]
    offsets: list[tuple[int, int]]
    source_tokens: list[str]
    source_offsets: list[tuple[int, int]]
    attention: list[list[float]] | None
    attention_heads: list[list[list[float]]] | None
    feature_attention: list[list[float]] | None
    copied: list[int | None] | None
    alternatives: list[Output]


class Outputs(BaseModel):
    """Outputs in the order of what was asked."""

    model_config = ConfigDict(extra="forbid")
    predictions: list[Output]


class Explanation(BaseModel):
    """An output, and its attention as a part of a web page."""

    model_config = ConfigDict(extra="forbid")
    prediction: Output
    html: str


class Problem(BaseModel):
    """What is wrong: the kind of error (`jumok.errors`), a sentence, and which text, from 0."""

    kind: str
    message: str
    index: int | None = None


class Failure(BaseModel):
    """Every answer that is no success."""

    error: Problem


class ModelInfo(BaseModel):
    """What a server answers with."""

    name: str
    kind: str
    version: str
    attention: bool
    heads: int
    search: dict[str, Any]
    limits: dict[str, int | float]
