"""A model as ONNX graphs: one that reads sources, and one that makes a decoding step.

    start   source, lengths, copies*            -> memory.*, state.*
    step    tokens, memory.*, state.*, slots*   -> log_probs, scores*, attention*, generation*,
                                                   feature_attention*, next.*

The names after ``memory.`` and ``state.`` are those of the fields of `Memory` and `DecoderState`
(``state.rnn.hidden``); what a model has none of (*) is not there, nor what its step never looks at.
``next.*`` is the state after the step. ``copies`` and ``slots`` only where tokens can be copied:
``copies`` as in `Memory`, and ``slots`` has as many numbers, whatever they are, as the vocabulary
extended by what these sources let be copied has tokens. ``scores``, where nothing can be copied,
are the log-probabilities and -inf beyond them, a multiple of `CHUNK` in all; they are for whole
searches alone. Batch and source length are free.

Where nothing can be copied, two more for searches by a shortlist:

    columns      candidates, allowed                      -> weight, scale*, memory.bias
    step.short   tokens, weight, scale*, memory.*, state.*  -> the same as of `step`

``candidates`` are ids of the vocabulary, and ``allowed (rows, candidates)`` says which of them each
row may write. Made once for a batch are ``weight (size, candidates)``, the readout's of these
alone, and ``memory.bias (rows, candidates)``, -inf where a row may not; ``log_probs`` are those of
the candidates. ``tokens`` are ids all the same. In 8 bits each candidate's weights have a
``scale``.

The graphs are traced from the modules, so that they compute what the modules say; a recurrent layer
of the encoder becomes ONNX's own (`jumok.nn.layer_node`).
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import onnx
import onnx_ir
import torch
from onnxscript import optimizer
from torch import Tensor, nn
from torch.export import Dim

from jumok.nn import DecoderState, Memory, RNNState, Seq2Seq
from jumok.nn.memory import FeatureMemory
from jumok.nn.readout import Columns

OPSET = 18
CHUNK = 128
"""Whole searches look for the best tokens among so many at a time."""
_PARTS: dict[str, type[tuple[Any, ...]]] = {
    "memory": Memory,
    "state": DecoderState,
    "rnn": RNNState,
    "final": RNNState,
    "features": FeatureMemory,
}
"""The fields that are made of fields."""
_ALONG_THE_SOURCE = frozenset({"values", "keys", "mask", "copies", "past"})
"""Fields with an axis of source positions after that of rows."""
_ROWS, _SOURCE, _SOME = Dim("rows", min=1), Dim("src_len", min=1), Dim("some", min=1)


class Graphs(NamedTuple):
    """The graphs of a model, weights inside."""

    start: onnx.ModelProto
    step: onnx.ModelProto
    columns: onnx.ModelProto | None = None
    """Where there is one, ``step`` is over a shortlist."""


def make_graphs(model: Seq2Seq) -> tuple[Graphs, Graphs | None]:
    """Trace ``model``, which is on the CPU and in float32; and those of a shortlist, if it can
    have one."""
    model = copy.deepcopy(model).eval()
    model.use_fast_roads(False)  # the definitions, without tiles
    reading = {
        "source": torch.full((3, 5), 4),
        "lengths": torch.tensor([5, 3, 2]),
    }
    vocab = model.decoder.embedding.table.num_embeddings
    copying = model.decoder.attention is not None and model.decoder.config.attention.copy_tokens
    if not copying:
        _widen(model)
    else:
        reading["copies"] = torch.full((3, 5), 4)
    with torch.no_grad():
        memory = model.encode(**reading)
        made = {**_flat("memory", memory), **_flat("state", model.decoder.init_state(memory))}
        # one tensor under two names would be traced as one input
        made = {name: part.clone() for name, part in made.items()}
        stepping = {"tokens": torch.tensor([4, 4, 4]), **made}
        if copying:
            stepping["slots"] = torch.zeros(vocab + 2)
        outputs: list[str] = []
        step = _Step(model, list(stepping), vocab)
        step(*stepping.values(), names=outputs)
        step_graph = _trace(step, stepping, outputs)
        wanted = [value.name for value in step_graph.graph.input if value.name in made]
        start_graph = _trace(_Start(model, list(reading), wanted), reading, wanted)
        graphs = Graphs(start_graph, step_graph)
        return graphs, None if copying else _shorten(model, graphs, stepping, outputs)


def _shorten(
    model: Seq2Seq, graphs: Graphs, stepping: Mapping[str, Tensor], outputs: list[str]
) -> Graphs:
    """The graphs of a shortlist."""
    listed = {
        "candidates": torch.tensor([0, 1, 2, 3]),
        "allowed": torch.ones(3, 4, dtype=torch.bool),
    }
    weight, bias = model.decoder.columns(*listed.values())
    stepping = {**stepping, "weight": weight, "memory.bias": bias}
    step = _trace(_Step(model, list(stepping)), stepping, [o for o in outputs if o != "scores"])
    columns = _trace(_Columns(model), listed, ["weight", "memory.bias"])
    return Graphs(graphs.start, step, columns)


class _Columns(nn.Module):
    """Candidates in, the readout of these out."""

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        candidates, allowed = inputs
        weight, bias = self.model.decoder.columns(candidates, allowed)
        return weight, bias


class _Start(nn.Module):
    """Sources in, the ``wanted`` parts of memory and first state out."""

    def __init__(self, model: Seq2Seq, given: list[str], wanted: list[str]) -> None:
        super().__init__()
        self.model, self.given, self.wanted = model, given, wanted

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        memory = self.model.encode(**dict(zip(self.given, inputs, strict=True)))
        state = self.model.decoder.init_state(memory)
        made = {**_flat("memory", memory), **_flat("state", state)}
        # a value that is an input as well, or stands twice, needs a name of its own
        return tuple(made[name].clone() for name in self.wanted)


class _Step(nn.Module):
    """Tokens, memory and state in, the next step out: of the first ``vocab`` tokens, of those
    that the slots are for, or of the candidates."""

    def __init__(self, model: Seq2Seq, given: list[str], vocab: int | None = None) -> None:
        super().__init__()
        self.model, self.given, self.vocab = model, given, vocab

    def forward(self, *inputs: Tensor, names: list[str] | None = None) -> tuple[Tensor, ...]:
        """``names`` is told what comes out."""
        given = dict(zip(self.given, inputs, strict=True))
        memory, state = _nested(Memory, "memory", given), _nested(DecoderState, "state", given)
        decoder = self.model.decoder
        columns, size = None, None
        if "weight" in given:
            columns = Columns(given["weight"], given["memory.bias"])
        if "slots" in given:
            size = given["slots"].shape[0]
        made = decoder.step(given["tokens"], state, memory, columns)
        scores = decoder.log_probs(made, memory, size)
        whole = columns is None and size is None
        found = {
            "log_probs": scores[:, : self.vocab] if whole else scores,
            "scores": scores if whole else None,
            "attention": made.weights,
            "generation": None if made.switch is None else made.switch.sigmoid(),
            "feature_attention": made.feature_weights,
            **{f"next.{name}": part for name, part in _flat("", made.state).items()},
        }
        there = {name: part for name, part in found.items() if part is not None}
        if names is not None:
            names.extend(there)
        return tuple(there.values())


def _widen(model: Seq2Seq) -> None:
    """Give the readout tokens of no probability, up to a multiple of `CHUNK`."""
    last = model.decoder.readout.last
    owner = model.decoder.embedding.table if last.tied else last
    more, pad = -len(owner.weight) % CHUNK, torch.nn.functional.pad
    owner.weight = nn.Parameter(pad(owner.weight.detach(), (0, 0, 0, more)))
    last.bias = nn.Parameter(pad(last.bias.detach(), (0, more), value=-torch.inf))


def _flat(name: str, value: Any) -> dict[str, Tensor]:
    """The tensors of nested tuples, by their dotted names."""
    if value is None:
        return {}
    if isinstance(value, Tensor):
        return {name: value}
    found: dict[str, Tensor] = {}
    for field, part in value._asdict().items():
        found |= _flat(f"{name}.{field}" if name else field, part)
    return found


def _nested(kind: Any, name: str, given: Mapping[str, Tensor]) -> Any:
    """The opposite of `_flat`; None where there is nothing."""
    parts = {}
    for field in kind._fields:
        inner = f"{name}.{field}"
        parts[field] = _nested(_PARTS[field], inner, given) if field in _PARTS else given.get(inner)
    return None if all(part is None for part in parts.values()) else kind(**parts)


def _trace(module: nn.Module, inputs: Mapping[str, Tensor], outputs: list[str]) -> onnx.ModelProto:
    """The graph of ``module``, with weights that are ready for use."""
    with _quiet():
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=(tuple(_free_axes(name) for name in inputs),),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        # gates in ONNX's order and the like are computed now, not whenever a model is loaded
        whole = 1 << 40
        optimizer.optimize(program.model, input_size_limit=whole, output_size_limit=whole)
        found = onnx_ir.to_proto(program.model)
    for node in found.graph.node:  # where in the code it comes from
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    return without(found)


def without(model: onnx.ModelProto, *outputs: str) -> onnx.ModelProto:
    """The model without these outputs, and without what nothing needs any more."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    kept = [output for output in graph.output if output.name not in outputs]
    needed, nodes = {output.name for output in kept}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    for field, values in (
        ("output", kept),
        ("node", nodes[::-1]),
        ("input", [one for one in graph.input if one.name in needed]),
        ("initializer", [one for one in graph.initializer if one.name in needed]),
        ("value_info", []),
    ):
        copied = [type(one).FromString(one.SerializeToString()) for one in values]
        graph.ClearField(field)
        getattr(graph, field).extend(copied)
    return found


def _free_axes(name: str) -> dict[int, Any]:
    if name == "slots":
        return {0: Dim("slots", min=1)}
    if name == "candidates":
        return {0: _SOME}
    if name == "weight":
        return {1: _SOME}
    if name in ("allowed", "memory.bias"):
        return {0: _ROWS, 1: _SOME}
    along = name == "source" or name.rpartition(".")[2] in _ALONG_THE_SOURCE
    return {0: _ROWS, 1: _SOURCE} if along else {0: _ROWS}


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of its own affairs at length."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
