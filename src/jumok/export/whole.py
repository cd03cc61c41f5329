"""A whole search as one ONNX graph: no step leaves the runtime, and any language can run it.

    greedy   source, lengths, limits, penalty_base*, penalty_alpha*            -> outputs
    beam     source, lengths, limits, penalty_base*, penalty_alpha*, beam*     -> outputs

Inputs: ``source (rows, src_len)`` ids, each row ending with </s> and padded with 0; ``lengths
(rows)`` with </s> counted; ``limits (rows)``, the most tokens of each output, </s> counted. Those
marked * may be left out and are then as in the model's own settings. A hypothesis of n tokens is
ranked by its log-probability over ``((base + n) / (base + 1)) ** alpha``, which is each of
`jumok.search.length_penalty`.

Outputs: ``tokens (rows, tgt_len)``, of which ``counts (rows)`` are real and the rest 0;
``log_probs (rows, tgt_len)``; ``scores (rows)``; ``finished (rows)``, false where an output was cut
at its limit; and, where the model attends, ``attention`` and ``feature_attention`` (rows, tgt_len,
src_len), with an axis of heads before the last where there are several.

They compute what `jumok.search.greedy_search` and `beam_search` do where nothing more is asked
(one output, and no rule but that <pad>, <s> and <unk> are not written), ties in the same order:

- each source has ``beam`` slots, and a dead one the total -inf; the room for continuations shrinks
  by one with each complete hypothesis;
- every step leaves the parent, the token and the end of each continuation; a second loop follows
  the best end back to its beginning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from jumok.export.graphs import OPSET, Graphs
from jumok.export.nodes import Nodes, some_value, value
from jumok.text import BOS, EOS, PAD, UNK

_FLOAT, _DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
_INT, _BOOL = TensorProto.INT64, TensorProto.BOOL


class Defaults(NamedTuple):
    """Inputs that may be left out."""

    penalty_base: float
    penalty_alpha: float
    beam: int


def can_be_whole(graphs: Graphs) -> bool:
    """Whether these may be one graph: where tokens are copied, outputs may hold tokens that are
    not of the vocabulary, which a step search knows of."""
    return all(given.name != "slots" for given in graphs.step.graph.input)


def greedy_graph(graphs: Graphs, defaults: Defaults) -> onnx.ModelProto:
    """`greedy_search`."""
    outer, loop = Nodes("outer"), _Loop("steps")
    body, one = loop.nodes, outer.constant(1)
    start = _start(outer, graphs)
    tokens = loop.carry(
        "tokens", outer("Expand", outer.constant(BOS), outer("Shape", "lengths")), _INT
    )
    alive = loop.carry("alive", outer("Greater", "limits", outer.constant(0)), _BOOL)
    made = _step(loop, graphs, tokens, start)
    scores = body("Add", made["log_probs"], _unwritten(body, graphs))
    token = body("ArgMax", scores, axis=1, keepdims=0)
    column = body("Unsqueeze", token, body.constant([1]))
    log_prob = body("GatherElements", made["log_probs"], column, axis=1)
    more = body("Less", body("Add", loop.number, one), "limits")
    unended = body("Not", body("Equal", token, body.constant(EOS)))
    alive_after = body("And", alive, body("And", more, unended))
    loop.then("tokens", token)
    loop.then("alive", alive_after)
    _then_states(loop, made)
    loop.leave("tokens", token)
    loop.leave("log_probs", body("Squeeze", log_prob, body.constant([1])))
    loop.leave("alive", body("Cast", alive, to=_INT))
    loop.leave("eos", body("Cast", body("And", alive, body("Not", unended)), to=_INT))
    evidence = _evidence(graphs)
    for name in evidence:
        loop.leave(name, made[name])
    found = loop.run(outer, outer("ReduceMax", "limits", keepdims=0), _any(body, alive_after))
    outer("ReduceSum", found["alive"], outer.constant([0]), keepdims=0, made="counts")
    ends = outer("ReduceSum", found["eos"], outer.constant([0]), keepdims=0)
    outer("Greater", ends, outer.constant(0), made="finished")
    _finish(outer, {name: found[name] for name in ("tokens", "log_probs", *evidence)}, evidence)
    total = outer("Cast", "log_probs", to=_DOUBLE)
    total = outer("ReduceSum", total, outer.constant([1]), keepdims=0)
    outer("Div", total, _divisor(outer, "counts"), made="scores")
    return _model(outer, graphs, "greedy", defaults._asdict(), ["penalty_base", "penalty_alpha"])


def beam_graph(graphs: Graphs, defaults: Defaults) -> onnx.ModelProto:
    """`beam_search`."""
    outer, loop = Nodes("outer"), _Loop("steps")
    body = loop.nodes
    zero, one, none = outer.constant(0), outer.constant(1), outer.constant(-np.inf, np.float64)
    rows, slots = outer("Shape", "lengths"), outer("Reshape", "beam", outer.constant([1]))
    cells = outer("Concat", rows, slots, axis=0)
    source = outer("Range", zero, outer("Squeeze", rows, outer.constant([0])), one)
    source = outer("Unsqueeze", source, outer.constant([1]))
    first_row = outer("Mul", source, slots)
    repeated = outer("Reshape", outer("Expand", source, cells), outer.constant([-1]))
    start = {
        name: outer("Gather", whole, repeated, axis=0)
        for name, whole in _start(outer, graphs).items()
    }
    slot = outer("Unsqueeze", outer("Range", zero, "beam", one), outer.constant([0]))
    in_first = outer("Expand", outer("Equal", slot, zero), cells)
    nothing = outer("Expand", none, rows)
    limits = outer("Unsqueeze", "limits", outer.constant([1]))

    tokens = loop.carry("tokens", outer("Expand", outer.constant(BOS), outer("Shape", repeated)), _INT)
    total = loop.carry(
        "total", outer("Where", in_first, outer.constant(0.0, np.float64), none), _DOUBLE
    )
    count = loop.carry("count", outer("Expand", zero, rows), _INT)
    best = loop.carry("best", nothing, _DOUBLE)
    made = _step(loop, graphs, tokens, start)
    scores = body("Add", made["log_probs"], _unwritten(body, graphs))
    width = outer("Min", slots, outer.constant([_vocab(graphs)]))
    top, top_token = body.several("TopK", 2, scores, width, axis=1)
    by_source = outer("Concat", rows, outer.constant([-1]), axis=0)
    each = outer("Concat", cells, outer.constant([-1]), axis=0)
    continued = body("Cast", body("Reshape", top, each), to=_DOUBLE)
    continued = body("Add", body("Unsqueeze", total, body.constant([2])), continued)
    reached, place = body.several("TopK", 2, body("Reshape", continued, by_source), slots, axis=1)
    parent = body("Div", place, width)
    token = body("GatherElements", body("Reshape", top_token, by_source), place, axis=1)
    log_prob = body("GatherElements", body("Reshape", top, by_source), place, axis=1)
    length = body("Add", loop.number, one)
    room = body("Unsqueeze", body("Sub", "beam", count), body.constant([1]))
    possible = body("Not", body("IsInf", reached, detect_positive=0))
    valid = body("And", body("Less", slot, room), possible)
    eos = body("Equal", token, body.constant(EOS))
    at_end = body("Or", eos, body("Equal", length, limits))
    ended, going = body("And", valid, at_end), body("And", valid, body("Not", at_end))
    score = body("Div", reached, _divisor(body, length))
    complete = body("Where", body("And", ended, eos), score, none)
    cut = body("Where", body("And", ended, body("Not", eos)), score, none)
    best_after = body("Max", best, _highest(body, complete))
    ceiling = body("Where", going, body("Div", reached, _divisor(outer, limits)), none)
    open_ = body("Less", best_after, _highest(body, ceiling))
    keep = body("And", going, body("Unsqueeze", open_, body.constant([1])))
    from_row = body("Reshape", body("Add", first_row, parent), body.constant([-1]))
    ends = body("ReduceSum", body("Cast", ended, to=_INT), body.constant([1]), keepdims=0)
    loop.then("tokens", body("Reshape", token, body.constant([-1])))
    loop.then("total", body("Where", keep, reached, none))
    loop.then("count", body("Add", count, ends))
    loop.then("best", best_after)
    _then_states(loop, {k: body("Gather", v, from_row, axis=0) for k, v in made.items() if k.startswith("next.")})
    steps = {"parent": parent, "token": token, "log_prob": log_prob}
    evidence = _evidence(graphs)
    for name, what in {**steps, "complete": complete, "cut": cut}.items():
        loop.leave(name, what)
    for name in evidence:
        loop.leave(name, made[name])
    found = loop.run(outer, outer("ReduceMax", "limits", keepdims=0), _any(body, keep))

    whole_score, whole_end = _best_end(outer, found["complete"], by_source)
    cut_score, cut_end = _best_end(outer, found["cut"], by_source)
    outer("Not", outer("IsInf", whole_score, detect_positive=0), made="finished")
    outer("Where", "finished", whole_score, cut_score, made="scores")
    end = outer("Where", "finished", whole_end, cut_end)
    end_step, end_slot = outer("Div", end, "beam"), outer("Mod", end, "beam")
    outer("Add", end_step, one, made="counts")

    back = _Loop("back")
    made_steps = outer("Squeeze", outer("Shape", found["token"], start=0, end=1), outer.constant([0]))
    number = back.nodes("Sub", outer("Sub", made_steps, one), back.number)
    here = back.carry("slot", outer("Expand", zero, rows), _INT)
    here = back.nodes("Where", back.nodes("Equal", number, end_step), end_slot, here)
    column = back.nodes("Unsqueeze", here, back.nodes.constant([1]))
    picked = {}
    for name in steps:
        at_step = back.nodes("Gather", found[name], number, axis=0)
        at_slot = back.nodes("GatherElements", at_step, column, axis=1)
        picked[name] = back.nodes("Squeeze", at_slot, back.nodes.constant([1]))
        back.leave(name, picked[name])
    back.then("slot", picked["parent"])
    way = back.run(outer, made_steps, outer.constant(True, np.bool_))
    forwards = outer("Range", outer("Sub", made_steps, one), outer.constant(-1), outer.constant(-1))
    path = {name: outer("Gather", way[name], forwards, axis=0) for name in steps}
    every_row = outer("Range", zero, outer("Mul", made_steps, outer("ReduceProd", cells, keepdims=0)), outer("ReduceProd", cells, keepdims=0))
    row = outer("Add", path["parent"], outer("Squeeze", first_row, outer.constant([1])))
    row = outer("Add", row, outer("Unsqueeze", every_row, outer.constant([1])))
    by_rows = {}
    for name in evidence:
        flat = outer("Concat", outer.constant([-1]), outer("Shape", found[name], start=2), axis=0)
        by_rows[name] = outer("Gather", outer("Reshape", found[name], flat), row, axis=0)
    _finish(outer, {"tokens": path["token"], "log_probs": path["log_prob"], **by_rows}, evidence)
    return _model(outer, graphs, "beam", defaults._asdict(), list(Defaults._fields))


class _Loop:
    """A loop while it is written: what goes round, and what every pass leaves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes = Nodes(name)
        self.number = f"{name}/number"
        self._carried: dict[str, tuple[str, int]] = {}
        self._after: dict[str, str] = {}
        self._left: dict[str, str] = {}

    def carry(self, name: str, first: str, dtype: int) -> str:
        """Something that begins as ``first``; its name within a pass."""
        self._carried[name] = (first, dtype)
        return f"{self.name}/{name}"

    def then(self, name: str, after: str) -> None:
        """What the next pass has of it."""
        self._after[name] = after

    def leave(self, name: str, what: str) -> None:
        """What every pass leaves behind: in the end, all of it along a new first axis."""
        self._left[name] = what

    def run(self, outer: Nodes, most: str, going: str) -> dict[str, str]:
        """Add the loop to the graph around it: at most so many passes, on while ``going``."""
        body, name = self.nodes, self.name
        made = [body("Identity", going)]
        made += [body("Identity", self._after[key]) for key in self._carried]
        made += [body("Identity", what) for what in self._left.values()]
        inputs = [value(self.number, _INT), value(f"{name}/going", _BOOL)]
        inputs += [some_value(f"{name}/{key}", dtype) for key, (_, dtype) in self._carried.items()]
        left = {key: f"left by {name}/{key}" for key in self._left}
        outer(
            "Loop",
            most,
            outer.constant(True, np.bool_),
            *(first for first, _ in self._carried.values()),
            made=[*(f"end of {name}/{key}" for key in self._carried), *left.values()],
            body=body.body(name, inputs, made),
        )
        outer.constants.extend(body.constants)
        return left


