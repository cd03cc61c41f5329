"""Scheduled sampling: what is read where no token is given."""

from __future__ import annotations

import pytest
import torch
from test_forward_equals_steps import COMBINATIONS

from jumok.config import resolve
from jumok.nn import OwnTokens, Seq2Seq

pytestmark = pytest.mark.paper
UNKNOWN = 3


def model_of(config, seed: int = 1) -> Seq2Seq:
    torch.manual_seed(seed)
    model = Seq2Seq(config, 9, 7).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return model


SOURCE = torch.tensor([[4, 5, 6, 8, 2], [4, 8, 2, 0, 0], [7, 2, 0, 0, 0]])
LENGTHS = torch.tensor([5, 3, 2])
TARGET = torch.tensor([[1, 4, 5, 6], [1, 6, 4, 4], [1, 5, 5, 6]])
COPYING = resolve(
    settings={"model.attention.copy_tokens": True, "model.decoder.embedding": 4}
).model


def by_steps(model, memory, given):
    """The tokens that are read, by a loop over `step`, and what it gives."""
    state, read, logits = model.decoder.init_state(memory), [], []
    tokens = TARGET[:, 0]
    for t in range(TARGET.shape[1]):
        if t:
            own = model.decoder.log_probs(made, memory).argmax(dim=-1)
            own = torch.where(own >= 7, UNKNOWN, own)
            tokens = torch.where(given[:, t], TARGET[:, t], own)
        made = model.decoder.step(tokens, state, memory)
        state = made.state
        read.append(tokens)
        logits.append(made.logits)
    return torch.stack(read, dim=1), torch.stack(logits, dim=1)


@pytest.mark.parametrize("config", COMBINATIONS[::23], ids=lambda c: "")
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_it_reads_its_most_probable_token(config, share):
    model = model_of(config).eval()
    memory = model.encode(SOURCE, LENGTHS)
    given = torch.rand(TARGET.shape) < share
    given[:, 0] = True
    read, logits = by_steps(model, memory, given)
    output = model.decoder(TARGET, memory, OwnTokens(given, False, UNKNOWN))
    torch.testing.assert_close(model.decoder.logits(output.features), logits)
    # and no gradient goes through the choice: it is that of being given these tokens
    parameters = list(model.parameters())
    one, other = (
        torch.autograd.grad(
            model.decoder.logits(found.features).square().sum(), parameters, allow_unused=True
        )
        for found in (
            model(SOURCE, LENGTHS, TARGET, own=OwnTokens(given, False, UNKNOWN)),
            model(SOURCE, LENGTHS, read),
        )
    )
    for ours, theirs in zip(one, other, strict=True):
        if theirs is None:
            assert ours is None
        else:
            torch.testing.assert_close(ours, theirs)


def test_a_copied_token_is_read_as_unknown():
    copies = torch.tensor([[7, 8, 4, 9, 2], [7, 8, 2, 0, 0], [7, 2, 0, 0, 0]])
    for seed in range(20):
        model = model_of(COPYING, seed).eval()
        memory = model.encode(SOURCE, LENGTHS, copies)
        given = torch.zeros(TARGET.shape, dtype=torch.bool)
        given[:, 0] = True
        read, logits = by_steps(model, memory, given)
        output = model.decoder(TARGET, memory, OwnTokens(given, False, UNKNOWN))
        torch.testing.assert_close(model.decoder.logits(output.features), logits)
        if (read[:, 1:] == UNKNOWN).any():
            return
    pytest.fail("no model has copied anything")


def test_drawn_tokens_come_as_often_as_they_are_probable():
    """A language model that forgets: its readout is a bias alone, its state the token it read."""
    config = resolve(["language-model"], {
        "model.decoder.cell": "rnn", "model.decoder.layers": 1,
        "model.decoder.embedding": 4, "model.decoder.hidden": 4,
    }).model  # fmt: skip
    model = Seq2Seq(config, 4, 4).double().eval()
    wanted = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.decoder.embedding.table.weight.copy_(torch.eye(4))
        layer = dict(model.decoder.named_parameters())["rnn.layers.0.weight_ih_l0"]
        layer.copy_(torch.eye(4))
        model.decoder.readout.bias.copy_(wanted.log())
    rows = 20_000
    target = torch.zeros(rows, 2, dtype=torch.long)
    given = torch.tensor([[True, False]]).expand(rows, 2)
    memory = model.encode(target[:, :1], torch.ones(rows, dtype=torch.long))
    torch.manual_seed(3)
    output = model.decoder(target, memory, OwnTokens(given, True, UNKNOWN))
    read = output.features[:, 1].argmax(dim=-1)
    counts = torch.bincount(read, minlength=4) / rows
    torch.testing.assert_close(counts.double(), wanted, atol=0.015, rtol=0)
