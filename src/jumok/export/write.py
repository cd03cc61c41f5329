"""From a model directory to the graphs in its ``onnx/``: made, compared with the model, written."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import onnx
from jaxtyping import Float
from onnx import TensorProto, external_data_helper, numpy_helper

from jumok.bundle import Bundle, Precision, read_bundle
from jumok.bundle.exported import EXPORT_VERSION, MANIFEST, graph_file, weights_file
from jumok.bundle.files import WEIGHTS
from jumok.engine import Candidates, Engine, WholeSearch
from jumok.engine.onnx_engine import OnnxEngine, OnnxState
from jumok.engine.torch_engine import load_torch_engine
from jumok.errors import BundleError
from jumok.export.graphs import CHUNK, Graphs, make_graphs, without
from jumok.export.int8 import Examples, in_eight_bits
from jumok.export.whole import Defaults, beam_graph, can_be_whole, greedy_graph
from jumok.search import (
    Evidence,
    Hypothesis,
    Rules,
    Step,
    Task,
    beam_search,
    forbid,
    forced_search,
    greedy_search,
    length_penalty,
)
from jumok.storage import replace_directory, sha256
from jumok.text import BOS, EOS, PAD, SPECIALS, UNK

_BATCHES = ((1, 1), (1, 7), (3, 5), (7, 13), (2, 31))
"""Rows and source positions of the batches that are compared: odd, alone and at their least."""
_STEPS = 6
_TOLERANCE = 1e-3
"""Largest difference of log-probabilities (relative, where they are large) and of attention that
other orders of summation in float32 explain."""
_INT8_TOLERANCE = 0.15
"""Largest mean distance (total variation) of next-token distributions that rounding to 8 bits
explains; a graph that went wrong comes close to 1."""
_INT8_SEARCH = 0.02
"""Largest difference between a search in 8 bits by steps and in one graph: none was seen, but what
stands close to a border may be rounded to either side of it."""
_EXAMPLES = 8
"""Batches from which the range of every number that is rounded to 8 bits is found."""
_INLINE = 1024
"""Bytes of a tensor that is worth a place in the file of weights."""


class Exports(NamedTuple):
    """What was written, and how far it is from the model."""

    folder: Path
    sizes: Mapping[str, int]
    """Bytes of each file."""
    differences: Mapping[Precision, float]
    """Of fp32 the largest difference of a log-probability, of int8 the mean distance (total
    variation) of next-token distributions."""


def export(path: str | Path, int8: bool = True) -> Exports:
    """Write the graphs of the model at ``path`` into its directory.

    Raises `BundleError`, with nothing written, where they do not compute what the model does, and
    where another model has come there meanwhile.
    """
    bundle = read_bundle(path)
    engine = load_torch_engine(bundle)
    whole, short = make_graphs(engine.model)
    graphs: dict[Precision, tuple[Graphs, Graphs | None]] = {"fp32": (whole, short)}
    if int8:
        graphs["int8"] = in_eight_bits(whole, short, _examples(bundle, short or whole))
    with replace_directory(bundle.path / "onnx") as folder:
        try:
            sizes, differences = _fill(folder, bundle, engine, graphs)
        finally:  # what else is wrong then comes of it
            bundle.check_unchanged()
    return Exports(bundle.path / "onnx", sizes, differences)


def _fill(
    folder: Path,
    bundle: Bundle,
    engine: Engine,
    graphs: Mapping[Precision, tuple[Graphs, Graphs | None]],
) -> tuple[dict[str, int], dict[Precision, float]]:
    """Write all files and compare them with the model; see `Exports`."""
    vocab, differences = bundle.target_tokenizer.vocab_size, {}
    for precision, made in graphs.items():
        _write(folder, _all(*made, bundle), precision)
        find = partial(_graph_path, folder, precision)
        theirs = OnnxEngine(find, vocab, engine.attends, threads=1)
        differences[precision] = _compare(bundle, engine, theirs, precision)
    files = sorted(file.name for file in folder.iterdir())
    head = {
        "export_version": EXPORT_VERSION,
        "model": bundle.hashes[WEIGHTS],
        "sha256": {name: sha256(folder / name) for name in files},
    }
    (folder / MANIFEST).write_text(json.dumps(head, indent=2) + "\n", encoding="utf-8")
    sizes = {name: (folder / name).stat().st_size for name in [*files, MANIFEST]}
    return sizes, differences


def _graph_path(folder: Path, precision: Precision, name: str) -> Path:
    return folder / graph_file(name, precision)


def _all(graphs: Graphs, short: Graphs | None, bundle: Bundle) -> dict[str, onnx.ModelProto]:
    """Every graph of a precision by its name."""
    found = {"start": graphs.start, "step": without(graphs.step, "scores")}
    search = bundle.config.search
    penalty = length_penalty(search)
    defaults = Defaults(penalty.base, penalty.alpha, search.beam)
    if can_be_whole(graphs):
        found["greedy"] = greedy_graph(graphs, defaults)
        found["beam"] = beam_graph(graphs, defaults)
    if short is not None and short.columns is not None:
        found["columns"], found["step.short"] = short.columns, short.step
        found["greedy.short"] = greedy_graph(short, defaults)
        found["beam.short"] = beam_graph(short, defaults)
    return found


def _write(folder: Path, models: Mapping[str, onnx.ModelProto], precision: Precision) -> None:
    """The graphs, and once, in one file, each tensor that is in any of them.

    The ``models`` lose their tensors on the way.
    """
    places: dict[str, tuple[int, int]] = {}
    weights = weights_file(precision)
    with (folder / weights).open("wb") as file:
        for name, model in models.items():
            for tensor in _tensors(model.graph):
                if not tensor.raw_data:  # of the quantiser
                    plain = numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name)
                    tensor.CopyFrom(plain)
                raw = tensor.raw_data
                if len(raw) < _INLINE:
                    continue
                key = hashlib.sha256(raw).hexdigest()
                if key not in places:
                    file.write(b"\0" * (-file.tell() % 64))
                    places[key] = file.tell(), len(raw)
                    file.write(raw)
                offset, length = places[key]
                external_data_helper.set_external_data(tensor, weights, offset, length)
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
            (folder / graph_file(name, precision)).write_bytes(model.SerializeToString())


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)


def _compare(bundle: Bundle, ours: Engine, theirs: OnnxEngine, precision: Precision) -> float:
    """The difference of two engines on random sources. Raises `BundleError` where it is too big."""
    generator = np.random.default_rng(0)
    worst, distances, read = 0.0, [], []
    for rows, src_len in _BATCHES:
        source, lengths, copies = _random_source(generator, bundle, rows, src_len)
        listed = _random_candidates(generator, bundle, rows)
        for candidates in (None, listed) if copies is None else (None,):
            states = [e.start(source, lengths, copies, candidates) for e in (ours, theirs)]
            tokens = np.full(rows, BOS)
            for _ in range(_STEPS):
                one = ours.step(tokens, states[0])
                other = theirs.step(tokens, cast(OnnxState, states[1]))
                worst = max(worst, _difference(one, other))
                distances.append(_distances(one, other))
                states = [one.state, other.state]
                tokens = generator.integers(0, one.log_probs.shape[1], rows)
            if copies is None:
                read.append((source, lengths, candidates))
    means = np.mean(distances, axis=0).tolist()
    if precision == "fp32":
        _refuse_above(_TOLERANCE, worst, bundle, precision)
    else:
        _refuse_above(_INT8_TOLERANCE, float(np.max(means)), bundle, precision)
    by_steps = ours if precision == "fp32" else theirs
    for source, lengths, candidates in read:
        limits = generator.integers(1, 12, len(source))
        for beam in (1, 3):
            asked = source, lengths, limits, beam, candidates
            found = _search_difference(bundle, by_steps, theirs, *asked)
            _refuse_above(
                _TOLERANCE if precision == "fp32" else _INT8_SEARCH, found, bundle, precision
            )
            worst = max(worst, found)
    return worst if precision == "fp32" else means[0]


def _refuse_above(most: float, found: float, bundle: Bundle, precision: Precision) -> None:
    if not found <= most:  # nor what is no number
        raise BundleError(
            f"The {precision} graphs of {bundle.path} do not compute what the model does (they "
            f"differ by {found:.2g}), so nothing was written. This is a mistake of jumok, or of "
            "the installed onnx, onnxscript or torch: please report it with their versions"
        )


def _examples(bundle: Bundle, graphs: Graphs) -> Examples:
    """What the graphs may be given: random sources, and outputs half the model's own and half
    random, in which between them most tokens come up."""
    generator, found = np.random.default_rng(0), Examples([], [])
    vocab, attends = bundle.target_tokenizer.vocab_size, bundle.config.model.attention.attends
    short = graphs.columns is not None
    with tempfile.TemporaryDirectory() as folder:
        for name, graph in graphs._asdict().items():
            if graph is not None:
                file = f"{name}.short.onnx" if short and name == "step" else f"{name}.onnx"
                (Path(folder) / file).write_bytes(graph.SerializeToString())
        engine = OnnxEngine(lambda name: Path(folder) / f"{name}.onnx", vocab, attends, threads=1)
        for _ in range(_EXAMPLES):
            source, lengths, copies = _random_source(generator, bundle, 32, 24)
            candidates = _all_tokens(vocab, len(source)) if short else None
            state = engine.start(source, lengths, copies, candidates)
            found.start.append(engine.reads(source, lengths, copies))
            tokens = np.full(len(source), BOS)
            for _ in range(_STEPS):
                found.step.append(engine.steps_from(tokens, state))
                made = engine.step(tokens, state)
                best = np.minimum(made.log_probs.argmax(axis=1), vocab - 1)
                other = generator.integers(EOS, vocab, len(tokens))
                tokens = np.where(np.arange(len(tokens)) % 2, best, other)
                state = cast(OnnxState, made.state)
    return found


def _random_source(
    generator: np.random.Generator, bundle: Bundle, rows: int, src_len: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Sources of random tokens and lengths, the first as long as can be, and what may be copied."""
    lengths = generator.integers(1, src_len + 1, rows)
    lengths[0] = src_len
    size = bundle.source_tokenizer.vocab_size
    source = generator.integers(len(SPECIALS), max(size, len(SPECIALS) + 1), (rows, src_len))
    place = np.arange(src_len)
    source[place == lengths[:, None] - 1] = EOS
    source[place >= lengths[:, None]] = PAD
    if not bundle.config.model.attention.copy_tokens:
        return source, lengths, None
    beyond = bundle.target_tokenizer.vocab_size + 2
    return source, lengths, generator.integers(EOS, beyond, source.shape)


