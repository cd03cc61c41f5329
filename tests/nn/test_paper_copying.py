"""The pointer-generator against NumPy, written from See et al. 2017, eq. 8-9, word by word."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jumok.config import resolve
from jumok.nn import Seq2Seq
from jumok.nn.copying import mixture, target_log_prob

VOCAB = 7
COPIES = [[4, 8, 4, 2], [7, 2, 0, 0]]
"""Tokens 7 and 8 are beyond the vocabulary; the first source has token 4 twice."""


def build(**axes: object) -> Seq2Seq:
    torch.manual_seed(5)
    settings = {
        "model.encoder.embedding": 3,
        "model.encoder.hidden": 2,
        "model.decoder.embedding": 3,
        "model.decoder.hidden": 4,
        "model.attention.copy_tokens": True,
        **{f"model.attention.{key}": value for key, value in axes.items()},
    }
    model = Seq2Seq(resolve(settings=settings).model, 9, VOCAB).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"input_feeding": False, "context": "concat"},
        {"timing": "mid", "context": "rnn_input", "score": "additive"},
        {"heads": 2},
    ],
)
def test_mixture_of_the_whole_model(axes: dict[str, object]) -> None:
    model = build(**axes)
    source, lengths = torch.tensor([[4, 5, 6, 2], [7, 2, 0, 0]]), torch.tensor([4, 2])
    copies, tokens = torch.tensor(COPIES), [1, 4, 6]
    target_in = torch.tensor([tokens, tokens])
    ours = model.log_probs(source, lengths, target_in, copies).detach().numpy()
    assert ours.shape == (2, 3, 9)
    w = {name: p.detach().numpy() for name, p in model.named_parameters()}
    memory = model.encode(source, lengths, copies)
    state = model.decoder.init_state(memory)
    for t, y in enumerate(tokens):
        step = model.decoder.step(torch.tensor([y, y]), state, memory)
        state = step.state
        for b in range(2):
            x = w["decoder.embedding.table.weight"][y]
            s = state.rnn.hidden[b, -1].detach().numpy()
            c = step.context[b].detach().numpy()
            w_c, w_s, w_x = np.split(w["decoder.switch.weight"][0], [4, 8])
            p_gen = 1 / (1 + np.exp(-(w_c @ c + w_s @ s + w_x @ x + w["decoder.switch.bias"][0])))
            logits = step.logits[b].detach().numpy()
            p_vocab = np.exp(logits) / np.exp(logits).sum()
            a = step.weights[b].detach().numpy().reshape(-1, 4).mean(axis=0)
            for word in range(9):
                generated = p_vocab[word] if word < VOCAB else 0.0
                copied = sum(a[i] for i in range(lengths[b]) if COPIES[b][i] == word)
                np.testing.assert_allclose(
                    np.exp(ours[b, t, word]), p_gen * generated + (1 - p_gen) * copied, rtol=1e-9
                )
            assert np.exp(ours[b, t]).sum() == pytest.approx(1.0)


def test_the_probability_of_a_target_is_that_of_the_mixture() -> None:
    torch.manual_seed(0)
    logits, switch = torch.randn(6, VOCAB, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    weights = torch.rand(6, 4, dtype=torch.float64).softmax(dim=-1)
    copies, target = torch.tensor([COPIES[0]] * 6), torch.tensor([4, 8, 2, 5, 0, 6])
    every = mixture(logits, switch, weights, copies, 9)
    one = target_log_prob(logits.log_softmax(dim=-1), switch, weights, copies, target, 3)
    torch.testing.assert_close(one, every[torch.arange(6), target])


def test_gradients_also_where_one_of_the_two_ways_is_closed() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, VOCAB, dtype=torch.float64, requires_grad=True)
    switch = torch.randn(3, dtype=torch.float64, requires_grad=True)
    scores = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    # in the source and the vocabulary, in the source alone, in the vocabulary alone
    copies, target = torch.tensor([COPIES[0]] * 3), torch.tensor([4, 8, 5])

    def loss(logits: torch.Tensor, switch: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        log_vocab, weights = logits.log_softmax(dim=-1), scores.softmax(dim=-1)
        return target_log_prob(log_vocab, switch, weights, copies, target, 3)

    assert torch.autograd.gradcheck(loss, (logits, switch, scores))
    extreme = torch.tensor([200.0, -200.0, -200.0], dtype=torch.float64, requires_grad=True)
    loss(logits, extreme, scores).sum().backward()
    assert extreme.grad is not None
    assert extreme.grad.isfinite().all()


@pytest.mark.parametrize("target", [8, 4], ids=["beyond the vocabulary", "in it"])
@pytest.mark.parametrize("below", [80.0, 87.5, 88.0, 90.0, 95.0, 103.0, 110.0])
def test_gradients_where_hardly_any_weight_rests_on_what_is_copied(
    target: int, below: float
) -> None:
    """float32 has numbers down to e^-103, and those below e^-87.3 have no finite inverse."""
    logits, switch = torch.zeros(1, VOCAB), torch.zeros(1, requires_grad=True)
    scores = torch.tensor([[0.0, -below]], requires_grad=True)
    found = target_log_prob(
        logits.log_softmax(dim=-1),
        switch,
        scores.softmax(dim=-1),
        torch.tensor([[5, target]]),
        torch.tensor([target]),
        3,
    )
    found.sum().backward()
    assert scores.grad.isfinite().all()
    assert switch.grad.isfinite().all()


def test_a_token_that_only_copying_could_write_and_no_weight_rests_on_is_unknown() -> None:
    torch.manual_seed(0)
    log_vocab = torch.randn(1, VOCAB, dtype=torch.float64).log_softmax(dim=-1).requires_grad_()
    switch = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    found = target_log_prob(
        log_vocab, switch, weights, torch.tensor([COPIES[0]]), torch.tensor([8]), 3
    )
    assert float(found.detach()) == pytest.approx(float(log_vocab[0, 3].detach()) + np.log(0.5))
    found.sum().backward()
    assert log_vocab.grad[0, 3] == 1
    assert switch.grad.isfinite().all()


def test_what_cannot_be_copied_is_generated_as_before() -> None:
    model = build()
    source, lengths, target_in = torch.tensor([[4, 2]]), torch.tensor([2]), torch.tensor([[1, 4]])
    plain = model.log_probs(source, lengths, target_in)
    assert plain.shape == (1, 2, VOCAB)
    torch.testing.assert_close(plain.exp().sum(dim=-1), torch.ones(1, 2, dtype=torch.float64))
