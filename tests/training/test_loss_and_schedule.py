"""The objective against formulas written out here, and the learning rate against hand values."""

import math

import numpy as np
import pytest
import torch

from jumok.config import Config, TrainConfig, resolve
from jumok.nn import DecoderOutput, Seq2Seq, initialise
from jumok.nn.masks import length_mask
from jumok.training.loss import coverage_loss, sequence_loss
from jumok.training.optimizer import make_optimizer, optimizer_arrays, restore_optimizer
from jumok.training.schedule import learning_rate_factor

PAD, BOS, EOS = 0, 1, 2
VOCAB = 7


def model(score="general", **settings):
    small = {
        "model.encoder.embedding": 3,
        "model.encoder.hidden": 4,
        "model.decoder.embedding": 3,
        "model.decoder.hidden": 5,
        "model.attention.score": score,
        **settings,
    }
    torch.manual_seed(3)
    network = Seq2Seq(resolve(settings=small).model, 6, VOCAB)
    initialise(network)
    return network.double().eval()


def batch(pairs, width=0):
    """Sources, lengths, decoder inputs and answers; ``width`` more columns of padding."""
    longest = [max(len(p[i]) for p in pairs) + 1 + width for i in (0, 1)]
    source, fed, answer = (
        torch.zeros(len(pairs), longest[0 if i == 0 else 1], dtype=torch.long) for i in range(3)
    )
    for row, (left, right) in enumerate(pairs):
        source[row, : len(left) + 1] = torch.tensor([*left, EOS])
        fed[row, : len(right) + 1] = torch.tensor([BOS, *right])
        answer[row, : len(right) + 1] = torch.tensor([*right, EOS])
    lengths = torch.tensor([[len(a) + 1, len(b) + 1] for a, b in pairs])
    return source, lengths[:, 0], fed, answer, lengths[:, 1]


def loss(network, pairs, smoothing=0.0, width=0):
    source, lengths, fed, answer, target_lengths = batch(pairs, width)
    mask = length_mask(target_lengths, answer.shape[1])
    features = network(source, lengths, fed).features
    return sequence_loss(network, DecoderOutput(features, None), answer, mask, smoothing)


PAIRS = [([4, 5], [3, 4, 5, 6]), ([5], [6]), ([4, 4, 5, 3], [5, 3])]


@pytest.mark.paper
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_the_loss_is_its_formula(smoothing):
    """Szegedy et al. 2016, section 7, token by token in NumPy."""
    network = model()
    source, lengths, fed, answer, target_lengths = batch(PAIRS)
    logits = network.decoder.logits(network(source, lengths, fed).features).detach().numpy()
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    terms = [
        -(1 - smoothing) * log_probs[row, t, answer[row, t]]
        - smoothing / VOCAB * log_probs[row, t].sum()
        for row, length in enumerate(target_lengths.tolist())
        for t in range(length)
    ]
    assert len(terms) == 5 + 2 + 3
    found = float(loss(network, PAIRS, smoothing).detach())
    assert found == pytest.approx(np.mean(terms), rel=1e-12)


def test_the_loss_is_torchs_for_every_sentence():
    network = model("additive")
    for pair in PAIRS:
        source, lengths, fed, answer, _ = batch([pair])
        logits = network.decoder.logits(network(source, lengths, fed).features)
        expected = torch.nn.functional.cross_entropy(logits[0], answer[0])
        torch.testing.assert_close(loss(network, [pair]), expected, rtol=1e-12, atol=0)


def test_coverage_loss_is_that_of_the_paper():
    """See et al. 2017, eq. 12: covloss_t = sum_i min(a_t[i], c_t[i]), over real steps t."""
    weights = torch.rand(2, 4, 3, dtype=torch.float64).softmax(dim=-1)
    lengths = [4, 2]
    expected = []
    for row, length in enumerate(lengths):
        c = np.zeros(3)
        for t in range(length):
            a = weights[row, t].numpy()
            expected.append(np.minimum(a, c).sum())
            c += a
    mask = length_mask(torch.tensor(lengths), 4)
    assert float(coverage_loss(weights, mask)) == pytest.approx(np.mean(expected))
    weights.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: coverage_loss(w, mask), (weights,))


