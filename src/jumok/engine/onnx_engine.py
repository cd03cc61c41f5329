"""The ONNX engine: exported graphs as a step function, and as whole searches. Without torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from jaxtyping import Int

from jumok.bundle import Bundle, Exported, Precision
from jumok.engine.base import Candidates
from jumok.errors import BundleError
from jumok.search import Evidence, Hypothesis, PowerPenalty, Step
from jumok.text import UNK


class OnnxState(NamedTuple):
    """Decoder state and memory of some rows, by the names of the graphs' values.

    ``source`` says which source each row reads.
    """

    state: Mapping[str, np.ndarray]
    memory: Mapping[str, np.ndarray]
    source: Int[np.ndarray, "rows"]
    tokens: int
    """Size of the target vocabulary, extended by what these sources let be copied."""
    candidates: Int[np.ndarray, "some"] | None = None
    columns: Mapping[str, np.ndarray] = {}
    """What a step needs to look at the candidates alone."""

    def select(self, rows: Int[np.ndarray, "new_rows"]) -> OnnxState:
        """The given rows. The memory is copied only where rows change their source."""
        source = self.source[rows]
        same = np.array_equal(source, self.source)
        memory = self.memory if same else {k: part[rows] for k, part in self.memory.items()}
        state = {name: part[rows] for name, part in self.state.items()}
        return self._replace(state=state, memory=memory, source=source)


class OnnxEngine:
    """Exported graphs; each is loaded when it is first needed.

    Args:
        find: the file of a graph's name.
        target_vocab: size of the target vocabulary.
        attends: whether steps have attention.
        threads: of each graph; None: as many as there are cores that this process may use.
    """

    def __init__(
        self,
        find: Callable[[str], Path],
        target_vocab: int,
        attends: bool,
        threads: int | None = None,
    ) -> None:
        self._find, self._threads = find, threads
        self._graphs: dict[str, _Graph] = {}
        self.target_vocab, self.attends = target_vocab, attends

    def _graph(self, name: str) -> _Graph:
        if name not in self._graphs:
            self._graphs[name] = _Graph(self._find(name), self._threads)
        return self._graphs[name]

    def start(
        self,
        source: Int[np.ndarray, "batch src_len"],
        lengths: Int[np.ndarray, "batch"],
        copies: Int[np.ndarray, "batch src_len"] | None = None,
        candidates: Candidates | None = None,
    ) -> OnnxState:
        """Read the sources (right-padded); for ``copies`` and ``candidates`` see `Engine`."""
        made = self._graph("start").run(self.reads(source, lengths, copies))
        tokens = self.target_vocab if copies is None else max(self.target_vocab, copies.max() + 1)
        state = {name: part for name, part in made.items() if name.startswith("state.")}
        memory = {name: part for name, part in made.items() if name not in state}
        found = OnnxState(state, memory, np.arange(len(source)), int(tokens))
        if candidates is None:
            return found
        graph = self._graph("columns")
        listed = {"candidates": candidates.tokens, "allowed": candidates.allowed}
        columns = graph.run(graph.feeds(listed))
        memory["memory.bias"] = columns.pop("memory.bias")
        return found._replace(candidates=candidates.tokens, columns=columns)

    def reads(
        self,
        source: Int[np.ndarray, "batch src_len"],
        lengths: Int[np.ndarray, "batch"],
        copies: Int[np.ndarray, "batch src_len"] | None = None,
    ) -> dict[str, np.ndarray]:
        """What the graph that reads sources is given."""
        return self._graph("start").feeds({"source": source, "lengths": lengths, "copies": copies})

    def steps_from(
        self, tokens: Int[np.ndarray, "rows"], state: OnnxState
    ) -> dict[str, np.ndarray]:
        """What the graph that makes a step is given."""
        if state.candidates is not None:
            tokens = state.candidates[tokens]
        given = {
            "tokens": np.where(tokens < self.target_vocab, tokens, UNK),
            "slots": np.zeros(state.tokens, dtype=np.float32),
        }
        known = {**given, **state.columns, **state.memory, **state.state}
        return self._stepper(state).feeds(known)

    def _stepper(self, state: OnnxState) -> _Graph:
        return self._graph("step" if state.candidates is None else "step.short")

    def step(self, tokens: Int[np.ndarray, "rows"], state: OnnxState) -> Step:
        """Make one decoding step."""
        made = self._stepper(state).run(self.steps_from(tokens, state))
        after = {
            name.replace("next.", "state.", 1): part
            for name, part in made.items()
            if name.startswith("next.")
        }
        evidence = Evidence(*(made.get(field) for field in Evidence._fields))
        return Step(made["log_probs"], state._replace(state=after), evidence)

    def whole_search(
        self,
        source: Int[np.ndarray, "batch src_len"],
        lengths: Int[np.ndarray, "batch"],
        limits: Int[np.ndarray, "batch"],
        penalty: PowerPenalty,
        beam: int,
        candidates: Candidates | None = None,
    ) -> list[list[Hypothesis]]:
        """`greedy_search` or `beam_search` of one output for each source, in one graph."""
        given: dict[str, Any] = {
            "source": source,
            "lengths": lengths,
            "limits": limits,
            "penalty_base": np.array(penalty.base, dtype=np.float64),
            "penalty_alpha": np.array(penalty.alpha, dtype=np.float64),
            "beam": np.array(beam),
        }
        name = "greedy" if beam == 1 else "beam"
        if candidates is not None:
            name = f"{name}.short"
            given |= {"candidates": candidates.tokens, "allowed": candidates.allowed}
        graph = self._graph(name)
        made = graph.run(graph.feeds(given))
        shown = [made.get(field) for field in Evidence._fields]
        found = []
        for row, count in enumerate(made["counts"].tolist()):
            evidence = Evidence(*(None if part is None else part[row, :count] for part in shown))
            tokens, log_probs = made["tokens"][row, :count], made["log_probs"][row, :count]
            score, finished = float(made["scores"][row]), bool(made["finished"][row])
            found.append([Hypothesis(tokens, log_probs, evidence, score, finished)])
        return found


class _Graph:
    """One graph, loaded."""

    def __init__(self, path: Path, threads: int | None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or own_cores()
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own have no common base of their own
            raise BundleError(
                f"{path} is not a graph that onnxruntime {onnxruntime.__version__} can load "
                f"({str(error).splitlines()[0]}). Export the model again: jumok export MODEL"
            ) from None
        read = self._session.get_inputs() + self._session.get_overridable_initializers()
        self._inputs = {one.name: _DTYPES[one.type] for one in read}
        self.outputs = [one.name for one in self._session.get_outputs()]

    def feeds(self, given: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray]:
        """What there is an input for, as it wants it."""
        return {
            name: np.asarray(given[name], dtype=dtype, order="C")  # keeps scalars, as scalars
            for name, dtype in self._inputs.items()
            if name in given
        }

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name."""
        return dict(zip(self.outputs, self._session.run(self.outputs, feeds), strict=True))


