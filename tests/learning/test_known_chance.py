"""A language model comes to know a chance that is known: it is as little surprised as can be."""

import math
import random

import jumok

NEXT = {"a": "aab", "b": "bbc", "c": "cca"}
"""Each of the three letters comes with a chance of 0.3; the text ends with one of 0.1."""


def draw(random_, count):
    """Texts of a Markov chain, and their log-probability."""
    texts, total = [], 0.0
    for _ in range(count):
        text, letter = "", "a"
        while not text or random_.random() >= 0.1:
            letter = random_.choice(NEXT[letter])
            text += letter
        before = "a" + text
        chances = [NEXT[x].count(y) / 3 for x, y in zip(before, text, strict=False)]
        # the first letter always comes, and before each further one the text may end
        total += sum(map(math.log, chances)) + (len(text) - 1) * math.log(0.9) + math.log(0.1)
        texts.append(text)
    return texts, total


def test_perplexity_comes_down_to_that_of_the_source(tmp_path):
    texts, _ = draw(random.Random(1), 4000)
    test, total = draw(random.Random(2), 1000)
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    model = jumok.train_lm(
        tmp_path / "texts.txt",
        output=tmp_path / "run",
        settings={
            "text.target.kind": "char",
            "model.decoder.embedding": 8,
            "model.decoder.hidden": 32,
            "model.decoder.layers": 1,
            "model.decoder.dropout": 0.0,
            "train.learning_rate": 0.01,
            "train.batch_tokens": 600,
            "train.schedule": "linear",
            "train.patience": 6,
            "train.max_epochs": 6,
        },
    )
    least = math.exp(-total / sum(len(text) + 1 for text in test))
    assert least < model.perplexity(test).token < 1.02 * least
    drawn = [one.text for one in model.generate(n=500, max_length_offset=200, seed=3)]
    pairs = [text[i : i + 2] for text in drawn for i in range(len(text) - 1)]
    for pair in ("aa", "ab", "bb", "bc", "cc", "ca", "ac", "ba", "cb"):
        share = pairs.count(pair) / max(1, sum(p[0] == pair[0] for p in pairs))
        assert abs(share - NEXT[pair[0]].count(pair[1]) / 3) < 0.07
