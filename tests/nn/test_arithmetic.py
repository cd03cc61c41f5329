"""Which road products take, and that all of them compute the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from jumok.config import resolve
from jumok.nn import Seq2Seq, arithmetic, initialise
from jumok.nn.arithmetic import cpu_arithmetic, wide_product


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)
    arithmetic._fast_is_exact.cache_clear()


def test_a_wide_product_is_onednns_and_as_exact() -> None:
    x, weight = torch.randn(2, 40, 64), torch.randn(1001, 64)
    with wide_product(x, weight):
        assert torch.get_float32_matmul_precision() == "medium"
        made = x @ weight.t()
    assert torch.get_float32_matmul_precision() == "highest"
    exact = x.double() @ weight.double().t()
    assert (made - exact).abs().max() < 1e-5 * exact.abs().max()
    with pytest.raises(KeyError), wide_product(x, weight):
        raise KeyError
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_small_product_and_what_somebody_has_chosen_are_left_alone() -> None:
    x, weight = torch.randn(2, 64), torch.randn(1001, 64)
    with wide_product(x, weight):
        assert torch.get_float32_matmul_precision() == "highest"
    with wide_product(x[:0], weight):
        assert torch.get_float32_matmul_precision() == "highest"
    torch.set_float32_matmul_precision("high")
    with wide_product(torch.randn(900, 64), weight):
        assert torch.get_float32_matmul_precision() == "high"


def test_a_road_that_rounds_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "_product_error", lambda: 4e-3)  # that of bfloat16
    arithmetic._fast_is_exact.cache_clear()
    with wide_product(torch.randn(900, 64), torch.randn(1001, 64)):
        assert torch.get_float32_matmul_precision() == "highest"
    with cpu_arithmetic(threads=1) as fast:
        assert (fast, torch.get_float32_matmul_precision()) == (False, "highest")


def test_arithmetic_is_put_back() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(KeyError), cpu_arithmetic(threads=threads + 1) as fast:
        assert (fast, torch.get_float32_matmul_precision()) == (True, "medium")
        assert torch.get_num_threads() == threads + 1
        raise KeyError
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_num_threads() == threads


def test_answers_take_it_for_a_large_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Seq2Seq(resolve(presets=["lecture"]).model, 20, 3001)
    initialise(model)
    features = torch.randn(30, model.decoder.readout.last.in_features)
    seen: list[str] = []
    linear = torch.nn.functional.linear

    def watched(*given: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_float32_matmul_precision())
        return linear(*given)

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    made = []
    for fast in (True, False):
        model.use_fast_roads(fast)
        with torch.no_grad():
            made.append(model.eval().decoder.logits(features))
    model.use_fast_roads(True)
    model.decoder.logits(features)  # with gradients: training chooses for itself
    assert seen == ["medium", "highest", "highest"]
    torch.testing.assert_close(made[0], made[1], rtol=1e-4, atol=1e-5)
