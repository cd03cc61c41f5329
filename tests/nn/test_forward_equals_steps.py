"""Teacher forcing, by whichever road, equals the loop over `step`: values and gradients."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from jumok.config import ModelConfig, resolve
from jumok.errors import ConfigError
from jumok.nn import Seq2Seq
from jumok.nn.decoder import Decoder


def every_combination() -> list[ModelConfig]:
    """Where attention meets the decoder x cells x readouts, all that the config allows.

    The axes within attention (scope, normaliser, heads, past weights) and those of the stacks are
    drawn for each.
    """
    found, draw = [], random.Random(1)
    for score, timing, context, feeding, readout, cell in itertools.product(
        ["none", "peek", "dot", "scaled_dot", "general", "concat", "additive", "location"],
        ["previous", "mid", "current"],
        ["rnn_input", "concat", "attentional"],
        [True, False],
        ["linear", "maxout"],
        ["lstm", "gru", "rnn"],
    ):
        attends, looks = score not in ("none", "peek"), score not in ("none", "peek", "location")
        past = [(True, 0), (False, 1), (False, 3), (True, 3)]
        coverage, width = draw.choice(past) if looks and draw.random() < 0.3 else (False, 0)
        settings = {
            "model.attention.score": score,
            "model.attention.timing": timing,
            "model.attention.context": context,
            "model.attention.input_feeding": feeding,
            "model.attention.hidden": 6,
            "model.attention.window": 1,
            "model.attention.positions": 4,
            "model.attention.scope": draw.choice(["global", "local_m", "local_p"])
            if attends
            else "global",
            "model.attention.normaliser": draw.choice(["softmax", "sparsemax", "entmax15"])
            if attends
            else "softmax",
            "model.attention.heads": draw.choice([1, 1, 2]) if looks else 1,
            "model.attention.coverage": coverage,
            "model.attention.location_width": width,
            "model.encoder.hidden": 3,
            "model.encoder.embedding": 4,
            "model.encoder.layers": 2,
            "model.encoder.bidirectional_layers": draw.choice([None, 1]),
            "model.encoder.residual": draw.random() < 0.5,
            "model.encoder.layer_norm": draw.random() < 0.5,
            "model.decoder.hidden": 6,
            "model.decoder.embedding": 4,
            "model.decoder.layers": 2,
            "model.decoder.residual": draw.random() < 0.5,
            "model.decoder.layer_norm": draw.random() < 0.5,
            "model.decoder.bridge": draw.choice(["zero", "last", "mean", "learned"]),
            "model.decoder.readout": readout,
            "model.decoder.cell": cell,
        }
        if draw.random() < 0.5:
            joined = score == "peek" or (score != "none" and context == "concat")
            features = 3 if readout == "maxout" else 12 if joined else 6
            settings |= {"model.decoder.tied": True, "model.decoder.embedding": features}
        try:
            found.append(resolve(settings=settings).model)
        except ConfigError:
            continue
    return found


COMBINATIONS = every_combination()


def test_the_config_allows_what_the_table_allows() -> None:
    # scores with attention: previous x 3 contexts + mid x 1 + current x 2, fed or not; none and
    # peek: the axes of attention are idle but may stand at any value
    axes = {
        (m.attention.score, m.attention.timing, m.attention.context, m.attention.input_feeding)
        for m in COMBINATIONS
    }
    assert len(axes) == 6 * 6 * 2 + 2 * 9
    assert sum(m.decoder.tied for m in COMBINATIONS) > 100
    at_once = [m for m in COMBINATIONS if m.attention.attends and not Decoder(m, 11).feeds_back]
    assert len(at_once) >= 90  # else both sides of the comparison are one road


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("readout", ["linear", "maxout"])
def test_values_and_gradients(cell: str, readout: str) -> None:
    chosen = [m for m in COMBINATIONS if m.decoder.cell == cell and m.decoder.readout == readout]
    assert chosen
    for config in chosen:
        torch.manual_seed(1)
        model = Seq2Seq(config, 9, 11).double()
        source, lengths = torch.randint(4, 9, (3, 5)), torch.tensor([5, 1, 3])
        target_in = torch.randint(0, 11, (3, 4))
        by_forward = model.log_probs(source, lengths, target_in)
        by_steps = step_log_probs(model, source, lengths, target_in)
        torch.testing.assert_close(by_forward, by_steps)
        probe = torch.randn_like(by_forward)
        names, parameters = zip(*model.named_parameters(), strict=True)
        gradients = [
            torch.autograd.grad((value * probe).sum(), parameters, allow_unused=True)
            for value in (by_forward, by_steps)
        ]
        for name, one, other in zip(names, *gradients, strict=True):
            if one is None or other is None:
                assert one is other, name
            else:
                torch.testing.assert_close(one, other, msg=f"{name} of {config}")


def step_log_probs(
    model: Seq2Seq, source: torch.Tensor, lengths: torch.Tensor, target_in: torch.Tensor
) -> torch.Tensor:
    memory = model.encode(source, lengths)
    state = model.decoder.init_state(memory)
    steps = []
    for position in range(target_in.shape[1]):
        result = model.decoder.step(target_in[:, position], state, memory)
        state = result.state
        steps.append(result.logits.log_softmax(dim=-1))
        if result.weights is not None:
            total = result.weights.sum(dim=-1)
            torch.testing.assert_close(total, torch.ones_like(total))
    return torch.stack(steps, dim=1)
