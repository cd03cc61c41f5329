"""jumok (주목): RNN encoder-decoders with attention, trained, explained, evaluated and served.

import jumok

model = jumok.train("pairs.tsv", preset="g2p", output="run")
model = jumok.load("run")
result = model.predict("text")
result.text, result.score, result.attention
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jumok.alignment import align
    from jumok.averaging import average
    from jumok.comparison import compare
    from jumok.evaluation import evaluate
    from jumok.prediction import Prediction
    from jumok.predictor import LanguageModel, Predictor, load
    from jumok.training.run import resume, train, train_lm
    from jumok.training.tune import tune

__version__ = "0.1.0"
__all__ = [
    "LanguageModel",
    "Prediction",
    "Predictor",
    "__version__",
    "align",
    "average",
    "compare",
    "evaluate",
    "load",
    "resume",
    "train",
    "train_lm",
    "tune",
]

_HOMES = {
    "LanguageModel": "jumok.predictor",
    "Prediction": "jumok.prediction",
    "Predictor": "jumok.predictor",
    "align": "jumok.alignment",
    "average": "jumok.averaging",
    "compare": "jumok.comparison",
    "evaluate": "jumok.evaluation",
    "load": "jumok.predictor",
    "resume": "jumok.training.run",
    "train": "jumok.training.run",
    "train_lm": "jumok.training.run",
    "tune": "jumok.training.tune",
}
_EXTRAS = {"torch": "train", "entmax": "train", "optuna": "tune"}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import jumok` is instant and needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'jumok' has no attribute '{name}'")
    from importlib import import_module

    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        from jumok.errors import MissingExtra

        raise MissingExtra(_EXTRAS[error.name], error.name) from None
