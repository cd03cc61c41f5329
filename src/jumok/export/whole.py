"""A whole search as one ONNX graph: no step leaves the runtime, and any language can run it.

    greedy   source, lengths, limits, penalty_base*, penalty_alpha*            -> outputs
    beam     source, lengths, limits, penalty_base*, penalty_alpha*, beam*     -> outputs

Inputs: ``source (rows, src_len)`` ids, each row ending with </s> and padded with 0; ``lengths
(rows)`` with </s> counted; ``limits (rows)``, the most tokens of each output, </s> counted. Those
marked * may be left out and are then as in the model's own settings. A hypothesis of n tokens is
ranked by its log-probability over ``((base + n) / (base + 1)) ** alpha``, which is each of
`jumok.search.length_penalty`.

    greedy.short, beam.short    the same, and candidates, allowed

Their outputs have no tokens but ``candidates (some)``: ids in ascending order, the first four among
them; and each row none but its own, ``allowed (rows, some)``.

Outputs: ``tokens (rows, tgt_len)``, of which ``counts (rows)`` are real and the rest 0;
``log_probs (rows, tgt_len)``; ``scores (rows)``; ``finished (rows)``, false where an output was cut
at its limit; and, where the model attends, ``attention`` and ``feature_attention`` (rows, tgt_len,
src_len), with an axis of heads before the last where there are several.

They compute what `jumok.search.greedy_search` and `beam_search` do where nothing more is asked
(one output, and no rule but that <pad>, <s> and <unk> are not written):

- a source leaves the batch when its output is settled, its memory and its state with it;
- each source has ``beam`` slots, and a dead one the total -inf and no row in the batch; the room
  for continuations shrinks by one with each complete hypothesis;
- every step leaves the parent, the token and the end of each continuation; a second loop follows
  the best end back to its beginning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jumok.export.graphs import CHUNK, OPSET, Graphs, without
from jumok.export.nodes import Nodes, some_value, value
from jumok.text import BOS, EOS, PAD, UNK

_FLOAT, _DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
_INT, _BOOL = TensorProto.INT64, TensorProto.BOOL


_OF_ALL_ROWS = frozenset({"weight", "scale"})
"""What is known before the loop and the same in every pass and for every row."""


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
    body, zero, one = loop.nodes, outer.constant(0), outer.constant(1)
    start = _start(outer, graphs)
    rows = outer("Shape", "lengths")
    first = outer("Expand", outer.constant(BOS), rows)

    tokens = loop.carry("tokens", first, _INT)
    source = loop.carry("source", _count(outer, rows), _INT)
    made = _step(loop, graphs, tokens, start)
    chunk, in_chunk = _best_chunks(body, made[_scores(graphs)], outer.constant([1]))
    place = body("ArgMax", in_chunk, axis=1, keepdims=1)
    token = _token(body, chunk, place)
    token = body("Squeeze", token, body.constant([1]))
    log_prob = body("ReduceMax", in_chunk, body.constant([1]), keepdims=0)
    more = body("Less", body("Add", loop.number, one), body("Gather", "limits", source))
    token = _real(body, token, start)
    eos = body("Equal", token, outer.constant(EOS))
    going = body("And", more, body("Not", eos))
    on = {"tokens": token, "source": source, **loop.parts("memory."), **_next_states(made)}
    for name, part in on.items():
        loop.then(name, body("Compress", part, going, axis=0))
    nothing = outer("Expand", zero, rows)
    alive = body("Expand", one, body("Shape", source))
    for name, empty, what in (
        ("tokens", nothing, token),
        ("alive", nothing, alive),
        ("eos", nothing, body("Cast", eos, to=_INT)),
        ("log_probs", outer("Cast", nothing, to=_FLOAT), log_prob),
    ):
        loop.leave(name, body("ScatterElements", empty, source, what))
    _leave_evidence(loop, graphs, made, rows, source)
    left = loop.run(outer, outer("ReduceMax", "limits", keepdims=0), _any(body, going))

    outer("ReduceSum", left["alive"], outer.constant([0]), keepdims=0, made="counts")
    ends = outer("ReduceSum", left["eos"], outer.constant([0]), keepdims=0)
    outer("Greater", ends, zero, made="finished")
    for name in ("tokens", "log_probs", *_evidence(graphs)):
        _rows_first(outer, left[name], name)
    total = outer("Cast", "log_probs", to=_DOUBLE)
    total = outer("ReduceSum", total, outer.constant([1]), keepdims=0)
    outer("Div", total, _divisor(outer, "counts"), made="scores")
    return _model(outer, graphs, "greedy", defaults)


def beam_graph(graphs: Graphs, defaults: Defaults) -> onnx.ModelProto:
    """`beam_search`."""
    outer, loop = Nodes("outer"), _Loop("steps")
    body = loop.nodes
    zero, one, none = outer.constant(0), outer.constant(1), outer.constant(-np.inf, np.float64)
    flat = outer.constant([-1])
    rows, slots = outer("Shape", "lengths"), outer("Reshape", "beam", outer.constant([1]))
    sources = _count(outer, rows)
    slot = _column(outer, _count(outer, slots), axis=0)
    cells = outer("Concat", rows, slots, axis=0)
    start = _start(outer, graphs)
    first = outer("Expand", outer.constant(BOS), rows)
    in_first = outer("Expand", outer("Equal", slot, zero), cells)
    first_total = outer("Where", in_first, outer.constant(0.0, np.float64), none)

    tokens = loop.carry("tokens", first, _INT)
    cell = loop.carry("cell", outer("Mul", sources, slots), _INT)
    source = loop.carry("source", sources, _INT)
    total = loop.carry("total", first_total, _DOUBLE)
    count = loop.carry("count", outer("Expand", zero, rows), _INT)
    best = loop.carry("best", outer("Expand", none, rows), _DOUBLE)
    made = _step(loop, graphs, tokens, start)
    live = body("Shape", source)
    by_source = body("Concat", live, flat, axis=0)
    # the best of each row in float32, of each source in float64, as sums of it are
    chunks, in_chunks = _best_chunks(body, made[_scores(graphs)], slots)
    width = body("Min", slots, body("Shape", in_chunks, start=1))
    top, place = body.several("TopK", 2, in_chunks, width, axis=1)
    top_token = body("Reshape", _token(body, chunks, place), flat)
    before = body("Gather", body("Reshape", total, flat), cell)
    reached = body("Add", _column(body, before), body("Cast", top, to=_DOUBLE))
    nowhere = body("Expand", none, body("Concat", body("Mul", live, slots), width, axis=0))
    reached = body("ScatterND", nowhere, _column(body, cell), reached)
    reached, place = body.several("TopK", 2, body("Reshape", reached, by_source), slots, axis=1)
    parent, place = body("Div", place, width), body("Mod", place, width)
    no_row = body("Expand", zero, body("Mul", live, slots))
    row_of = body("ScatterElements", no_row, cell, _count(body, body("Shape", cell)))
    first_cell = body("Mul", _column(body, _count(body, live)), slots)
    from_row = body("Gather", row_of, body("Add", first_cell, parent))
    place = body("Add", body("Mul", from_row, width), place)
    token = _real(body, body("Gather", top_token, place), start)
    log_prob = body("Gather", body("Reshape", top, flat), place)
    length = body("Add", loop.number, one)
    limit = _column(body, body("Gather", "limits", source))
    possible = body("Not", body("IsInf", reached, detect_positive=0))
    has_room = body("Less", slot, _column(body, body("Sub", "beam", count)))
    valid = body("And", has_room, possible)
    eos = body("Equal", token, outer.constant(EOS))
    at_end = body("Or", eos, body("Equal", length, limit))
    ended, going = body("And", valid, at_end), body("And", valid, body("Not", at_end))
    score = body("Div", reached, _divisor(body, length))
    complete = body("Where", body("And", ended, eos), score, none)
    cut = body("Where", body("And", ended, body("Not", eos)), score, none)
    best_now = body("Max", best, _highest(body, complete))
    ceiling = body("Where", going, body("Div", reached, _divisor(body, limit)), none)
    is_open = body("Less", best_now, _highest(body, ceiling))  # else nothing can overtake the best
    ends = body("ReduceSum", body("Cast", ended, to=_INT), body.constant([1]), keepdims=0)
    by_sources = {
        "source": source,
        "total": body("Where", going, reached, none),
        "count": body("Add", count, ends),
        "best": best_now,
    }
    for name, part in by_sources.items():
        loop.then(name, body("Compress", part, is_open, axis=0))
    goes_on = body("Reshape", body("And", going, _column(body, is_open)), flat)
    opened = body("CumSum", body("Cast", is_open, to=_INT), zero)
    next_cell = body("Mul", body("Sub", opened, one), slots)
    next_cell = body("Add", _column(body, next_cell), slot)
    by_rows = {"tokens": token, "cell": next_cell, "from": from_row}
    kept = {
        name: body("Compress", body("Reshape", part, flat), goes_on, axis=0)
        for name, part in by_rows.items()
    }
    loop.then("tokens", kept["tokens"])
    loop.then("cell", kept["cell"])
    for name, part in {**loop.parts("memory."), **_next_states(made)}.items():
        loop.then(name, body("Gather", part, kept["from"], axis=0))
    whose = body("Expand", _column(body, source), body("Shape", parent))
    no_number, no_score = outer("Expand", zero, cells), outer("Expand", none, cells)
    for name, empty, what in (
        ("parent", no_number, parent),
        ("token", no_number, token),
        ("log_prob", outer("Cast", no_number, to=_FLOAT), log_prob),
        ("complete", no_score, complete),
        ("cut", no_score, cut),
    ):
        loop.leave(name, body("ScatterElements", empty, whose, what, axis=0))
    row = body("Mul", body("Gather", source, body("Div", cell, slots)), slots)
    row = body("Add", row, body("Mod", cell, slots))
    _leave_evidence(loop, graphs, made, outer("Mul", rows, slots), row)
    left = loop.run(outer, outer("ReduceMax", "limits", keepdims=0), _any(body, is_open))

    by_source = outer("Concat", rows, flat, axis=0)
    whole_score, whole_end = _best_end(outer, left["complete"], by_source)
    cut_score, cut_end = _best_end(outer, left["cut"], by_source)
    outer("Not", outer("IsInf", whole_score, detect_positive=0), made="finished")
    outer("Where", "finished", whole_score, cut_score, made="scores")
    end = outer("Where", "finished", whole_end, cut_end)
    end_step, end_slot = outer("Div", end, "beam"), outer("Mod", end, "beam")
    outer("Add", end_step, one, made="counts")
    steps = outer("Squeeze", outer("Shape", left["token"], start=0, end=1), outer.constant([0]))
    path = _follow_back(outer, left, steps, end_step, end_slot)
    _rows_first(outer, path["token"], "tokens")
    _rows_first(outer, path["log_prob"], "log_probs")
    of_a_step = outer("ReduceProd", cells, keepdims=0)  # rows of evidence
    row = outer("Add", outer("Mul", sources, "beam"), path["parent"])
    before = outer("Range", zero, outer("Mul", steps, of_a_step), of_a_step)
    row = outer("Add", _column(outer, before), row)
    for name in _evidence(graphs):
        shape = outer("Concat", flat, outer("Shape", left[name], start=2), axis=0)
        found = outer("Gather", outer("Reshape", left[name], shape), row, axis=0)
        _rows_first(outer, found, name)
    return _model(outer, graphs, "beam", defaults)


def _follow_back(
    outer: Nodes, left: Mapping[str, str], steps: str, end_step: str, end_slot: str
) -> dict[str, str]:
    """Parent, token and log-probability of each source's best end, and of what it continues, at
    each step; after the end, whatever."""
    back = _Loop("back")
    body = back.nodes
    last = outer("Sub", steps, outer.constant(1))
    number = body("Sub", last, back.number)
    slot = back.carry("slot", end_slot, _INT)
    slot = body("Where", body("Equal", number, end_step), end_slot, slot)
    column, found = _column(body, slot), {}
    for name in ("parent", "token", "log_prob"):
        of_step = body("Gather", left[name], number, axis=0)
        of_slot = body("GatherElements", of_step, column, axis=1)
        found[name] = body("Squeeze", of_slot, body.constant([1]))
        back.leave(name, found[name])
    back.then("slot", found["parent"])
    way = back.run(outer, steps, outer.constant(True, np.bool_))
    forwards = outer("Range", last, outer.constant(-1), outer.constant(-1))
    return {name: outer("Gather", part, forwards, axis=0) for name, part in way.items()}


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

    def parts(self, prefix: str) -> dict[str, str]:
        """What goes round under names with that beginning."""
        return {key: f"{self.name}/{key}" for key in self._carried if key.startswith(prefix)}

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
        inputs += [some_value(f"{name}/{key}", kind) for key, (_, kind) in self._carried.items()]
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
    found = {made.name: f"start/{made.name}" for made in graph.output}
    if graphs.columns is None:
        return found
    some = outer("Shape", "candidates")
    size = outer.constant([CHUNK])
    more = outer("Mod", outer("Sub", size, outer("Mod", some, size)), size)
    nothing = outer("ConstantOfShape", more, value=numpy_helper.from_array(np.array([PAD])))
    found["candidates"] = outer("Concat", "candidates", nothing, axis=0)
    cells = outer("Concat", outer("Shape", "lengths"), more, axis=0)
    never = outer("ConstantOfShape", cells, value=numpy_helper.from_array(np.array([False])))
    given = {
        "candidates": found["candidates"],
        "allowed": outer("Concat", "allowed", never, axis=1),
    }
    outer.insert(graphs.columns.graph, given, "columns")
    return found | {made.name: f"columns/{made.name}" for made in graphs.columns.graph.output}


def _step(loop: _Loop, graphs: Graphs, tokens: str, start: Mapping[str, str]) -> dict[str, str]:
    """Make a step in every pass: what comes of it. Memory goes round as well, as rows leave."""
    model = graphs.step if graphs.columns is not None else without(graphs.step, "log_probs")
    graph, given = model.graph, {"tokens": tokens}
    for known in graph.input:
        if known.name in _OF_ALL_ROWS:
            given[known.name] = start[known.name]
        elif known.name != "tokens":
            kind = known.type.tensor_type.elem_type
            given[known.name] = loop.carry(known.name, start[known.name], kind)
    loop.nodes.insert(graph, given, "step")
    return {made.name: f"step/{made.name}" for made in graph.output}


def _scores(graphs: Graphs) -> str:
    """The output of a step that is a multiple of `CHUNK` wide."""
    return "scores" if graphs.columns is None else "log_probs"


def _real(body: Nodes, token: str, start: Mapping[str, str]) -> str:
    """Ids of the vocabulary for places among candidates."""
    return body("Gather", start["candidates"], token) if "candidates" in start else token


def _next_states(made: Mapping[str, str]) -> dict[str, str]:
    """The states after a step, by the names they have before it."""
    after = {name: part for name, part in made.items() if name.startswith("next.")}
    return {name.replace("next.", "state.", 1): part for name, part in after.items()}


def _evidence(graphs: Graphs) -> list[str]:
    """What a step says beside probabilities."""
    made = {output.name for output in graphs.step.graph.output}
    return [name for name in ("attention", "feature_attention") if name in made]


def _leave_evidence(
    loop: _Loop, graphs: Graphs, made: Mapping[str, str], rows: str, row: str
) -> None:
    """The evidence of a step at its ``row``; zeros for rows that have left the batch."""
    body = loop.nodes
    index = _column(body, row)
    for name in _evidence(graphs):
        shape = body("Concat", rows, body("Shape", made[name], start=1), axis=0)
        empty = body("Expand", body.constant(0.0, np.float32), shape)
        loop.leave(name, body("ScatterND", empty, index, made[name]))


def _best_chunks(body: Nodes, scores: str, most: str) -> tuple[str, str]:
    """Numbers of the ``most`` chunks of `CHUNK` tokens with the highest scores, and the scores in
    these side by side, among which are as many of the best tokens.

    To look for the place of a maximum among all scores takes longer than everything else but the
    products; to look for the maximum itself is quick.
    """
    never = np.zeros((1, CHUNK))
    never[0, [PAD, BOS, UNK]] = -np.inf
    ban, none = body.constant(never, np.float32), body.constant(0.0, np.float32)
    zero, first, second = body.constant([0]), body.constant([1]), body.constant([2])
    head = body("Add", body("Slice", scores, zero, body.constant([CHUNK]), first), ban)
    chunks = body("Reshape", scores, body.constant([0, -1, CHUNK]))
    highest = body("ReduceMax", chunks, second, keepdims=0)
    rest = body("Slice", highest, first, body.constant([np.iinfo(np.int32).max]), first)
    highest = body("Concat", body("ReduceMax", head, first, keepdims=1), rest, axis=1)
    width = body("Min", most, body("Shape", highest, start=1))
    _, chunk = body.several("TopK", 2, highest, width, axis=1)
    number = body("Unsqueeze", chunk, second)
    found = body("GatherND", chunks, number, batch_dims=1)
    banned = body("Where", body("Equal", number, body.constant(0)), ban, none)
    return chunk, body("Reshape", body("Add", found, banned), body.constant([0, -1]))


def _token(body: Nodes, chunks: str, place: str) -> str:
    """The token at a ``place`` in chunks that stand side by side."""
    size = body.constant(CHUNK)
    chunk = body("GatherElements", chunks, body("Div", place, size), axis=1)
    return body("Add", body("Mul", chunk, size), body("Mod", place, size))


def _any(nodes: Nodes, flags: str) -> str:
    return nodes("Cast", nodes("ReduceMax", nodes("Cast", flags, to=_INT), keepdims=0), to=_BOOL)


def _count(nodes: Nodes, size: str) -> str:
    """0, 1 and so on, as many as ``size``, a vector of one number."""
    size = nodes("Squeeze", size, nodes.constant([0]))
    return nodes("Range", nodes.constant(0), size, nodes.constant(1))


def _column(nodes: Nodes, vector: str, axis: int = 1) -> str:
    return nodes("Unsqueeze", vector, nodes.constant([axis]))


def _highest(nodes: Nodes, scores: str) -> str:
    """The highest of each row."""
    return nodes("ReduceMax", scores, nodes.constant([1]), keepdims=0)


def _divisor(nodes: Nodes, length: str) -> str:
    """The length penalty."""
    number = nodes("Add", "penalty_base", nodes("Cast", length, to=_DOUBLE))
    ratio = nodes("Div", number, nodes("Add", "penalty_base", nodes.constant(1.0, np.float64)))
    return nodes("Pow", ratio, "penalty_alpha")


def _best_end(outer: Nodes, scores: str, by_source: str) -> tuple[str, str]:
    """The best of each source's ends, the first of equals: score, and step x beam + slot."""
    flat = outer("Reshape", outer("Transpose", scores, perm=[1, 0, 2]), by_source)
    return _highest(outer, flat), outer("ArgMax", flat, axis=1, keepdims=0)