def _start(outer: Nodes, graphs: Graphs) -> dict[str, str]:
    """Read the sources: what is known of them, by its name in the graph of a step."""
    graph = graphs.start.graph
    outer.insert(graph, {given.name: given.name for given in graph.input}, "start")
    return {made.name: f"start/{made.name}" for made in graph.output}


def _step(loop: _Loop, graphs: Graphs, tokens: str, start: Mapping[str, str]) -> dict[str, str]:
    """Make a step in every pass: what comes of it."""
    graph, given = graphs.step.graph, {"tokens": tokens}
    for known in graph.input:
        if known.name.startswith("memory."):
            given[known.name] = start[known.name]
        elif known.name.startswith("state."):
            dtype = known.type.tensor_type.elem_type
            given[known.name] = loop.carry(known.name, start[known.name], dtype)
    loop.nodes.insert(graph, given, "step")
    return {made.name: f"step/{made.name}" for made in graph.output}


def _then_states(loop: _Loop, made: Mapping[str, str]) -> None:
    for name, state in made.items():
        if name.startswith("next."):
            loop.then(name.replace("next.", "state.", 1), state)


def _unwritten(nodes: Nodes, graphs: Graphs) -> str:
    """-inf for what is never written."""
    scores = np.zeros((1, _vocab(graphs)))
    scores[0, [PAD, BOS, UNK]] = -np.inf
    return nodes.constant(scores, np.float32)