@pytest.mark.parametrize("score", ["none", "peek", "general", "additive"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_padding_changes_neither_loss_nor_gradient(score, smoothing):
    settings = {"model.attention.input_feeding": score in ("general", "additive")}
    network = model(score, **settings)
    parameters = list(network.parameters())
    together = loss(network, PAIRS, smoothing)
    tokens = [len(target) + 1 for _, target in PAIRS]
    alone = [loss(network, [pair], smoothing) for pair in PAIRS]
    mean = sum(n * one for n, one in zip(tokens, alone, strict=True)) / sum(tokens)
    padded = loss(network, PAIRS, smoothing, width=4)
    for other in (mean, padded):
        torch.testing.assert_close(other, together, rtol=1e-12, atol=0)
        first, second = (
            torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
            for value in (together, other)
        )
        for one, two in zip(first, second, strict=True):
            assert (one is None) == (two is None)
            if one is not None:
                torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-14)


# kind, warm-up: factors after given updates of 10 in all
SCHEDULES = [
    ("constant", 0, {1: 1, 5: 1, 10: 1}),
    ("plateau", 0, {1: 1, 10: 1}),
    ("constant", 4, {1: 0.25, 2: 0.5, 4: 1, 5: 1, 10: 1}),
    ("linear", 0, {1: 0.9, 5: 0.5, 10: 0, 12: 0}),
    ("linear", 2, {1: 0.5, 2: 1, 4: 0.75, 6: 0.5, 10: 0}),
    ("cosine", 0, {5: 0.5, 10: 0, 12: 0}),
    ("cosine", 2, {1: 0.5, 2: 1, 4: (2 + math.sqrt(2)) / 4, 6: 0.5, 10: 0}),
    ("inverse_sqrt", 1, {1: 1, 4: 0.5, 9: 1 / 3}),
    ("inverse_sqrt", 4, {2: 0.5, 4: 1, 9: 2 / 3, 16: 0.5}),
]


@pytest.mark.parametrize(("kind", "warmup", "factors"), SCHEDULES)
def test_schedules_by_hand(kind, warmup, factors):
    config = TrainConfig(schedule=kind, warmup_steps=warmup)
    for step, factor in factors.items():
        assert learning_rate_factor(config, step, 10) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_an_optimizer_goes_on_from_its_arrays_bit_by_bit(kind):
    config = Config(train=TrainConfig(optimizer=kind, weight_decay=0.01, learning_rate=0.1)).train

    def update(network, optimizer):
        optimizer.zero_grad()
        loss(network, PAIRS).backward()
        optimizer.step()

    first = model()
    optimizer = make_optimizer(first, config)
    for _ in range(3):
        update(first, optimizer)
    arrays = {k: v.clone() for k, v in optimizer_arrays(first, optimizer).items()}
    names = {name for name, _ in first.named_parameters()}
    if kind == "sgd":
        assert arrays == {}
    else:
        assert {k.split(".", 1)[1].rsplit(".", 1)[0] for k in arrays} == names
    second = model()
    second.load_state_dict(first.state_dict())
    again = make_optimizer(second, config)
    restore_optimizer(second, again, arrays)
    for _ in range(2):
        update(first, optimizer)
        update(second, again)
    for (name, one), two in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two), name
    # and without the arrays it would not
    if kind != "sgd":
        third = model()
        third.load_state_dict(second.state_dict())
        before = make_optimizer(third, config)
        update(second, again)
        update(third, before)
        assert any(
            not torch.equal(one, two)
            for one, two in zip(second.parameters(), third.parameters(), strict=True)
        )


@pytest.mark.parametrize("heads", [1, 2])
def test_coverage_loss_of_bfloat16_weights_is_summed_in_float32(heads):
    """bfloat16 keeps 8 bits: of a sum of 60 weights, the last are lost."""
    settings = {"model.attention.coverage": True, "model.attention.heads": heads,
                "model.decoder.hidden": 8}  # fmt: skip
    network = model(**settings).float()
    source, fed = torch.full((2, 12), 4), torch.full((2, 60), 3)
    mask = length_mask(torch.tensor([60, 31]), 60)
    with torch.autocast("cpu", torch.bfloat16):
        weights = network(source, torch.tensor([12, 9]), fed).weights
        found = coverage_loss(weights, mask)
    assert weights.dtype == torch.bfloat16
    assert found.dtype == torch.float32
    a = weights.detach().float().numpy().astype(np.float64).reshape(2, heads, 60, 12).mean(axis=1)
    overlaps = [
        np.minimum(a[row, t], a[row, :t].sum(axis=0)).sum()
        for row, length in enumerate((60, 31))
        for t in range(length)
    ]
    assert float(found.detach()) == pytest.approx(np.mean(overlaps), rel=1e-6)


@pytest.mark.paper
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_by_its_algorithm(kind: str, fast: bool) -> None:
    """Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2, lines 6 and 12."""
    alpha, decay, (beta1, beta2), epsilon = 0.05, 0.1, (0.9, 0.999), 1e-8
    settings = TrainConfig(optimizer=kind, learning_rate=alpha, weight_decay=decay, fast=fast)
    network = model()
    optimizer = make_optimizer(network, settings)
    theta = {name: p.detach().numpy().copy() for name, p in network.named_parameters()}
    m, v = ({name: np.zeros_like(array) for name, array in theta.items()} for _ in range(2))
    for t in range(1, 6):
        optimizer.zero_grad()
        loss(network, PAIRS).backward()
        optimizer.step()
        for name, parameter in network.named_parameters():
            g = parameter.grad.numpy()
            if kind == "adam":
                g = g + decay * theta[name]
            else:
                theta[name] -= alpha * decay * theta[name]
            m[name] = beta1 * m[name] + (1 - beta1) * g
            v[name] = beta2 * v[name] + (1 - beta2) * g**2
            m_hat, v_hat = m[name] / (1 - beta1**t), v[name] / (1 - beta2**t)
            theta[name] -= alpha * m_hat / (np.sqrt(v_hat) + epsilon)
            np.testing.assert_allclose(
                parameter.detach(), theta[name], rtol=1e-9, atol=1e-12, err_msg=name
            )


def test_a_limit_in_minutes_ends_the_schedule_too() -> None:
    config = TrainConfig(schedule="linear", max_minutes=2.0)
    assert learning_rate_factor(config, 10, 1000, seconds=90.0) == pytest.approx(0.25)
    assert learning_rate_factor(config, 900, 1000, seconds=6.0) == pytest.approx(0.1)
    assert learning_rate_factor(config, 10, 1000, seconds=500.0) == 0.0