def own_cores() -> int:
    """The physical cores that this process may use, if it may not use all of the machine's;
    otherwise 0, for which onnxruntime takes every physical core.

    It knows nothing of a process's own cores, on which its threads would wait for each other: two
    on one core took 1.6 times the processor time.
    """
    if not hasattr(os, "sched_getaffinity"):
        return 0
    own = os.sched_getaffinity(0)
    if len(own) == os.cpu_count():
        return 0
    try:  # which logical cores are one
        return len({(_CPUS / f"cpu{core}" / _SIBLINGS).read_bytes() for core in own})
    except OSError:
        return len(own)


_CPUS, _SIBLINGS = Path("/sys/devices/system/cpu"), Path("topology/thread_siblings_list")

_DTYPES = {
    "tensor(int64)": np.int64,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    "tensor(int8)": np.int8,
}


def load_onnx_engine(bundle: Bundle, exported: Exported, precision: Precision) -> OnnxEngine:
    """The engine of a bundle that was exported. Threads: those of ``OMP_NUM_THREADS``, if set."""
    exported.must_have("step", precision)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return OnnxEngine(
        lambda name: exported.graph(name, precision),
        bundle.target_tokenizer.vocab_size,
        bundle.config.model.attention.attends,
        int(threads) if threads.isdecimal() else None,
    )