def _vocab(graphs: Graphs) -> int:
    [log_probs] = [made for made in graphs.step.graph.output if made.name == "log_probs"]
    return log_probs.type.tensor_type.shape.dim[1].dim_value


def _evidence(graphs: Graphs) -> list[str]:
    """What a step says beside probabilities."""
    made = {output.name for output in graphs.step.graph.output}
    return [name for name in ("attention", "feature_attention") if name in made]


def _any(nodes: Nodes, flags: str) -> str:
    whole = nodes("ReduceMax", nodes("Cast", flags, to=_INT), keepdims=0)
    return nodes("Cast", whole, to=_BOOL)


def _highest(nodes: Nodes, scores: str) -> str:
    """The highest of each row."""
    return nodes("ReduceMax", scores, nodes.constant([1]), keepdims=0)


def _divisor(nodes: Nodes, length: str) -> str:
    """The length penalty."""
    one = nodes.constant(1.0, np.float64)
    number = nodes("Add", "penalty_base", nodes("Cast", length, to=_DOUBLE))
    ratio = nodes("Div", number, nodes("Add", "penalty_base", one))
    return nodes("Pow", ratio, "penalty_alpha")


def _best_end(outer: Nodes, scores: str, by_source: str) -> tuple[str, str]:
    """The best of each source's ends, the first of equals: score, and step x beam + slot."""
    flat = outer("Reshape", outer("Transpose", scores, perm=[1, 0, 2]), by_source)
    return _highest(outer, flat), outer("ArgMax", flat, axis=1, keepdims=0)


