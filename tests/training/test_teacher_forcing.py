"""From teacher forcing to the model's own tokens: the shares, and the coins."""

import math

import pytest
import torch

from jumok.config import TeacherForcing, resolve
from jumok.errors import ConfigError
from jumok.training.schedule import given_share
from jumok.training.trainer import Trainer

pytestmark = pytest.mark.paper


def shares(count, **settings):
    config = TeacherForcing(**settings)
    return [given_share(config, step) for step in range(1, count + 1)]


def test_shares_are_those_of_bengio_2015():
    assert shares(3) == [1, 1, 1]
    assert shares(3, rate=0.25) == [0.25] * 3
    linear = shares(5, decay="linear", rate=0.9, c=0.2, least=0.25)
    assert linear == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.25])
    assert shares(4, decay="exponential", k=0.5) == [1, 0.5, 0.25, 0.125]
    assert shares(4, decay="exponential", k=0.5, least=0.2)[-1] == 0.2
    sigmoid = shares(3, decay="inverse_sigmoid", k=2)
    assert sigmoid == pytest.approx([2 / 3, 2 / (2 + math.exp(0.5)), 2 / (2 + math.e)])
    assert shares(100_000, decay="inverse_sigmoid", k=1)[-1] == pytest.approx(0, abs=1e-300)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"decay": "exponential", "k": 1.5}, "below 1, but"),
        ({"decay": "inverse_sigmoid", "k": 0.5}, "at least 1, but"),
        ({"k": 0.5}, "k=0.5 does nothing where"),
        ({"decay": "exponential", "c": 0.5}, "c=0.5 does nothing where"),
        ({"decay": "exponential", "rate": 0.5}, "rate=0.5 does nothing where"),
        ({"least": 0.5}, "least=0.5 does nothing where"),
        ({"own": "sample"}, "own=sample does nothing where every"),
    ],
)
def test_settings_that_say_nothing_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        resolve(settings={f"train.teacher_forcing.{k}": v for k, v in settings.items()})


def test_coins_fall_as_often_as_the_share_says():
    settings = {"decay": "linear", "c": 0.001, "own": "sample"}
    config = resolve(settings={f"train.teacher_forcing.{k}": v for k, v in settings.items()})
    trainer = Trainer.__new__(Trainer)  # of which the coins need this alone
    trainer.config, trainer.device = config, torch.device("cpu")
    target_in = torch.zeros(1_000, 101, dtype=torch.long)
    torch.manual_seed(1)
    for step, share in ((201, 0.8), (701, 0.3), (5_000, 0.0)):
        own = trainer._own_tokens(target_in, given_share(config.train.teacher_forcing, step))
        assert own.given[:, 0].all()  # `<s>`, before which there is nothing
        assert float(own.given[:, 1:].double().mean()) == pytest.approx(share, abs=0.01)
        by_place = own.given[:, 1:].double().mean(dim=0)
        assert (by_place - share).abs().max() < 0.1  # a coin for each token, not for each row
        assert own.sample
