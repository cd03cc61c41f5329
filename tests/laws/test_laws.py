"""What is promised of every preset, whatever it has learnt, checked on random models."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiny import ALPHABET, MECHANISMS, tiny_predictor

from jumok.bundle import write_bundle
from jumok.cli.streams import full_windows
from jumok.config import preset_names, resolve
from jumok.data import copy_row, source_ids, source_order
from jumok.errors import InputError
from jumok.prediction import Prediction
from jumok.predictor import Predictor, load
from jumok.search import Rules, Step, Task, beam_search, forbid, greedy_search, length_penalty
from jumok.text import BOS, EOS, PAD, UNK

PRESETS = [*(name for name in preset_names() if name != "language-model"), *MECHANISMS]
"""A language model reads no source: tests/predictor/test_language_model.py has its laws."""
PENALTIES = ["none", "average", "gnmt"]
texts = st.text(alphabet=ALPHABET, min_size=1, max_size=9)
outputs = st.lists(st.sampled_from("xyzwvu"), max_size=6).map(" ".join)
seeds = st.integers(0, 2**20)
quick = settings(max_examples=8, deadline=None)
each_preset = pytest.mark.parametrize("preset", PRESETS)


@each_preset
@quick
@given(seed=seeds, sources=st.lists(texts, min_size=1, max_size=7), beam=st.integers(1, 4))
def test_batch_mates_order_and_padding_change_nothing(
    preset: str, seed: int, sources: list[str], beam: int
) -> None:
    predictor = tiny_predictor(preset, seed)
    options = {"beam": beam, "n_best": min(2, beam)}
    alone = [predictor.predict(source, **options) for source in sources]
    together = predictor.predict(sources, **options)
    backwards = predictor.predict(sources[::-1], batch_size=50, **options)[::-1]
    for one, *others in zip(alone, together, backwards, strict=True):
        for other in others:
            assert [one.tokens, *(a.tokens for a in one.alternatives)] == [
                other.tokens,
                *(a.tokens for a in other.alternatives),
            ]
            assert one.score == pytest.approx(other.score, abs=1e-9)
            if one.attention is not None:
                np.testing.assert_allclose(one.attention, other.attention, atol=1e-9)


@each_preset
@settings(max_examples=2, deadline=None)
@given(seed=seeds, sources=st.lists(texts | st.just(""), min_size=4, max_size=8))
def test_windows_of_any_size_give_the_same_outputs(
    preset: str, seed: int, sources: list[str]
) -> None:
    predictor = tiny_predictor(preset, seed)
    whole, *others = [
        [p for window in full_windows(iter(sources), size) for p in predictor.predict(window)]
        for size in (1024, 1, 3)
    ]
    assert [p.source for p in whole] == sources
    for other in others:
        assert [p.tokens for p in other] == [p.tokens for p in whole]
        assert [p.score for p in other] == pytest.approx([p.score for p in whole], abs=1e-9)


@each_preset
@quick
@given(seed=seeds, source=texts, extra=st.integers(1, 6))
def test_more_padding_changes_no_log_probability(
    preset: str, seed: int, source: str, extra: int
) -> None:
    predictor = tiny_predictor(preset, seed)
    ids = source_ids(predictor.source_tokenizer.encode(source).ids, False)
    model, length = predictor.engine.model, torch.tensor([len(ids)])
    target = torch.tensor([[BOS, 5, 6, 4]])
    plain = model.log_probs(torch.tensor([ids]), length, target)
    padded = model.log_probs(torch.tensor([ids + [PAD] * extra]), length, target)
    torch.testing.assert_close(plain, padded, rtol=0, atol=1e-12)


@each_preset
@quick
@given(seed=seeds, sources=st.lists(texts, min_size=1, max_size=5))
def test_beam_1_is_greedy(preset: str, seed: int, sources: list[str]) -> None:
    predictor = tiny_predictor(preset, seed)
    start, task = _search_input(predictor, sources)
    greedy = greedy_search(predictor.engine.step, start, task)
    beams = beam_search(predictor.engine.step, start, task, beam=1)
    for [one], [other] in zip(greedy, beams, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
        assert one.score == pytest.approx(other.score)
        assert one.finished == other.finished


@each_preset
@pytest.mark.parametrize("penalty", PENALTIES)
@settings(max_examples=3, deadline=None)
@given(seed=seeds, source=texts)
def test_a_beam_wide_enough_is_exhaustive_search(
    preset: str, penalty: str, seed: int, source: str
) -> None:
    predictor = tiny_predictor(preset, seed)
    start, task = _search_input(predictor, [source])
    tokens, longest = predictor.engine.step(np.array([BOS]), start).log_probs.shape[1], 3
    allowed = [i for i in range(tokens) if i not in (PAD, BOS, UNK)]
    words = [i for i in allowed if i != EOS]
    complete = [[*body, EOS] for n in range(longest) for body in itertools.product(words, repeat=n)]
    config = predictor.config.search.model_copy(update={"length_penalty": penalty})
    divisor = length_penalty(config)
    scored = sorted(
        ((_forced(predictor, source, t) / float(divisor(np.array(len(t)))), t) for t in complete),
        reverse=True,
    )
    n_best = 5
    [found] = beam_search(
        predictor.engine.step,
        start,
        task._replace(max_lengths=np.array([longest]), penalty=divisor),
        beam=len(allowed) ** longest,
        n_best=n_best,
    )
    assert [h.tokens.tolist() for h in found] == [t for _, t in scored[:n_best]]
    assert [h.score for h in found] == pytest.approx([s for s, _ in scored[:n_best]])


@each_preset
@quick
@given(seed=seeds, source=texts, beam=st.integers(1, 4))
def test_scores_are_the_teacher_forced_log_probabilities(
    preset: str, seed: int, source: str, beam: int
) -> None:
    predictor = tiny_predictor(preset, seed)
    best = predictor.predict(source, beam=beam, n_best=beam)
    for prediction in [best, *best.alternatives]:
        if not _read_back(predictor, prediction):
            continue
        read = predictor.source_tokenizer.encode(source)
        ids = predictor._extended(predictor.target_tokenizer.encode(prediction.text), read)
        if prediction.tokens[-1:] == ["</s>"]:
            ids = [*ids, EOS]
        assert sum(prediction.token_log_probs) == pytest.approx(prediction.score)
        assert _forced(predictor, source, ids) == pytest.approx(prediction.score)


@each_preset
@quick
@given(
    seed=seeds,
    pairs=st.lists(st.tuples(texts, outputs), min_size=1, max_size=7),
    penalty=st.sampled_from(PENALTIES),
)
def test_forced_scores_do_not_depend_on_batch_mates_order_and_padding(
    preset: str, seed: int, pairs: list[tuple[str, str]], penalty: str
) -> None:
    predictor = tiny_predictor(preset, seed)
    options = {"length_penalty": penalty}
    alone = [predictor.score([pair], **options)[0] for pair in pairs]
    together = predictor.score(pairs, **options)
    backwards = predictor.score(pairs[::-1], batch_size=50, **options)[::-1]
    for (source, target), one, *others in zip(pairs, alone, together, backwards, strict=True):
        assert (one.source, one.text) == (source, target)
        assert one.tokens[-1] == "</s>"
        for other in others:
            assert (one.source, one.text, one.tokens) == (other.source, other.text, other.tokens)
            assert one.score == pytest.approx(other.score, abs=1e-9)
            np.testing.assert_allclose(one.token_log_probs, other.token_log_probs, atol=1e-9)
            if one.attention is not None:
                np.testing.assert_allclose(one.attention, other.attention, atol=1e-9)


@each_preset
@quick
@given(
    seed=seeds,
    sources=st.lists(texts, min_size=1, max_size=5),
    beam=st.integers(1, 4),
    penalty=st.sampled_from(PENALTIES),
)
def test_an_output_forced_again_has_the_score_it_was_predicted_with(
    preset: str, seed: int, sources: list[str], beam: int, penalty: str
) -> None:
    predictor = tiny_predictor(preset, seed)
    found = predictor.predict(sources, beam=beam, n_best=beam, length_penalty=penalty)
    every = [p for best in found for p in (best, *best.alternatives)]
    complete = [p for p in every if p.tokens[-1] == "</s>" and _read_back(predictor, p)]
    assume(complete)  # else all were cut, and a forced one never is
    forced = predictor.score([(p.source, p.text) for p in complete], length_penalty=penalty)
    for one, other in zip(complete, forced, strict=True):
        assert (one.text, one.tokens) == (other.text, other.tokens)
        assert one.score == pytest.approx(other.score, abs=1e-9)
        np.testing.assert_allclose(one.token_log_probs, other.token_log_probs, atol=1e-9)
        if one.attention is not None:
            np.testing.assert_allclose(one.attention, other.attention, atol=1e-9)


@each_preset
@pytest.mark.parametrize("penalty", PENALTIES)
@settings(max_examples=4, deadline=None)
@given(
    seed=seeds,
    sources=st.lists(texts, min_size=1, max_size=4),
    width=st.integers(2, 5),
    n_best=st.integers(1, 5),
    alpha=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_stopping_early_loses_nothing(
    preset: str,
    penalty: str,
    seed: int,
    sources: list[str],
    width: int,
    n_best: int,
    alpha: float,
) -> None:
    predictor = tiny_predictor(preset, seed)
    start, task = _search_input(predictor, sources)
    divisor = length_penalty(
        predictor.config.search.model_copy(
            update={"length_penalty": penalty, "length_alpha": alpha}
        )
    )

    def search() -> list[list[tuple[list[int], float]]]:
        found = beam_search(
            predictor.engine.step,
            start,
            task._replace(penalty=divisor),
            width,
            min(n_best, width),
        )
        return [[(h.tokens.tolist(), h.score) for h in row] for row in found]

    early = search()
    with _never_settled():
        late = search()
    for row, other in zip(early, late, strict=True):
        assert [tokens for tokens, _ in row] == [tokens for tokens, _ in other]
        assert [s for _, s in row] == pytest.approx([s for _, s in other], abs=1e-9)


@each_preset
@quick
@given(seed=seeds, sources=st.lists(texts, min_size=1, max_size=5), beam=st.integers(1, 3))
def test_attention_rows_sum_to_1_over_real_tokens(
    preset: str, seed: int, sources: list[str], beam: int
) -> None:
    predictor = tiny_predictor(preset, seed)
    attends = predictor.config.model.attention.attends
    for prediction in predictor.predict(sources, beam=beam, n_best=beam):
        for p in [prediction, *prediction.alternatives]:
            assert (p.attention is not None) == attends
            assert len(p.token_log_probs) == len(p.tokens)
            if p.attention is not None:
                # a column for every real token and none for padding, so sum 1 means 0 elsewhere
                assert p.attention.shape == (len(p.tokens), len(p.source_tokens))
                np.testing.assert_allclose(p.attention.sum(axis=1), 1.0, atol=1e-9)
                assert (p.attention >= 0).all()


@each_preset
def test_weights_on_padding_are_exactly_zero(preset: str) -> None:
    predictor = tiny_predictor(preset, 1)
    attention = predictor.config.model.attention
    if not attention.attends:
        pytest.skip("a preset without attention has no weights")
    start, _ = _search_input(predictor, ["a", "abcde"])
    step = predictor.engine.step(np.array([BOS, BOS]), start)
    assert step.evidence.attention is not None
    assert (step.evidence.attention[0, ..., 2:] == 0.0).all()  # "a" and </s> are real
    if attention.normaliser == "softmax":
        assert (step.evidence.attention[0, ..., :2] > 0.0).all()


@each_preset
@settings(max_examples=3, deadline=None)
@given(seed=seeds, sources=st.lists(texts, min_size=1, max_size=4))
def test_save_load_predict_is_identical(
    preset: str, seed: int, sources: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    predictor = tiny_predictor(preset, seed)
    predictor.engine.model.float()  # as models are stored
    path: Path = tmp_path_factory.mktemp("bundle") / "model"
    arrays = {k: v.numpy() for k, v in predictor.engine.model.state_dict().items()}
    tokenizers = (predictor.source_tokenizer, predictor.target_tokenizer)
    write_bundle(path, predictor.config, *tokenizers, arrays, {})
    for before, after in zip(
        predictor.predict(sources, beam=2), load(path).predict(sources, beam=2), strict=True
    ):
        assert before.to_dict() == after.to_dict()


@pytest.mark.parametrize("preset", ["sutskever2014", "lecture", "luong2015"])
@quick
@given(seed=seeds, source=texts)
def test_reversing_the_source_is_reading_the_mirror_image(
    preset: str, seed: int, source: str
) -> None:
    predictor = tiny_predictor(preset, seed)
    assert predictor.config.data.reverse_source
    plain = Predictor(
        predictor.engine,
        predictor.source_tokenizer,
        predictor.target_tokenizer,
        resolve(base=predictor.config.model_dump(), settings={"data.reverse_source": False}),
    )
    one, other = predictor.predict(source), plain.predict(source[::-1])
    assert one.tokens == other.tokens
    if one.attention is not None:  # columns stand in text order, </s> last
        np.testing.assert_allclose(one.attention[:, :-1], other.attention[:, :-1][:, ::-1])


class Table:
    """A state without anything in it."""

    def select(self, rows: np.ndarray) -> Table:
        return self


def test_searches_over_a_hand_made_table() -> None:
    table = np.log(np.array([[0.1, 0.1, 0.3, 0.1, 0.4]]))

    def step(tokens: np.ndarray, state: Table) -> Step:
        return Step(np.repeat(table, len(tokens), axis=0), state)

    task = _task(3, np.array([True, True, False, True, False]))
    [[hypothesis]] = greedy_search(step, Table(), task)
    assert hypothesis.tokens.tolist() == [4, 4, 4]
    assert not hypothesis.finished
    # complete outputs: </s> 0.3, then 4 </s> 0.12; a third place carries 4 4 along
    [found] = beam_search(step, Table(), task, 3, 2)
    assert [h.tokens.tolist() for h in found] == [[EOS], [4, EOS]]
    assert [np.exp(h.score) for h in found] == pytest.approx([0.3, 0.12])


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_search_stops_as_soon_as_nothing_can_change(penalty: str) -> None:
    table, steps = np.log(np.array([[0.01, 0.01, 0.8, 0.01, 0.17]])), 0

    def step(tokens: np.ndarray, state: Table) -> Step:
        nonlocal steps
        steps += 1
        return Step(np.repeat(table, len(tokens), axis=0), state)

    task = _task(20, np.array([True, True, False, True, False]), penalty)

    def search() -> list[int]:
        [[best]] = beam_search(step, Table(), task, 4, 1)
        return best.tokens.tolist()

    assert search() == [EOS]
    # 0.17 is behind 0.8 for ever, unless it may be divided by a length of 20: then 0.17 ** 3 is
    assert steps == {"none": 1, "average": 3, "gnmt": 1}[penalty]
    steps = 0
    with _never_settled():
        assert search() == [EOS]
    assert steps == 4  # each has completed one hypothesis, so the beam has shrunk to nothing


@contextmanager
def _never_settled() -> Iterator[None]:
    """Beam search without its early stop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "jumok.search.beam._Done.settled",
            lambda done, cell, *rest: np.zeros(len(cell), dtype=bool),
        )
        yield


