"""The model card: README.md of a bundle, with the YAML head that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from jumok.config import Config
from jumok.metrics import METRICS
from jumok.text import Tokenizer

_SCORES = frozenset({"train_loss", "dev_loss", "dev_perplexity", *METRICS})
"""What of a validation record says how good the model is."""

_TAGS = {
    "seq2seq": ("seq2seq", "rnn", "attention"),
    "language_model": ("language-model", "rnn"),
}


def _member(one: Mapping[str, Any]) -> str:
    """A model that a mean was made of."""
    step = f", step {one['step']}" if "step" in one else ""
    return f"{one['model']}{step} (SHA-256 of its weights: {one['sha256']})"


def model_card(
    config: Config,
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    metrics: Mapping[str, Any],
) -> str:
    """Markdown with what the model is, how it scored and how to use it."""
    enc, dec, att = config.model.encoder, config.model.decoder, config.model.attention
    head = yaml.safe_dump(
        {
            "library_name": "jumok",
            "tags": ["jumok", *_TAGS[config.model.kind], *config.presets],
        },
        sort_keys=False,
    )
    attention: str = att.score
    if att.attends:
        feeding = ", input feeding" if att.input_feeding else ""
        attention += f", {att.timing} timing, context into {att.context}{feeding}"
        attention += "".join(
            f", {text}"
            for text, there in (
                (f"{att.scope} (window {att.window})", att.scope != "global"),
                (att.normaliser, att.normaliser != "softmax"),
                (f"{att.heads} heads", att.heads > 1),
                ("coverage", att.coverage),
                (f"location-aware (width {att.location_width})", att.location_width > 0),
                ("copying", att.copy_tokens),
                (f"features {enc.features}", enc.features != "none"),
            )
            if there
        )
    direction = "bidirectional " if enc.bidirectional else ""
    if enc.bidirectional_layers:
        direction += f"(lowest {enc.bidirectional_layers}) "
    scores = "\n".join(
        f"| {name} | {value:.4g} |" for name, value in metrics.items() if name in _SCORES
    )
    if scores:
        scores = f"| | |\n|---|---|\n{scores}"
    elif "mean_of" in metrics:
        models = "".join(f"\n- {_member(one)}" for one in metrics["mean_of"])
        scores = f"Its weights are the mean of those of\n{models}\n\nIt was not judged yet."
    else:
        scores = "It was saved between two validations."
    reads = config.model.reads
    rows = {
        "source": f"{source_tokenizer.kind} tokens, vocabulary {source_tokenizer.vocab_size}",
        "target": f"{target_tokenizer.kind} tokens, vocabulary {target_tokenizer.vocab_size}",
        "encoder": f"{direction}{enc.cell}, {enc.layers} x {enc.hidden}",
        "decoder": f"{dec.cell}, {dec.layers} x {dec.hidden}",
        "attention": attention,
        "presets": ", ".join(config.presets) or "none",
    }
    of_source = ("source", "encoder", "attention")
    table = "\n".join(
        f"| {name} | {text} |" for name, text in rows.items() if reads or name not in of_source
    )
    title = "An RNN encoder-decoder" if reads else "An RNN language model"
    use = (
        'result = jumok.load("this directory").predict("a text of the kind it was trained on")\n'
        "print(result.text, result.score, result.attention)"
        if reads
        else 'texts = jumok.load("this directory").generate("how it begins", n=3, seed=1)\n'
        "print([one.text for one in texts])"
    )
    what = "pairs" if reads else "texts"
    return f"""---
{head}---

# {title} made with jumok

| | |
|---|---|
{table}

## Scores when it was saved (on the validation {what})

{scores}

## Use

```python
import jumok

{use}
```
"""
