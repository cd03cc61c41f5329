"""The torch engine: a `Seq2Seq` module as a step function over NumPy arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.torch import load_file

from jumok.bundle import Bundle
from jumok.config import ModelConfig
from jumok.engine.base import Candidates
from jumok.errors import BundleError, ConfigError
from jumok.nn import DecoderState, Memory, Seq2Seq
from jumok.nn.arithmetic import gpu_arithmetic
from jumok.nn.readout import Columns
from jumok.search import Evidence, Step
from jumok.text import UNK, Tokenizer


class TorchState(NamedTuple):
    """Decoder state and memory of some rows; ``source`` says which source each row reads."""

    decoder: DecoderState
    memory: Memory
    source: Int[np.ndarray, "rows"]
    tokens: int
    """Size of the target vocabulary, extended by what these sources let be copied."""
    candidates: Int[np.ndarray, "some"] | None = None
    columns: Columns | None = None
    """Of the candidates, if only these may be written."""

    def select(self, rows: Int[np.ndarray, "new_rows"]) -> TorchState:
        """The given rows. The memory is copied only where rows change their source."""
        index = torch.from_numpy(np.ascontiguousarray(rows)).to(self.memory.values.device)
        source = self.source[rows]
        same = np.array_equal(source, self.source)
        memory, columns = self.memory, self.columns
        if not same:
            memory = memory.select(index)
            columns = None if columns is None else columns.select(index)
        return self._replace(
            decoder=self.decoder.select(index), memory=memory, source=source, columns=columns
        )


class TorchEngine:
    """A model on a device. ``model`` is shared, not copied: training validates through it."""

    def __init__(self, model: Seq2Seq, device: str | torch.device = "cpu") -> None:
        self.model = model
        self.device = torch.device(device)
        self.target_vocab = model.decoder.embedding.table.num_embeddings
        self.attends = model.decoder.attention is not None

    @torch.inference_mode()
    def start(
        self,
        source: Int[np.ndarray, "batch src_len"],
        lengths: Int[np.ndarray, "batch"],
        copies: Int[np.ndarray, "batch src_len"] | None = None,
        candidates: Candidates | None = None,
    ) -> TorchState:
        """Read the sources (right-padded); for ``copies`` and ``candidates`` see `Engine`."""
        copied = None if copies is None else self._tensor(copies)
        with gpu_arithmetic(self.device):
            memory = self.model.encode(self._tensor(source), self._tensor(lengths), copied)
        tokens = self.target_vocab if copies is None else max(self.target_vocab, copies.max() + 1)
        state = self.model.decoder.init_state(memory)
        found = TorchState(state, memory, np.arange(len(source)), int(tokens))
        if candidates is None:
            return found
        allowed = torch.from_numpy(candidates.allowed).to(self.device)
        columns = self.model.decoder.columns(self._tensor(candidates.tokens), allowed)
        return found._replace(candidates=candidates.tokens, columns=columns)

    @torch.inference_mode()
    def step(self, tokens: Int[np.ndarray, "rows"], state: TorchState) -> Step:
        """Make one decoding step."""
        if state.candidates is not None:
            tokens = state.candidates[tokens]
        read = self._tensor(np.where(tokens < self.target_vocab, tokens, UNK))
        with gpu_arithmetic(self.device):
            result = self.model.decoder.step(read, state.decoder, state.memory, state.columns)
            log_probs = self.model.decoder.log_probs(result, state.memory, state.tokens)
        generated = None if result.switch is None else result.switch.sigmoid()
        evidence = Evidence(
            *(
                None if tensor is None else tensor.to(log_probs.dtype).cpu().numpy()
                for tensor in (result.weights, generated, result.feature_weights)
            )
        )
        return Step(log_probs.cpu().numpy(), state._replace(decoder=result.state), evidence)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)).to(self.device)


def load_torch_engine(bundle: Bundle, device: str = "cpu") -> TorchEngine:
    """The engine of a bundle. Shapes are compared before anything is allocated."""
    place = find_device(device)
    bundle.check_weights()
    config, stored = bundle.config.model, bundle.shapes()
    try:
        # every layer has tensors of its own: absurdly many are refused before they are listed
        if max(config.encoder.layers, config.decoder.layers) > len(stored):
            raise ValueError(f"more layers than the {len(stored)} tensors stored")
        with torch.device("meta"):  # shapes and no storage
            model = make_model(config, bundle.source_tokenizer, bundle.target_tokenizer)
    except (ValueError, RuntimeError, TypeError, OverflowError) as error:
        raise BundleError(
            f"{bundle.path / 'config.json'} was edited into nonsense: no model has its sizes "
            f"({first_line(error)}). Copy the whole model directory again"
        ) from None
    bundle.check_shapes({name: tuple(t.shape) for name, t in model.state_dict().items()})
    # a copy, because tensors inside a mapped file are not aligned as torch aligns its own, and
    # differently aligned sums differ in the last bit: outputs should be those of training
    try:
        weights = {k: t.clone() for k, t in load_file(bundle.weights, device=device).items()}
    except SafetensorError as error:
        raise BundleError(
            f"safetensors cannot read {bundle.weights}: {error}. Copy the model directory to a "
            "place whose path is UTF-8"
        ) from None
    model.load_state_dict(weights, assign=True)
    return TorchEngine(model.eval(), place)


def find_device(name: str) -> torch.device:
    """The device called ``name``. Raises `ConfigError` unless this machine can compute on it."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"The device must be cpu, cuda or cuda:1 and so on, and present on this machine, but "
            f"'{name}' came ({first_line(error)})"
        ) from None
    return device


def first_line(error: Exception) -> str:
    """What an error of torch says, without the long rest."""
    return str(error).strip().split("\n", 1)[0]


def make_model(config: ModelConfig, source: Tokenizer, target: Tokenizer) -> Seq2Seq:
    """The module for these vocabularies."""
    return Seq2Seq(config, source.vocab_size, target.vocab_size, source.text_size)
