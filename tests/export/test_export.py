"""What is exported computes what the model does: every preset and mechanism, by steps and whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exports import (
    IN_EIGHT_BITS,
    JUDGES,
    TORCH,
    WITHOUT,
    assert_equal,
    export,
    unchecked,
    write_tiny,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import ALPHABET, MECHANISMS, tiny_predictor, tiny_shortlist

import jumok.export.write
from jumok.bundle import (
    Precision,
    read_bundle,
    read_exported,
    read_shortlist,
    write_bundle,
    write_shortlist,
)
from jumok.config import preset_names
from jumok.engine import Candidates, EngineName, WholeSearch, load_engine
from jumok.engine.onnx_engine import OnnxEngine, own_cores
from jumok.errors import BundleError, ConfigError
from jumok.export.graphs import Graphs, make_graphs
from jumok.export.write import _compare
from jumok.predictor import Predictor, load
from jumok.search import Hypothesis, Step
from jumok.text import EOS

MODELS = [*(name for name in preset_names() if name != "language-model"), *MECHANISMS]
texts = st.text(alphabet=ALPHABET, min_size=1, max_size=9)
OUTPUTS = ["x", "x y z y", "u v w x y z u v"]
READOUTS = ["luong2015", "bahdanau2015", "deep over a bidirectional bottom, tied"]
"""Linear, maxout, and the table of the embeddings."""
# float32 in two orders of summation: where two outputs tie, chance must not choose when tests fail
quick = settings(max_examples=10, deadline=None, derandomize=True)


def by_steps(predictor: Predictor) -> Predictor:
    """The predictor, without its whole searches."""
    predictor._is_plain = lambda *_: False  # type: ignore[method-assign]
    return predictor


def check_against_torch(path: Path) -> None:
    """Every search gives what torch gives, batches of any size, and forced outputs too."""
    ours, theirs = load(path, engine="torch"), load(path, engine="onnx")
    assert isinstance(theirs.engine, WholeSearch) and not isinstance(ours.engine, WholeSearch)
    attends = ours.engine.attends

    @quick
    @given(sources=st.lists(texts, min_size=1, max_size=5), size=st.integers(1, 4))
    def check(sources: list[str], size: int) -> None:
        asked: list[dict[str, object]] = [
            {"beam": 1},
            {"beam": 3, "length_penalty": "average"},
            {"beam": 4, "length_penalty": "gnmt", "length_alpha": 0.6},
            {"beam": 3, "n_best": 3},
            {"beam": 4, "groups": 2, "diversity": 0.5, "n_best": 2},
            {"beam": 2, "no_repeat_ngram": 2, "min_length": 3, "repetition_penalty": 1.3},
            {"sample": True, "n_best": 2, "top_k": 3, "seed": size},
            *([{"beam": 2, "coverage_penalty": 0.3}] if attends else []),
        ]
        for options in asked:
            one = ours.predict(sources, **options)
            other = theirs.predict(sources, batch_size=size, **options)
            for pair in zip(one, other, strict=True):
                assert_equal(*pair)
        pairs = [(source, "x y z y") for source in sources]
        for pair in zip(ours.score(pairs), theirs.score(pairs, batch_size=size), strict=True):
            assert_equal(*pair)

    check()


def check_whole_searches(path: Path, engine: EngineName, examples: int, atol: float) -> None:
    """A whole search is the search by steps, alone and in a batch."""
    whole = load(path, engine=engine)
    steps = by_steps(load(path, engine=engine))

    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(
        sources=st.lists(texts, min_size=1, max_size=6),
        width=st.integers(2, 7),
        penalty=st.sampled_from(["none", "average", "gnmt"]),
        ratio=st.sampled_from([0.0, 0.5, 2.0]),
        offset=st.integers(1, 4),
    )
    def check(sources: list[str], width: int, penalty: str, ratio: float, offset: int) -> None:
        options = {
            "length_penalty": penalty,
            "max_length_ratio": ratio,
            "max_length_offset": offset,
            "batch_size": 6,
        }
        for beam in (1, width):  # a graph each
            together = whole.predict(sources, beam=beam, **options)
            by_step = steps.predict(sources, beam=beam, **options)
            for source, one, other in zip(sources, together, by_step, strict=True):
                assert_equal(one, other, atol)
                assert_equal(one, whole.predict(source, beam=beam, **options), atol)

    check()


def check_shortlists(path: Path) -> None:
    """A shortlist gives the same with every engine."""
    bundle = read_bundle(path)
    ours = load(bundle.path, engine="torch")
    whole, steps, eight, eight_steps = (
        load(bundle.path, engine=engine) for engine in ("onnx", "onnx", "onnx-int8", "onnx-int8")
    )
    by_steps(steps)
    by_steps(eight_steps)

    @quick
    @given(
        sources=st.lists(texts, min_size=1, max_size=5),
        size=st.integers(1, 4),
        seed=st.integers(0, 99),
    )
    def check(sources: list[str], size: int, seed: int) -> None:
        write_shortlist(bundle, tiny_shortlist(ours, seed, most=3, frequent=1))
        found = read_shortlist(bundle)
        assert found is not None
        for predictor in (ours, whole, steps, eight, eight_steps):
            vars(predictor)["_shortlist"] = found
        asked: list[dict[str, object]] = [
            {"beam": 1},
            {"beam": 4, "length_penalty": "gnmt", "length_alpha": 0.6},
            {"beam": 3, "n_best": 3},
            {"sample": True, "n_best": 2, "seed": size},
        ]
        for options in asked:
            one = ours.predict(sources, shortlist=True, **options)
            for other in (whole, steps):
                answers = other.predict(sources, shortlist=True, batch_size=size, **options)
                for pair in zip(one, answers, strict=True):
                    assert_equal(*pair)
        listed = ours.target_tokenizer.tokens(range(ours.target_tokenizer.vocab_size))
        for options in asked[:2]:  # those of one graph
            rounded = [
                predictor.predict(sources, shortlist=True, batch_size=size, **options)
                for predictor in (eight, eight_steps)
            ]
            for source, one, other in zip(sources, *rounded, strict=True):
                assert_equal(one, other, IN_EIGHT_BITS)
                ids = found.of(ours.source_tokenizer.encode(source).ids)
                assert {*one.tokens} <= {listed[i] for i in ids}

    check()


@pytest.mark.parametrize("name", MODELS)
def test_the_graphs_compute_what_the_model_does(name: str, exported: Callable[[str], Path]) -> None:
    path = exported(name)
    check_against_torch(path)
    check_whole_searches(path, "onnx", 25, 1e-4)
    check_whole_searches(path, "onnx-int8", 10, IN_EIGHT_BITS)
    if not name.startswith("copying"):
        check_shortlists(path)


@pytest.mark.parametrize("engine", ["onnx", "onnx-int8"])
@pytest.mark.parametrize("name", READOUTS)
def test_a_list_of_the_whole_vocabulary_changes_nothing(
    name: str, engine: EngineName, exported: Callable[[str], Path]
) -> None:
    predictor = load(exported(name), engine=engine)
    vocab = predictor.target_tokenizer.vocab_size
    vars(predictor)["_shortlist"] = tiny_shortlist(predictor, 1, most=0, frequent=vocab)
    for beam in (1, 4):
        one = predictor.predict(["abc", "가각 d", "e"], beam=beam)
        other = predictor.predict(["abc", "가각 d", "e"], beam=beam, shortlist=True)
        for pair in zip(one, other, strict=True):
            assert_equal(*pair)


@pytest.mark.parametrize("engine", ["onnx", "onnx-int8"])
@pytest.mark.parametrize("name", READOUTS)
def test_a_step_over_a_list_is_that_over_all_tokens(
    name: str, engine: EngineName, exported: Callable[[str], Path]
) -> None:
    """Its log-probabilities are those of the listed tokens, to add up to 1 again."""
    predictor = load(exported(name), engine=engine)
    vocab, generator = predictor.engine.target_vocab, np.random.default_rng(0)
    source = generator.integers(4, predictor.source_tokenizer.vocab_size, (5, 3))
    source[:, -1], lengths = EOS, np.full(5, 3)
    allowed = generator.random((5, vocab)) < 0.4
    allowed[:, :4], allowed[:, 5] = True, False
    listed = np.flatnonzero(allowed.any(axis=0))
    allowed = allowed[:, listed]
    every = predictor.engine.start(source, lengths)
    short = predictor.engine.start(source, lengths, candidates=Candidates(listed, allowed))
    assert 4 < len(listed) < vocab
    for _ in range(3):
        place = generator.integers(0, len(listed), 5)
        one = predictor.engine.step(listed[place], every)
        other = predictor.engine.step(place, short)
        probabilities = np.exp(one.log_probs[:, listed]) * allowed
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(np.exp(other.log_probs), probabilities, atol=1e-5)
        every, short = one.state, other.state


def test_eight_bits_are_near_and_small(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sizes = {"model.decoder.hidden": 64, "model.decoder.embedding": 64}
    predictor = tiny_predictor("g2p", 5, sizes)
    tensors = predictor.engine.model.float().state_dict()
    arrays = {key: tensor.numpy() * 0.3 for key, tensor in tensors.items()}
    tokenizers = predictor.source_tokenizer, predictor.target_tokenizer
    write_bundle(tmp_path / "model", predictor.config, *tokenizers, arrays, {})
    made = export(tmp_path / "model")
    assert capfd.readouterr() == ("", "")  # nor does onnxruntime say anything
    assert made.differences["fp32"] < 1e-5
    assert 1e-5 < made.differences["int8"] < 0.05
    assert made.sizes["weights.int8.bin"] < 0.3 * made.sizes["weights.bin"]
    answers = load(tmp_path / "model", engine="onnx-int8").predict(["abc", "가각"], beam=3)
    assert all(np.allclose(answer.attention.sum(axis=1), 1, atol=1e-5) for answer in answers)


@pytest.mark.parametrize("name", ["luong2015", "bahdanau2015", "copying"])
def test_eight_bits_round_a_text_alike_in_every_batch(
    name: str, exported: Callable[[str], Path]
) -> None:
    predictor = load(exported(name), engine="onnx-int8")

    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(sources=st.lists(texts, min_size=2, max_size=6), written=st.sampled_from(OUTPUTS))
    def check(sources: list[str], written: str) -> None:
        pairs = [(source, written) for source in sources]
        for pair, one in zip(pairs, predictor.score(pairs, batch_size=6), strict=True):
            [alone] = predictor.score([pair])
            np.testing.assert_allclose(one.token_log_probs, alone.token_log_probs, atol=0.01)

    check()


def test_what_does_not_agree_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny(tmp_path / "model", "luong2015")
    export(path, int8=False)
    before = {file.name: file.read_bytes() for file in (path / "onnx").iterdir()}
    assert sorted(before) == [
        "beam.onnx", "beam.short.onnx", "columns.onnx", "greedy.onnx", "greedy.short.onnx",
        "manifest.json", "start.onnx", "step.onnx", "step.short.onnx", "weights.bin"
    ]  # fmt: skip

    def wrong(model: object) -> tuple[Graphs, Graphs | None]:
        other = tiny_predictor("luong2015", 4).engine.model.float()
        return make_graphs(other)

    monkeypatch.setattr(jumok.export.write, "make_graphs", wrong)
    with pytest.raises(BundleError, match="do not compute what the model does"):
        export(path, int8=False)
    assert {file.name: file.read_bytes() for file in (path / "onnx").iterdir()} == before
    assert [file.name for file in path.iterdir() if file.name.startswith(".")] == []


def with_attention(made: Any, change: Callable[[np.ndarray], np.ndarray | None]) -> Any:
    """A step or a hypothesis that says something else of attention."""
    attention = change(made.evidence.attention)
    return made._replace(evidence=made.evidence._replace(attention=attention))


def with_other_tokens(one: Hypothesis) -> Hypothesis:
    return one._replace(tokens=np.where(one.tokens == 5, 6, 5))


STEPS_GONE_WRONG: dict[str, Callable[[Step], Step]] = {
    "attention is no number": lambda made: with_attention(made, lambda a: a * np.nan),
    "attention is nothing": lambda made: with_attention(made, lambda a: a * 0),
    "attention is missing": lambda made: with_attention(made, lambda a: None),
    "one probability is no number": lambda made: made._replace(
        log_probs=np.where(made.log_probs == made.log_probs.max(), np.nan, made.log_probs)
    ),
}
SEARCHES_GONE_WRONG: dict[str, Callable[[Hypothesis], Hypothesis]] = {
    "other tokens": with_other_tokens,
    "the score is no number": lambda one: one._replace(score=float("nan")),
    "a better score than there is": lambda one: one._replace(score=one.score + 0.1),
    "cut is not finished": lambda one: one._replace(finished=not one.finished),
    "log-probabilities": lambda one: one._replace(token_log_probs=one.token_log_probs - 0.1),
    "attention is missing": lambda one: with_attention(one, lambda a: None),
    "attention of another source": lambda one: with_attention(one, lambda a: a[:, ::-1]),
}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_fault_of_a_graph_is_noticed(
    precision: Precision, exported: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = read_bundle(exported("luong2015"))
    engine: EngineName = "onnx" if precision == "fp32" else "onnx-int8"
    ours, theirs = load_engine(bundle, engine="torch"), load_engine(bundle, engine=engine)
    assert isinstance(theirs, OnnxEngine)
    step, search = theirs.step, theirs.whole_search
    with unchecked():
        assert _compare(bundle, ours, theirs, precision) < 0.05
    for name, wrong in STEPS_GONE_WRONG.items():
        monkeypatch.setattr(theirs, "step", lambda *given, wrong=wrong: wrong(step(*given)))
        with unchecked(), pytest.raises(BundleError, match="do not compute what the model does"):
            _compare(bundle, ours, theirs, precision)
            pytest.fail(name)
    monkeypatch.setattr(theirs, "step", step)
    for name, change in SEARCHES_GONE_WRONG.items():
        found = lambda *given, change=change: [[change(one)] for [one] in search(*given)]  # noqa: E731
        monkeypatch.setattr(theirs, "whole_search", found)
        with unchecked(), pytest.raises(BundleError, match="do not compute what the model does"):
            _compare(bundle, ours, theirs, precision)
            pytest.fail(name)


def test_auto_takes_the_graphs_where_there_are_some(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model", "lecture")
    assert not isinstance(load(path).engine, WholeSearch)
    with pytest.raises(BundleError, match="jumok export"):
        load(path, engine="onnx")
    for wrong, said in (("onnx_int8", "Did you mean 'onnx-int8'"), ("", "Engines: auto, torch,")):
        with unchecked(), pytest.raises(ConfigError, match=f"no engine '{wrong}'.*{said}"):
            load(path, engine=wrong)  # type: ignore[arg-type]
    export(path, int8=False)
    assert isinstance(load(path).engine, WholeSearch)
    assert not isinstance(load(path, engine="torch").engine, WholeSearch)
    with pytest.raises(ConfigError, match="on the cpu"):
        load(path, device="cuda", engine="onnx")
    with pytest.raises(BundleError, match=r"no step\.int8\.onnx"):
        load(path, engine="onnx-int8")


def test_damage_and_other_weights_are_noticed(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model", "lecture")
    export(path, int8=False)
    graph = path / "onnx" / "greedy.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1])
    with pytest.raises(BundleError, match=r"greedy\.onnx has changed"):
        load(path).predict("abc", beam=1)
    graph.write_bytes(whole)
    load(path).predict("abc", beam=1)
    kept = path / "onnx"
    kept.rename(tmp_path / "onnx")
    write_tiny(path, "lecture", seed=4)
    (tmp_path / "onnx").rename(kept)
    with pytest.raises(BundleError, match="from another model"):
        load(path)
    manifest = json.loads((kept / "manifest.json").read_text(encoding="utf-8"))
    manifest["export_version"] = 99
    (kept / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match="version 99"):
        read_exported(read_bundle(path))


@pytest.mark.parametrize("during", ["make_graphs", "_compare"])
def test_a_model_that_another_replaces_meanwhile_gets_no_graphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    path = write_tiny(tmp_path / "run" / "best", "lecture")
    do = getattr(jumok.export.write, during)

    def trained(*given: Any) -> Any:
        made = do(*given)
        write_tiny(path, "lecture", seed=4)  # a better one
        return made

    monkeypatch.setattr(jumok.export.write, during, trained)
    with pytest.raises(BundleError, match="became another one meanwhile"):
        export(tmp_path / "run", int8=False)
    assert not list(path.glob("*onnx*")) and not list(path.glob(".*"))
    load(path)
    monkeypatch.setattr(jumok.export.write, during, do)
    monkeypatch.chdir(path)
    assert export(Path(), int8=False).folder == Path("onnx")
    assert isinstance(load(path).engine, WholeSearch)


@pytest.mark.parametrize("page", ["export.md", "export.ko.md"])
@pytest.mark.parametrize("name", ["luong2015", "copying"])
def test_what_graphs_read_and_give_is_told(
    name: str, page: str, exported: Callable[[str], Path]
) -> None:
    told = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    for file in (exported(name) / "onnx").glob("*.onnx"):
        graph = onnx.load(file, load_external_data=False).graph
        for one in [*graph.input, *graph.output]:
            if not one.name.startswith(("memory.", "state.", "next.")):
                assert f"`{one.name}`" in told, (file.name, one.name)


def test_a_stale_export_is_no_hindrance_where_torch_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny(tmp_path / "model", "lecture")
    (path / "onnx").mkdir()
    (path / "onnx" / "manifest.json").write_text('{"export_version": 99}', encoding="utf-8")
    bundle = read_bundle(path)
    by_torch, asked = load_engine(bundle, engine="torch"), []
    monkeypatch.setattr("jumok.engine._torch", lambda *given: asked.append(given) or by_torch)
    assert load_engine(bundle, "cuda") is by_torch
    assert asked == [(bundle, "cuda")]
    with pytest.raises(BundleError, match="version 99"):
        load_engine(bundle, "cpu")


def run_without_torch(
    *arguments: str, text: str = "", missing: tuple[str, ...] = TORCH + JUDGES
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(names=missing), *arguments],
        input=text,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
    )


def test_all_but_training_goes_without_torch(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model", "luong2015")
    export(path)
    (path / "model.safetensors").unlink()
    expected = load_texts(path, ["abc", "가각 d"])
    done = run_without_torch("predict", str(path), text="abc\n가각 d\n")
    assert (done.returncode, done.stdout.splitlines()) == (0, expected), done.stderr
    done = run_without_torch("predict", str(path), "--engine", "onnx-int8", text="abc\n")
    assert done.returncode == 0 and done.stdout.strip()
    assert run_without_torch("explain", str(path), "abc").returncode == 0
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("abc\tx y z\n", encoding="utf-8")
    judged = ("evaluate", str(path), str(pairs), "--format", "json")
    done = run_without_torch(*judged, missing=TORCH)
    assert done.returncode == 0 and "perplexity" in json.loads(done.stdout)
    for name in JUDGES:
        done = run_without_torch(*judged, missing=(name,))
        assert (done.returncode, done.stdout) == (7, ""), name
        assert name in done.stderr and "pip install 'jumok[evaluate]'" in done.stderr
    done = run_without_torch("train", str(pairs), "--output", str(tmp_path / "run"))
    assert done.returncode == 7 and "pip install 'jumok[train]'" in done.stderr
    done = run_without_torch("export", str(path))
    assert done.returncode == 7 and "pip install 'jumok[export]'" in done.stderr
    done = run_without_torch("predict", str(path), "--engine", "torch", text="abc\n")
    assert done.returncode == 7


THREADS_OF_A_GRAPH = """
import os
import sys
from pathlib import Path
from jumok.predictor import load

