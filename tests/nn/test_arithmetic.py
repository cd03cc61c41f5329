"""That products are the same by every road."""

from __future__ import annotations

import importlib

import pytest
import torch

from jumok.config import resolve
from jumok.nn import Seq2Seq, arithmetic, initialise
from jumok.nn.arithmetic import cpu_arithmetic, gpu_arithmetic, linear_alone

SHAPES = [(3, 5), (1, 5), (0, 5), (5,), (2, 3, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("numbers", [1, 16, 17, 1001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_room_at_the_end_of_rows_changes_nothing(
    shape: tuple[int, ...], numbers: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(*shape, dtype=dtype), torch.randn(numbers, 5, dtype=dtype)
    bias = torch.randn(numbers, dtype=dtype)
    expected = torch.einsum("...i,ni->...n", x.double(), weight.double()) + bias.double()
    with torch.inference_mode():
        made = linear_alone(x, weight, bias)
    assert (made.shape, made.dtype) == (expected.shape, dtype)
    torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=1e-5)


def test_under_autocast_it_is_the_usual_product() -> None:
    x, weight, bias = torch.randn(3, 5), torch.randn(17, 5), torch.randn(17)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        made = linear_alone(x, weight, bias)
        assert made.dtype == torch.bfloat16
        assert torch.equal(made, torch.nn.functional.linear(x, weight, bias))
        assert torch.equal(made, linear_alone(x.bfloat16(), weight, bias))


@pytest.mark.parametrize("tied", [False, True])
def test_answers_have_the_scores_that_training_has(tied: bool) -> None:
    torch.manual_seed(0)
    settings = {"model.decoder.tied": tied, "model.decoder.embedding": 256} if tied else {}
    model = Seq2Seq(resolve(presets=["luong2015"], settings=settings).model, 20, 1001).eval()
    initialise(model)
    features = torch.randn(30, model.decoder.config.decoder.hidden)
    learning = model.decoder.logits(features)
    with torch.no_grad():
        alone = model.decoder.logits(features)
    assert alone.stride(0) == 1008 and learning.stride(0) == 1001
    torch.testing.assert_close(alone, learning, rtol=1e-5, atol=1e-5)


def test_a_road_that_rounds_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        monkeypatch.setattr(arithmetic, "_product_error", lambda: 4e-3)  # that of bfloat16
        with cpu_arithmetic(threads=None) as fast:
            assert (fast, torch.get_float32_matmul_precision()) == (False, "highest")
        assert torch.get_float32_matmul_precision() == "medium"
        monkeypatch.setattr(arithmetic, "_product_error", lambda: 0.0)
        threads = torch.get_num_threads()
        with pytest.raises(KeyError), cpu_arithmetic(threads=threads + 1) as fast:
            assert (fast, torch.get_float32_matmul_precision()) == (True, "medium")
            assert torch.get_num_threads() == threads + 1
            raise KeyError
        assert torch.get_num_threads() == threads

        def interrupted() -> float:
            raise KeyboardInterrupt

        monkeypatch.setattr(arithmetic, "_product_error", interrupted)
        torch.set_float32_matmul_precision("highest")
        with pytest.raises(KeyboardInterrupt), cpu_arithmetic(threads=threads + 1):
            pass
        assert torch.get_num_threads() == threads
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="torch before 2.9")
@pytest.mark.parametrize("of_all", ["none", "ieee", "bf16"])
@pytest.mark.parametrize("own", ["none", "ieee", "tf32", "bf16"])
def test_settings_of_the_newer_kind_are_put_back(of_all: str, own: str) -> None:
    """Beside them the older one may not even be read."""
    products, gpu = vars(torch.backends)["mkldnn"].matmul, torch.backends.cuda.matmul
    every = torch.backends
    gpu.fp32_precision = "none"
    try:
        every.fp32_precision, products.fp32_precision = of_all, own  # type: ignore[attr-defined]
        before = products.fp32_precision, gpu.fp32_precision
        with cpu_arithmetic(threads=None) as fast:
            assert products.fp32_precision == ("bf16" if fast else "ieee")
        assert (products.fp32_precision, gpu.fp32_precision) == before
        for later in ("tf32", "ieee"):  # what the caller says of all later holds for those unset
            every.fp32_precision = later  # type: ignore[attr-defined]
            assert gpu.fp32_precision == later
            assert own != "none" or products.fp32_precision == later
    finally:
        every.fp32_precision = products.fp32_precision = "none"  # type: ignore[attr-defined]


@pytest.mark.parametrize("rounded", [True, False])
def test_what_a_gpu_is_told_is_put_back(rounded: bool) -> None:
    """Settings alone, which are there without a GPU as well."""
    importlib.import_module("torch.backends.cudnn.rnn")  # before torch 2.9, a module without them
    newer = hasattr(torch.backends.cudnn.rnn, "fp32_precision")
    places = [torch.backends.cuda.matmul, torch.backends.cudnn]
    if newer:
        places[1] = torch.backends.cudnn.rnn
    name = "fp32_precision" if newer else "allow_tf32"

    def settings() -> list[object]:
        return [getattr(place, name) for place in places]

    before = settings()
    with gpu_arithmetic(torch.device("cuda"), rounded):
        assert settings() == ([("tf32" if rounded else "ieee")] * 2 if newer else [rounded] * 2)
        with gpu_arithmetic(torch.device("cpu"), not rounded):
            assert settings() == ([("tf32" if rounded else "ieee")] * 2 if newer else [rounded] * 2)
    assert settings() == before
