"""Two kinds of dropout: single values and whole tokens; none when not training."""

from __future__ import annotations

import torch

from jumok.nn.embedding import Embedding


def test_token_dropout_drops_whole_tokens_at_its_rate_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    embedding = Embedding(5, 8, dropout=0.0, token_dropout=0.25).train()
    tokens = torch.randint(0, 5, (200, 50))
    vectors = embedding(tokens)
    dropped = (vectors == 0).all(dim=-1)
    assert 0.23 < dropped.double().mean() < 0.27
    kept = vectors[~dropped]
    torch.testing.assert_close(kept, embedding.table(tokens)[~dropped] / 0.75)


def test_occurrences_are_drawn_one_by_one() -> None:
    torch.manual_seed(0)
    embedding = Embedding(5, 8, dropout=0.0, token_dropout=0.5).train()
    dropped = (embedding(torch.full((1, 100), 3)) == 0).all(dim=-1)
    assert 0 < dropped.sum() < 100


def test_nothing_is_dropped_when_not_training() -> None:
    embedding = Embedding(5, 8, dropout=0.5, token_dropout=0.5).eval()
    tokens = torch.arange(5)
    torch.testing.assert_close(embedding(tokens), embedding.table.weight)
