"""Batches in rounded shapes, and updates that are recorded as CUDA graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import SIZES, backwards, letters, records, write_pairs
from safetensors.torch import load_file
from torch import Tensor

import jumok
from jumok.config import resolve
from jumok.data import Batch
from jumok.errors import ConfigError
from jumok.nn import OwnTokens, Seq2Seq
from jumok.training import graphs
from jumok.training.graphs import Tensors, _round, _Sizes, to_device
from jumok.training.loss import sequence_loss
from jumok.training.run import forecast_training

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
CPU = torch.device("cpu")


def batch_of(lengths: list[tuple[int, int]], copies: bool) -> Batch:
    draw = np.random.default_rng(0)
    source_lengths, target_lengths = np.array(lengths, dtype=np.int64).T
    rows, src_len, tgt_len = len(lengths), source_lengths.max(), target_lengths.max()
    source = draw.integers(4, 9, (rows, src_len))
    source[np.arange(src_len) >= source_lengths[:, None]] = 0
    target_in, target_out = draw.integers(4, 9, (2, rows, tgt_len))
    for target in (target_in, target_out):
        target[np.arange(tgt_len) >= target_lengths[:, None]] = 0
    return Batch(
        source,
        source_lengths,
        target_in,
        target_out,
        target_lengths,
        np.arange(rows),
        np.minimum(source, 6) if copies else None,
    )


some = st.lists(st.tuples(st.integers(1, 11), st.integers(1, 11)), min_size=1, max_size=11)


@given(st.integers(1, 10_000))
def test_sizes_are_rounded_up_by_less_than_a_quarter(size: int) -> None:
    assert size <= _round(size) < 1.25 * size
    assert _round(_round(size)) == _round(size)
    assert len({_round(n) for n in range(1, size + 1)}) <= 8 + 4 * max(0, size.bit_length() - 3)


@settings(deadline=None)
@given(some, st.booleans())
def test_a_batch_travels_as_one_array(lengths: list[tuple[int, int]], copies: bool) -> None:
    batch = batch_of(lengths, copies)
    there = to_device(batch, CPU)
    wanted = batch.source, batch.source_lengths, batch.target_in, batch.target_out
    for found, array in zip(there[:4], wanted, strict=True):
        assert np.array_equal(found, array)
    assert np.array_equal(there.mask.sum(dim=1), batch.target_lengths)
    assert (there.copies is None) == (batch.copies is None)
    if there.copies is not None:
        assert np.array_equal(there.copies, batch.copies)


@settings(max_examples=30, deadline=None)
@given(some, st.booleans())
def test_a_rounded_batch_has_the_same_loss_and_gradients(
    lengths: list[tuple[int, int]], copies: bool
) -> None:
    tree = {"model.attention.copy_tokens": copies, "model.encoder.layers": 2}
    tree |= {
        f"model.{side}.{size}": 8
        for side in ("encoder", "decoder")
        for size in ("embedding", "hidden")
    }
    torch.manual_seed(1)
    model = Seq2Seq(resolve(settings=tree).model, 9, 9).double().eval()
    batch = batch_of(lengths, copies)
    sizes = _Sizes.of(batch).rounded(usual=7)
    rounded = sizes.cut(torch.from_numpy(sizes.joined(batch)))
    found = []
    for there, behind in ((to_device(batch, CPU), False), (rounded, False), (rounded, True)):
        output = model(there.source, there.lengths, there.target_in, there.copies)
        with mock.patch("jumok.training.loss._leaves_out_behind", return_value=behind):
            loss = sequence_loss(model, output, there.target_out, there.mask, 0.1, there.copies)
        found.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for one, other, as_on_a_gpu in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(one, as_on_a_gpu, rtol=1e-9, atol=1e-12)


def test_a_usual_batch_is_not_given_rows() -> None:
    batch = batch_of([(9, 17)] * 9, False)
    assert _Sizes.of(batch).rounded(usual=9) == (9, 10, 20, False)
    assert _Sizes.of(batch).rounded(usual=64) == (10, 10, 20, False)


class FakeGraph:
    """In the place of torch.cuda.graph: what is learnt while it is open is not learnt."""

    error: RuntimeError | None = None

    def __init__(self, graph: object, pool: object, stream: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *raised: object) -> None:
        if self.error is not None:
            raise self.error


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> type[FakeGraph]:
    """Graphs without a GPU, to see when they are recorded and replayed."""
    for name in ("Stream", "device", "stream", "current_stream", "graph_pool_handle", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, mock.MagicMock())
    monkeypatch.setattr(torch.cuda, "graph", FakeGraph)
    monkeypatch.setattr(FakeGraph, "error", None)
    return FakeGraph


def learnt(batch: Tensors, weight: Any, given: Any) -> Tensor:
    return torch.tensor(float(len(batch.source)))


def test_a_shape_is_recorded_when_it_is_seen_again(recording: type[FakeGraph]) -> None:
    every = graphs.Graphs(torch.nn.Linear(1, 1), 64, tell=print)
    every._most = 2
    batches = [batch_of([(length, 2)], False) for length in (1, 2, 3, 4)]
    for turn, recorded in enumerate((0, 2, 2)):
        for batch in batches:
            every(learnt, batch, 1.0, None)
        assert every.recorded == recorded, turn
    assert torch.cuda.CUDAGraph().replay.call_count == 4  # two shapes, twice each
    every(learnt, batches[0], 1.0, 0.5)  # another function of the batch
    assert every.recorded == 2 and len(every._seen) == 5


def test_where_memory_is_too_small_updates_go_on_without_graphs(
    recording: type[FakeGraph],
) -> None:
    told = list[str]()
    every = graphs.Graphs(torch.nn.Linear(1, 1), 64, told.append)
    batch = batch_of([(1, 2)] * 3, False)
    every(learnt, batch, 1.0, None)
    recording.error = RuntimeError("CUDA error: out of memory\nmore")
    for _ in range(3):
        assert float(every(learnt, batch, 1.0, None)) == 3.0
    assert len(told) == 1 and "There is no memory for CUDA graphs" in told[0]
    assert every.recorded == 0


def test_what_cannot_be_recorded_ends_the_run_with_a_way_out(recording: type[FakeGraph]) -> None:
    every = graphs.Graphs(torch.nn.Linear(1, 1), 64, tell=print)
    batch = batch_of([(1, 2)], False)
    every(learnt, batch, 1.0, None)
    recording.error = RuntimeError("operation not permitted when stream is capturing")
    with pytest.raises(ConfigError, match=r"not permitted.*--set train\.fast=false"):
        every(learnt, batch, 1.0, None)


BASE = {**SIZES, "train.device": "cuda", "train.batch_size": 24, "train.max_epochs": 4}
MODELS = {
    "fed": {},
    "additive": {"model.attention.score": "additive"},
    "dropout": {"model.encoder.dropout": 0.3, "model.decoder.dropout": 0.3},
    "not fed, gru": {
        "model.attention.input_feeding": False,
        "model.encoder.cell": "gru",
        "model.decoder.cell": "gru",
    },
    "mid, covered": {
        "model.attention.timing": "mid",
        "model.attention.context": "rnn_input",
        "model.attention.input_feeding": False,
        "model.attention.coverage": True,
        "model.attention.score": "additive",
        "train.coverage_loss": 1.0,
    },
    "entmax15, local": {
        "model.attention.normaliser": "entmax15",
        "model.attention.scope": "local_p",
    },
    "sparsemax, heads": {"model.attention.normaliser": "sparsemax", "model.attention.heads": 2},
    "location": {"model.attention.score": "location"},
    "copying": {"model.attention.copy_tokens": True, "train.label_smoothing": 0.1},
    "own tokens": {
        "train.teacher_forcing.decay": "linear",
        "train.teacher_forcing.c": 0.01,
        "train.teacher_forcing.own": "sample",
    },
    "copying, own tokens": {
        "model.attention.copy_tokens": True,
        "train.teacher_forcing.decay": "linear",
        "train.teacher_forcing.c": 0.01,
    },
    "accumulated, averaged": {"train.accumulate": 2, "train.average_decay": 0.9},
    "bf16": {"train.precision": "bf16"},
    "tf32": {"train.precision": "tf32"},
    "no attention": {"model.attention.score": "none", "model.attention.input_feeding": False},
    "batches of tokens": {"train.batch_tokens": 200},
}
NOISE = ("dropout", "own tokens", "copying, own tokens")
"""What draws random numbers, which it does for padding too: other ones where there is more."""


def run(folder: Path, **options: Any) -> Path:
    folder.mkdir()
    pairs = write_pairs(folder / "pairs.tsv", backwards(letters(200, 2, 5)))
    tree = {**BASE, **options}
    jumok.train(pairs, output=folder / "run", settings=tree)
    return folder / "run"


class Watch:
    """How often graphs are replayed."""

    def __init__(self) -> None:
        self.replayed = 0

    def __enter__(self) -> Watch:
        replay = graphs._Graph.replay

        def counted(graph: Any, *arguments: Any) -> Tensor:
            self.replayed += 1
            return replay(graph, *arguments)

        self._patch = mock.patch.object(graphs._Graph, "replay", counted)
        self._patch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._patch.stop()


@on_a_gpu
@pytest.mark.parametrize("name", MODELS)
def test_graphs_learn_what_plain_roads_learn(name: str, tmp_path: Path) -> None:
    with Watch() as watch:
        graphed = run(tmp_path / "graphs", **MODELS[name])
    assert watch.replayed > 10
    plain = run(tmp_path / "plain", **MODELS[name], **{"train.fast": False})
    found, wanted = records(graphed), records(plain)
    assert len(found) == len(wanted) == 4
    error = {"bf16": 0.05, "tf32": 0.02}.get(name, 0.2 if name in NOISE else 0.002)
    for one, other in zip(found, wanted, strict=True):
        for what in ("train_loss", "dev_loss"):
            assert one[what] == pytest.approx(other[what], rel=error), (what, one, other)


@on_a_gpu
def test_a_language_model(tmp_path: Path) -> None:
    found = []
    (tmp_path / "texts.txt").write_text("\n".join(letters(300, 2, 9)), encoding="utf-8")
    for fast in (True, False):
        tree = {
            "text.target.kind": "char",
            "model.decoder.hidden": 32,
            "model.decoder.dropout": 0.0,
            "train.device": "cuda",
            "train.fast": fast,
            "train.max_epochs": 3,
        }
        with Watch() as watch:
            jumok.train_lm(tmp_path / "texts.txt", output=tmp_path / str(fast), settings=tree)
        assert bool(watch.replayed) == fast
        found.append([one["dev_loss"] for one in records(tmp_path / str(fast))])
    assert found[0] == pytest.approx(found[1], rel=0.002)


@on_a_gpu
def test_dropout_of_a_graph_is_new_every_time() -> None:
    """The same batch twice has two losses; and without noise one."""
    torch.manual_seed(1)
    for rate in (0.0, 0.5):
        tree = {"model.decoder.dropout": rate, "model.encoder.dropout": rate}
        model = Seq2Seq(resolve(settings=tree).model, 9, 9).cuda()

        def learn(batch: Tensors, weight: Any, given: Any, model: Seq2Seq = model) -> Tensor:
            output = model(batch.source, batch.lengths, batch.target_in)
            loss = sequence_loss(model, output, batch.target_out, batch.mask) * weight
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        every = graphs.Graphs(model, 2, tell=print)
        batch = batch_of([(3, 4), (5, 5)], False)
        losses = [float(every(learn, batch, 1.0, None)) for _ in range(6)]
        assert len({round(loss, 5) for loss in losses}) == (1 if rate == 0 else 6)


@on_a_gpu
def test_the_share_of_given_tokens_is_read_at_every_replay() -> None:
    torch.manual_seed(1)
    model = Seq2Seq(resolve().model, 9, 9).cuda()

    def learn(batch: Tensors, weight: Any, given: Any) -> Tensor:
        tokens = torch.rand(batch.target_in.shape, device="cuda") < given
        tokens[:, 0] = True
        own = OwnTokens(tokens, False, 3)
        output = model(batch.source, batch.lengths, batch.target_in, None, own)
        loss = sequence_loss(model, output, batch.target_out, batch.mask) * weight
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    model.eval()
    every, batch = graphs.Graphs(model, 2, tell=print), batch_of([(5, 9), (5, 9)], False)
    found = [float(every(learn, batch, 1.0, share)) for share in (0.0, 0.0, 0.0, 1.0, 1.0, 0.0)]
    assert found[0] == pytest.approx(found[1]) == pytest.approx(found[2]) == pytest.approx(found[5])
    assert found[3] == pytest.approx(found[4]) != pytest.approx(found[0])


@on_a_gpu
def test_a_run_that_was_stopped_ends_where_it_would_have(tmp_path: Path) -> None:
    straight = run(tmp_path / "straight", **MODELS["dropout"])
    with_stop = run(tmp_path / "stopped", **MODELS["dropout"], **{"train.max_epochs": 2})
    jumok.resume(with_stop, settings={"train.max_epochs": 4})
    one, other = (
        load_file(folder / "last" / "model.safetensors") for folder in (straight, with_stop)
    )
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], rtol=1e-3, atol=1e-4)


@on_a_gpu
def test_a_dry_run_times_recorded_updates(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.tsv", backwards(letters(200, 2, 5)))
    with Watch() as watch:
        _, plain = forecast_training(pairs, settings={**BASE, "train.fast": False})
        assert not watch.replayed
        _, found = forecast_training(pairs, settings=BASE)
    assert watch.replayed > 10
    assert found.seconds_per_update < plain.seconds_per_update


@on_a_gpu
def test_a_model_of_a_gpu_answers_alike_on_a_cpu(tmp_path: Path) -> None:
    trained = run(tmp_path / "run", **{"train.max_epochs": 20})
    texts = letters(50, 2, 5, seed=5)
    answers = [
        [one.text for one in jumok.load(trained, engine="torch", device=device).predict(texts)]
        for device in ("cpu", "cuda")
    ]
    assert answers[0] == answers[1]
    wanted = [target for _, target in backwards(texts)]
    right = sum(one == other for one, other in zip(answers[0], wanted, strict=True))
    assert right >= 40