def _search_input(predictor: Predictor, sources: list[str]) -> tuple:
    encodings = predictor.source_tokenizer.encode_batch(sources)
    source, lengths, copies = predictor._sources(encodings)
    state = predictor.engine.start(source, lengths, copies)
    rules = Rules([forbid(predictor._forbidden)])
    return state, Task(lengths + 3, length_penalty(predictor.config.search), rules)


def _task(longest: int, forbidden: np.ndarray, penalty: str = "none") -> Task:
    config = resolve(settings={"search.length_penalty": penalty}).search
    return Task(np.array([longest]), length_penalty(config), Rules([forbid(forbidden)]))


def _read_back(predictor: Predictor, prediction: Prediction) -> bool:
    """Whether the text is cut into the tokens that it was written with. Copied ones need not be:
    here the source is cut into characters, and the output at spaces."""
    tokens = predictor.target_tokenizer.encode(prediction.text).tokens
    same = tokens == [token for token in prediction.tokens if token != "</s>"]
    assert same or predictor.config.model.attention.copy_tokens
    return same


def _forced(predictor: Predictor, source: str, ids: list[int]) -> float:
    """Log-probability of a target by one teacher-forced pass."""
    reverse = predictor.config.data.reverse_source
    encoding = predictor.source_tokenizer.encode(source)
    read, copies = source_ids(encoding.ids, reverse), None
    if predictor._copying is not None:
        row = copy_row(predictor._copying.source(encoding)[0], reverse)
        copies = torch.tensor([row])
    fed = [i if i < predictor.engine.target_vocab else UNK for i in ids[:-1]]
    log_probs = predictor.engine.model.log_probs(
        torch.tensor([read]), torch.tensor([len(read)]), torch.tensor([[BOS, *fed]]), copies
    )
    return float(log_probs[0, range(len(ids)), ids].sum().detach())


