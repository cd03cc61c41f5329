"""The lecture's date task: exact match by epoch, with attention and without.

python benchmarks/date.py
"""

from __future__ import annotations

from cli_runs import evaluate, store, train

EPOCHS = 4
MODELS = {"attention": [], "no attention": ["model.attention.score=none"]}


def main() -> None:
    """Train both, one after the other; record every epoch."""
    rows = []
    for name, settings in MODELS.items():
        run = f"date-{name.replace(' ', '-')}"
        limits = [f"train.max_epochs={EPOCHS}", f"train.patience={EPOCHS}"]
        done = train(
            run, "dlfs2-date/train.tsv.gz", "dlfs2-date/dev.tsv", ["lecture"], settings + limits, 2
        )
        rows.append(
            {
                "model": name,
                "exact_match_by_epoch": [v["exact_match"] for v in done["validations"]],
                "seconds": done["seconds"],
                "command": done["command"],
                "commit": done["commit"],
                "date": done["date"],
                "test": evaluate(run, "dlfs2-date/test.tsv", 2),
            }
        )
        print(rows[-1])
    store("date", rows)


if __name__ == "__main__":
    main()