def _random_candidates(generator: np.random.Generator, bundle: Bundle, rows: int) -> Candidates:
    """About half of the vocabulary for each source."""
    allowed = generator.random((rows, bundle.target_tokenizer.vocab_size)) < 0.5
    allowed[:, : len(SPECIALS)] = True
    tokens = np.flatnonzero(allowed.any(axis=0))
    return Candidates(tokens, allowed[:, tokens])


def _all_tokens(vocab: int, rows: int) -> Candidates:
    """Candidates that are as many as the readout of the graphs has columns."""
    tokens = np.arange(-(-vocab // CHUNK) * CHUNK)
    return Candidates(tokens, np.tile(tokens < vocab, (rows, 1)))


def _difference(one: Step, other: Step) -> float:
    """The largest of a step, relative where numbers are above 1."""
    evidence = _evidence_differences(one.evidence, other.evidence)
    return max([_largest(one.log_probs, other.log_probs), *evidence])


def _evidence_differences(one: Evidence, other: Evidence) -> Iterator[float]:
    for ours, theirs in zip(one, other, strict=True):
        if (ours is None) != (theirs is None):
            yield float("inf")
        elif ours is not None and theirs is not None:
            yield _largest(ours, theirs)


def _largest(one: Float[np.ndarray, "*shape"], other: Float[np.ndarray, "*shape"]) -> float:
    if one.shape != other.shape or not np.array_equal(np.isneginf(one), np.isneginf(other)):
        return float("inf")
    there = ~np.isneginf(one)
    one, other = one[there], other[there]
    found = float(np.max(np.abs(one - other) / np.maximum(1.0, np.abs(one))))
    return float("inf") if np.isnan(found) else found  # max() would forget it


def _distances(one: Step, other: Step) -> list[float]:
    """Mean total variation of the rows' distributions over tokens, and of those of attention."""
    found = [(np.exp(one.log_probs), np.exp(other.log_probs))]
    for name in ("attention", "feature_attention"):
        ours, theirs = getattr(one.evidence, name), getattr(other.evidence, name)
        if ours is not None:
            found.append((ours, np.nan if theirs is None else theirs))
    return [float(np.abs(ours - theirs).sum(axis=-1).mean() / 2) for ours, theirs in found]


def _search_difference(
    bundle: Bundle,
    ours: Engine,
    theirs: WholeSearch,
    source: np.ndarray,
    lengths: np.ndarray,
    limits: np.ndarray,
    beam: int,
    candidates: Candidates | None,
) -> float:
    """Between the search by steps and the one in a graph: their scores, and what the graph says of
    its output beside what the steps say of it, for outputs may differ where they tie."""
    forbidden = np.zeros(ours.target_vocab, dtype=bool)
    forbidden[[PAD, BOS, UNK]] = True
    penalty = length_penalty(bundle.config.search)
    task = Task(limits, penalty, Rules([forbid(forbidden)]))
    state = ours.start(source, lengths, candidates=candidates)
    if beam == 1:
        by_steps = greedy_search(ours.step, state, task)
    else:
        by_steps = beam_search(ours.step, state, task, beam)
    whole = [
        one for [one] in theirs.whole_search(source, lengths, limits, penalty, beam, candidates)
    ]
    outputs = [one.tokens for one in whole]
    if candidates is not None:
        outputs = [np.searchsorted(candidates.tokens, tokens) for tokens in outputs]
    state = ours.start(source, lengths, candidates=candidates)
    along = forced_search(ours.step, state, outputs, penalty)
    found = []
    for [best], one, other in zip(by_steps, along, whole, strict=True):
        found.append(_largest(np.array(best.score), np.array(other.score)))
        found.extend(_hypothesis_differences(one, other))
    return max(found)


def _hypothesis_differences(one: Hypothesis, other: Hypothesis) -> Iterator[float]:
    """Of one output, found twice."""
    yield 0.0 if one.finished == other.finished else float("inf")
    yield _largest(np.array(one.score), np.array(other.score))
    yield _largest(one.token_log_probs, other.token_log_probs)
    yield from _evidence_differences(one.evidence, other.evidence)