@settings(max_examples=3, deadline=None)
@given(seed=seeds, sources=st.lists(texts, min_size=1, max_size=4), beam=st.integers(1, 3))
def test_every_head_is_reported_and_attention_is_their_mean(
    seed: int, sources: list[str], beam: int
) -> None:
    predictor = tiny_predictor("luong2015", seed, {"model.attention.heads": 4})
    reverse = predictor.config.data.reverse_source
    for prediction in predictor.predict(sources, beam=beam):
        heads = prediction.attention_heads
        assert heads is not None
        assert heads.shape == (4, len(prediction.tokens), len(prediction.source_tokens))
        np.testing.assert_allclose(heads.sum(axis=2), 1.0, atol=1e-9)
        np.testing.assert_allclose(heads.mean(axis=0), prediction.attention, atol=1e-12)
        one = prediction.attention_map(head=2)
        np.testing.assert_allclose(one.weights, heads[1], atol=1e-12)
        ids = source_ids(predictor.source_tokenizer.encode(prediction.source).ids, reverse)
        memory = predictor.engine.model.encode(torch.tensor([ids]), torch.tensor([len(ids)]))
        decoder = predictor.engine.model.decoder
        first = decoder.step(torch.tensor([BOS]), decoder.init_state(memory), memory).weights
        order = source_order(len(ids) - 1, reverse)
        np.testing.assert_allclose(heads[:, 0], first[0].detach()[:, order], atol=1e-9)
        with pytest.raises(InputError, match="from 1 to 4, but 5 came"):
            prediction.attention_map(head=5)
