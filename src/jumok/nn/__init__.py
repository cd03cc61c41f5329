"""Tensors only: encoder, attention, decoder. Knows no string, no file and no vocabulary."""

from jumok.nn.init import initialise
from jumok.nn.memory import DecoderOutput, DecoderState, Memory, OwnTokens, RNNState, StepOutput
from jumok.nn.seq2seq import Seq2Seq

__all__ = [
    "DecoderOutput",
    "DecoderState",
    "Memory",
    "OwnTokens",
    "RNNState",
    "Seq2Seq",
    "StepOutput",
    "initialise",
]
