"""CMUdict: English pronunciation, every pronunciation of a word a reference.

python benchmarks/cmudict.py            four hours; a run that was broken off is gone on with

The dropout is that of the lowest WER on 2,000 dev words: 24.96 with 0.2 and 20 epochs, 26.58 with
0.3 and 24, 27.39 with 0.4 and 30.
"""

from __future__ import annotations

from cli_runs import evaluate, origin, store, train

SETTINGS = [  # 108,000 lines: larger sizes and batches, other dropout, seldom judged
    "model.encoder.hidden=256",
    "model.encoder.layers=3",
    "model.encoder.dropout=0.2",
    "model.encoder.token_dropout=0",
    "model.decoder.hidden=512",
    "model.decoder.layers=2",
    "model.decoder.dropout=0.2",
    "model.decoder.token_dropout=0.1",
    "train.batch_size=128",
    "train.learning_rate=1.5e-3",
    "train.warmup_steps=300",
    "train.precision=bf16",
    "train.max_epochs=20",
    "train.validate_every=1690",
    "train.validate_pairs=2000",
]


def main() -> None:
    """Train one model, judge it."""
    files = [f"cmudict-g2p/{name}" for name in ("train.tsv.gz", "dev.tsv")]
    done = train("cmudict", *files, ["g2p"], SETTINGS, threads=1)
    scores = evaluate("cmudict", "cmudict-g2p/test.tsv", 2)
    validations = [{k: v[k] for k in ("epoch", "wer")} for v in done["validations"]]
    print(f"CMUdict: WER {scores['wer']:.2f} PER {scores['per']:.2f}")
    store("cmudict", [{"test": scores, **origin(done), "validations": validations}])


if __name__ == "__main__":
    main()
