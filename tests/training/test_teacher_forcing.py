"""From teacher forcing to the model's own tokens: the shares, and the coins."""

import math

import pytest

from jumok.config import TeacherForcing, resolve
from jumok.errors import ConfigError
from jumok.training.schedule import given_share

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
    ],
)
def test_settings_that_say_nothing_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        resolve(settings={f"train.teacher_forcing.{k}": v for k, v in settings.items()})