def _finish(outer: Nodes, found: Mapping[str, str], evidence: Sequence[str]) -> None:
    """Make outputs of what the steps left: rows first, zeros where an output has ended."""
    steps = outer("Shape", found["tokens"], start=0, end=1)
    number = outer("Range", outer.constant(0), outer("Squeeze", steps, outer.constant([0])), outer.constant(1))
    counts = outer("Unsqueeze", "counts", outer.constant([1]))
    real = outer("Less", outer("Unsqueeze", number, outer.constant([0])), counts)
    for name, by_steps in found.items():
        by_rows = outer("Transpose", by_steps, perm=[1, 0]) if name not in evidence else None
        if by_rows is None:  # with axes after these
            by_rows = outer("Einsum", by_steps, equation="ab...->ba...")
        dtype, zero = (np.int64, PAD) if name == "tokens" else (np.float32, 0.0)
        there = real
        if name in evidence:
            like = outer("Shape", by_rows, start=2)
            ones = outer("ConstantOfShape", outer("Shape", like), value=helper.make_tensor("one", _INT, [1], [1]))
            there = outer("Reshape", real, outer("Concat", outer("Shape", real), ones, axis=0))
        outer("Where", there, by_rows, outer.constant(zero, dtype), made=name)


def _model(
    outer: Nodes,
    graphs: Graphs,
    name: str,
    defaults: Mapping[str, float],
    optional: Sequence[str],
) -> onnx.ModelProto:
    inputs = [
        value("source", _INT, "rows", "src_len"),
        value("lengths", _INT, "rows"),
        value("limits", _INT, "rows"),
    ]
    for field in optional:
        dtype, kind = (np.int64, _INT) if field == "beam" else (np.float64, _DOUBLE)
        inputs.append(value(field, kind))
        outer.constants.append(onnx.numpy_helper.from_array(np.array(defaults[field], dtype), field))
    outputs = [
        value("tokens", _INT, "rows", "tgt_len"),
        value("counts", _INT, "rows"),
        value("log_probs", _FLOAT, "rows", "tgt_len"),
        value("scores", _DOUBLE, "rows"),
        value("finished", _BOOL, "rows"),
    ]
    made = {output.name: output for output in graphs.step.graph.output}
    for field in _evidence(graphs):
        axes = [dim.dim_param or dim.dim_value for dim in made[field].type.tensor_type.shape.dim]
        outputs.append(value(field, _FLOAT, "rows", "tgt_len", *axes[1:-1], "src_len"))
    graph = helper.make_graph(outer.nodes, name, inputs, outputs, outer.constants)
    domains = {o.domain: o.version for g in graphs for o in g.opset_import}
    opsets = [helper.make_opsetid(d, v) for d, v in {**domains, "": OPSET}.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=graphs.step.ir_version)