os.sched_setaffinity(0, set(list(os.sched_getaffinity(0))[:1]))
threads = Path("/proc/self/task")
predictor = load(sys.argv[1], engine="onnx")
before = len(list(threads.iterdir()))
predictor.predict("abc", beam=1)
print(len(list(threads.iterdir())) - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/task").exists() or (os.cpu_count() or 1) < 2,
    reason="counts threads as Linux shows them, on more than one core",
)
def test_a_graph_has_no_more_threads_than_the_process_has_cores(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model", "lecture")
    export(path, int8=False)
    environ = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", THREADS_OF_A_GRAPH, str(path)],
        capture_output=True,
        encoding="utf-8",
        env=environ,
    )
    assert (done.stdout.strip(), done.stderr) == ("0", "")


def test_threads_are_physical_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of eight logical cores, two of which are one physical core each."""
    for core in range(8):
        topology = tmp_path / f"cpu{core}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{core % 4},{core % 4 + 4}\n")
    monkeypatch.setattr("jumok.engine.onnx_engine._CPUS", tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for own, cores in (({0, 1, 4}, 2), ({2}, 1), (set(range(7)), 4), (set(range(8)), 0)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, own=own: own, raising=False)
        assert own_cores() == cores
    monkeypatch.setattr("jumok.engine.onnx_engine._CPUS", tmp_path / "nowhere")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 4}, raising=False)
    assert own_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert own_cores() == 0


def load_texts(path: Path, sources: list[str]) -> list[str]:
    return [prediction.text for prediction in load(path).predict(sources)]
