"""One model whose weights are the mean of several models' weights.

Checkpoints of one run lie near each other, and their mean is often better than each of them
(Izmailov et al. 2018). Models that began from other weights do not: their mean is noise, so it is
refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from jumok.bundle import Bundle, read_bundle, write_bundle
from jumok.bundle.files import SOURCE_TOKENIZER, TARGET_TOKENIZER, WEIGHTS
from jumok.config import Config, flatten, shown
from jumok.errors import ConfigError
from jumok.storage import check_new


def average(models: Sequence[str | Path], output: str | Path) -> Path:
    """Write the mean of the weights of ``models`` as a model of its own, and return where.

    Means are taken in float64 and stored in float32. The settings of the new model are those of the
    first; all but ``train`` are the same in all, tokenizers too.

    Raises `BundleError` for a model that cannot be read, `ConfigError` for models that do not
    belong together, `StorageError`.
    """
    folder = Path(output)
    if len(models) < 2:
        raise ConfigError(f"A mean is of two models or more, but {len(models)} came. Give more")
    check_new(folder)
    if folder.resolve() == Path.cwd():
        raise ConfigError(
            f"The output {folder} is the folder that this command runs in, which a new one would "
            "take the place of. Give a new one in it, or another"
        )
    bundles = [read_bundle(path) for path in models]
    first = bundles[0]
    for other in bundles[1:]:
        _check_like(first, other)
    for bundle in bundles:
        bundle.check_shapes(first.shapes())
        bundle.check_weights()
    members = [
        {"model": bundle.path.resolve().name, "sha256": bundle.hashes[WEIGHTS], **_place(bundle)}
        for bundle in bundles
    ]
    write_bundle(
        folder,
        first.config,
        first.source_tokenizer,
        first.target_tokenizer,
        _means(bundles),
        {"mean_of": members},
    )
    return folder


def _place(bundle: Bundle) -> dict[str, Any]:
    """Where in its run a model was kept."""
    return {key: bundle.metrics[key] for key in ("step", "epoch") if key in bundle.metrics}


def _means(bundles: Sequence[Bundle]) -> dict[str, np.ndarray]:
    """One tensor of all models at a time, so that memory holds no second model."""
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(b.weights, framework="np")) for b in bundles]
        means = {}
        for name in bundles[0].shapes():
            total = sum(file.get_tensor(name).astype(np.float64) for file in files)
            means[name] = np.asarray(total / len(files), dtype=np.float32)
        return means


def _check_like(first: Bundle, other: Bundle) -> None:
    """Refuse two models that a mean of weights would spoil."""
    ensemble = (
        f"Such models can decide together: jumok predict {first.path} --ensemble {other.path}"
    )
    ours, theirs = _settings(first.config), _settings(other.config)
    for key, value in ours.items():
        if theirs[key] != value:
            raise ConfigError(
                f"A mean is of models with the same settings, but {key} is {shown(value)} in "
                f"{first.path} and {shown(theirs[key])} in {other.path}. {ensemble}"
            )
    for name in (SOURCE_TOKENIZER, TARGET_TOKENIZER):
        if first.hashes[name] != other.hashes[name]:
            raise ConfigError(
                f"A mean is of models with the same tokens, but {name} is another in "
                f"{first.path} than in {other.path}. {ensemble}"
            )


def _settings(config: Config) -> dict[str, object]:
    """What must be the same in all: everything but the training, and the seed of that.

    From another seed come other first weights.
    """
    found = flatten(config.model_dump(mode="json"))
    of_training = {key for key in found if key.startswith("train.")} - {"train.seed"}
    return {key: value for key, value in found.items() if key not in of_training}
