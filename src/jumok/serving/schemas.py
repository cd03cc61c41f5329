"""What goes over the wire: requests, and the shapes of answers for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, WithJsonSchema

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


def _of_texts(value: Any) -> Any:
    """The first that is no text is told, as `FailFast` does for lists: there may be a million."""
    if isinstance(value, dict | list):
        for key, text in value.items() if isinstance(value, dict) else enumerate(value):
            if not isinstance(text, str):
                raise ValueError(f"what stands at {key!r:.40} should be a text")
    return value


_TEXTS = BeforeValidator(_of_texts)


class PredictRequest(_Message):
    """Texts that outputs are wanted for."""

    texts: Annotated[list[str], FailFast()]
    """Sources; each is answered, in order."""
    prefix: Annotated[str | list[str] | None, _TEXTS] = None
    """What outputs begin with, one for all or one for each text."""
    choices: Annotated[list[str] | None, _TEXTS] = None
    """The only outputs there are."""
    dictionary: Annotated[dict[str, str] | None, _TEXTS] = None
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

    pairs: Annotated[list[SourceAndTarget], FailFast()]
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


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Output(_Answer):
    """A `jumok.Prediction`: an output with its evidence."""

    source: str
    """The text that was read."""
    text: str
    """The text that was written."""
    score: float
    """The log-probability, after penalties; higher is better."""
    tokens: list[str]
    """What was written, `</s>` at the end unless it was cut."""
    token_log_probs: list[float]
    """Natural log-probability of each token."""
    offsets: list[tuple[int, int]]
    """Where each token but `</s>` stands in `text`: start and end, in characters."""
    source_tokens: list[str]
    """What was read, `</s>` at the end."""
    source_offsets: list[tuple[int, int]]
    """Where each of them but `</s>` stands in `source`."""
    attention: list[list[float]] | None
    """For each token its weights over the source tokens, which add up to 1; or null."""
    attention_heads: list[list[list[float]]] | None
    """The same of each head, where there are several; `attention` is their mean."""
    feature_attention: list[list[float]] | None
    """The same over features that are read apart."""
    copied: list[int | None] | None
    """For each token the source token that it was copied from, if it was."""
    alternatives: list[Output]
    """Further outputs, where `n_best` asks for them."""


class Outputs(_Answer):
    """Outputs in the order of what was asked."""

    predictions: list[Output]
    """One for each text."""


class Explanation(_Answer):
    """An output, and its attention as a part of a web page."""

    prediction: Output
    """The output."""
    html: str
    """A `<section>` with its style and its script."""


class Problem(_Answer):
    """What is wrong."""

    kind: str
    """The kind of error, as in `jumok.errors`."""
    message: str
    """A sentence: what was expected, what came, what to do."""
    index: int | None = None
    """Which of several texts it is, from 0."""


class Failure(_Answer):
    """Every answer that is no success."""

    error: Problem
    """What is wrong."""


class ModelInfo(_Answer):
    """What a server answers with."""

    name: str
    """The model's directory."""
    kind: str
    """`seq2seq` or `language_model`."""
    version: str
    """Of jumok."""
    attention: bool
    """Whether outputs have attention."""
    heads: int
    """Heads of the attention."""
    search: dict[str, Any]
    """The search settings that hold where a request says nothing."""
    limits: dict[str, int | float]
    """What a request may ask for."""