def _rows_first(outer: Nodes, by_steps: str, name: str) -> None:
    """The output ``name``, of what the steps left: rows first, zeros where a row has ended."""
    by_rows = outer("Einsum", by_steps, equation="ab...->ba...")
    number = _column(outer, _count(outer, outer("Shape", by_rows, start=1, end=2)), axis=0)
    real = outer("Less", number, _column(outer, "counts"))
    further = outer("Shape", outer("Shape", by_rows, start=2))  # axes
    ones = outer("Expand", outer.constant([1]), further)
    real = outer("Reshape", real, outer("Concat", outer("Shape", real), ones, axis=0))
    dtype, zero = (np.int64, PAD) if name == "tokens" else (np.float32, 0.0)
    outer("Where", real, by_rows, outer.constant(zero, dtype), made=name)


def _model(outer: Nodes, graphs: Graphs, name: str, defaults: Defaults) -> onnx.ModelProto:
    inputs = [
        value("source", _INT, "rows", "src_len"),
        value("lengths", _INT, "rows"),
        value("limits", _INT, "rows"),
    ]
    if graphs.columns is not None:
        inputs += [value("candidates", _INT, "some"), value("allowed", _BOOL, "rows", "some")]
    for field, default in defaults._asdict().items():
        if field == "beam" and name == "greedy":
            continue
        number = np.array(default, np.int64 if field == "beam" else np.float64)
        outer.constants.append(numpy_helper.from_array(number, field))
        inputs.append(value(field, outer.constants[-1].data_type))
    outputs = [
        value("tokens", _INT, "rows", "tgt_len"),
        value("counts", _INT, "rows"),
        value("log_probs", _FLOAT, "rows", "tgt_len"),
        value("scores", _DOUBLE, "rows"),
        value("finished", _BOOL, "rows"),
    ]
    made = {output.name: output for output in graphs.step.graph.output}
    for field in _evidence(graphs):
        [_, *axes] = made[field].type.tensor_type.shape.dim
        heads = [axis.dim_value for axis in axes[:-1]]
        outputs.append(value(field, _FLOAT, "rows", "tgt_len", *heads, "src_len"))
    graph = helper.make_graph(outer.nodes, name, inputs, outputs, outer.constants)
    parts = [one for one in graphs if one is not None]
    domains = {opset.domain: opset.version for one in parts for opset in one.opset_import}
    opsets = [helper.make_opsetid(key, number) for key, number in {**domains, "": OPSET}.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=graphs.step.ir_version)
