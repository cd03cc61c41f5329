"""CMUdict: English pronunciation, every pronunciation of a word a reference.

python benchmarks/cmudict.py
"""

from __future__ import annotations

from cli_runs import evaluate, origin, store, train

MINUTES = 158
SETTINGS = [  # 108,000 lines: larger sizes and batches, few tokens dropped, seldom judged
    "model.encoder.hidden=256",
    "model.encoder.token_dropout=0",
    "model.decoder.hidden=512",
    "model.decoder.token_dropout=0.1",
    "train.batch_size=256",
    "train.learning_rate=2e-3",
    "train.warmup_steps=300",
    "train.precision=bf16",
    "train.max_epochs=60",  # as far as the minutes go
    "train.validate_every=1700",
    "train.validate_pairs=2000",
    f"train.max_minutes={MINUTES}",
]


def main() -> None:
    """Train one model on one core, judge it."""
    files = [f"cmudict-g2p/{name}" for name in ("train.tsv.gz", "dev.tsv")]
    done = train("cmudict", *files, ["g2p"], SETTINGS, threads=1)
    scores = evaluate("cmudict", "cmudict-g2p/test.tsv", 1)
    validations = [{k: v[k] for k in ("epoch", "wer")} for v in done["validations"]]
    print(f"CMUdict: WER {scores['wer']:.2f} PER {scores['per']:.2f}")
    store("cmudict", [{"test": scores, **origin(done), "validations": validations}])


if __name__ == "__main__":
    main()
