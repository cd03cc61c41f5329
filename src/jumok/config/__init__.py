"""All settings of jumok: typed, documented under each field, refused in a sentence if impossible.

A configuration is one tree of sections (``text data model train search evaluation``). It is made
from the defaults below, then presets, then ``key=value`` settings::

    config = resolve(presets=["g2p", "luong2015"], settings=["train.max_epochs=3"])

Presets are YAML files in ``jumok/presets`` that set the same keys, and say of which ``kind`` they
are. Presets of one kind apply in the order given. Where both kinds meet, the order does not
matter: the architecture has the last word on ``model`` and ``data``, the task on all else.
"""

from jumok.config.resolve import (
    check_setting,
    dotted_keys,
    from_tree,
    load_preset,
    parse_settings,
    preset_names,
    read_tree,
    resolve,
    takes_numbers,
)
from jumok.config.schema import (
    LOWER_IS_BETTER,
    AttentionConfig,
    Cell,
    Config,
    DataConfig,
    DecoderConfig,
    EncoderConfig,
    EvaluationConfig,
    Metric,
    ModelConfig,
    Normaliser,
    Score,
    SearchConfig,
    Sink,
    TeacherForcing,
    TextConfig,
    TokenizerConfig,
    TrainConfig,
    flatten,
    shown,
)

__all__ = [
    "LOWER_IS_BETTER",
    "AttentionConfig",
    "Cell",
    "Config",
    "DataConfig",
    "DecoderConfig",
    "EncoderConfig",
    "EvaluationConfig",
    "Metric",
    "ModelConfig",
    "Normaliser",
    "Score",
    "SearchConfig",
    "Sink",
    "TeacherForcing",
    "TextConfig",
    "TokenizerConfig",
    "TrainConfig",
    "check_setting",
    "dotted_keys",
    "flatten",
    "from_tree",
    "load_preset",
    "parse_settings",
    "preset_names",
    "read_tree",
    "resolve",
    "shown",
    "takes_numbers",
]
