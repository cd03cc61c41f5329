"""Laws of the sampler: every pair once, within the budget, and only (seed, epoch) decide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumok.data import BucketSampler, sorted_batches

lengths_strategy = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=200)


def sampler(lengths, **settings):
    source, target = np.array(lengths, dtype=np.int64).reshape(-1, 2).T
    return BucketSampler(source, target, **({"batch_size": 4} | settings)), source, target


def flat(batches):
    return [int(i) for batch in batches for i in batch]


@given(lengths_strategy, st.integers(1, 9), st.integers(-3, 3), st.integers(0, 5))
def test_every_pair_comes_once_in_batches_of_the_size(lengths, size, seed, epoch):
    batches = sampler(lengths, batch_size=size, seed=seed)[0].batches(epoch)
    assert sorted(flat(batches)) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= size for batch in batches)
    assert len(batches) == -(-len(lengths) // size)  # one pool here: only the last may be short


@given(lengths_strategy, st.integers(1, 120), st.integers(0, 5))
def test_the_token_budget_is_kept(lengths, budget, epoch):
    made, source, target = sampler(lengths, batch_tokens=budget)
    batches = made.batches(epoch)
    assert sorted(flat(batches)) == list(range(len(lengths)))
    for batch in batches:
        widest = max(source[batch].max(), target[batch].max())
        assert len(batch) == 1 or widest * len(batch) <= budget


def test_the_budget_is_used():
    batches = sampler([(10, 10)] * 100, batch_tokens=45)[0].batches(0)
    assert [len(batch) for batch in batches] == [4] * 25


def test_order_depends_on_seed_and_epoch_only():
    lengths = np.random.default_rng(0).integers(1, 50, (500, 2))
    first = flat(sampler(lengths)[0].batches(3))
    again = sampler(lengths)[0]
    again.batches(0)
    assert flat(again.batches(3)) == first
    orders = [first, flat(again.batches(4)), flat(sampler(lengths, seed=2)[0].batches(3)),
              flat(sampler(lengths, seed=-1)[0].batches(3))]  # fmt: skip
    assert len({tuple(order) for order in orders}) == 4


def test_batches_hold_similar_lengths_and_come_in_mixed_order():
    lengths = np.random.default_rng(0).integers(1, 50, (20_000, 2))
    made, _, target = sampler(lengths, batch_size=20)
    batches = made.batches(0)
    padding = sum(target[b].max() * len(b) - target[b].sum() for b in batches) / target.sum()
    assert padding < 0.05  # in random order it is near 0.9
    means = np.array([target[b].mean() for b in batches])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2


def test_no_pairs_no_batches():
    assert sampler([])[0].batches(0) == []
    assert sampler([], batch_tokens=5)[0].batches(0) == []
    assert sorted_batches(np.array([], dtype=np.int64), 4) == []


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_inference_starts_with_the_longest(size):
    lengths = np.array([3, 9, 1, 9, 4])
    batches = sorted_batches(lengths, size)
    assert flat(batches) == [1, 3, 4, 0, 2]
    assert all(len(batch) == size for batch in batches[:-1])


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from([0.25, 0.5, 1.0, 1.5, 3.0])), min_size=1
    ),
    st.integers(0, 5),
    st.sampled_from([None, 30]),
)
def test_weights_say_how_often_each_part_comes(parts, epoch, budget):
    sizes, weights = zip(*parts, strict=True)
    ends = np.cumsum(sizes).tolist()
    lengths = np.arange(ends[-1]) % 7 + 1
    sampler = BucketSampler(lengths, lengths, 4, budget, 1, ends, weights)
    batches = sampler.batches(epoch)
    assert budget or len(batches) == sampler.steps
    counts = np.bincount(np.concatenate([[], *batches]).astype(int), minlength=ends[-1])
    for start, end, weight in zip([0, *ends], ends, weights, strict=False):
        own = counts[start:end]
        assert own.sum() == round((end - start) * weight)
        assert set(own.tolist()) <= {int(weight), int(weight) + 1}
