"""Dates as people write them and as ISO 8601 has them: a toy task of spelled-out rules.

    python examples/make_dates.py                     2,000 pairs in dates.tsv, 500 in unseen.tsv
    python examples/make_dates.py --count 10000 --seed 2

The same seed gives the same files. No source comes twice, so nothing in unseen.tsv is in dates.tsv.
"""

from __future__ import annotations

import argparse
import random
from datetime import date, timedelta
from pathlib import Path

FIRST, DAYS = date(1970, 1, 1), 60 * 365
FORMS = (
    "{month} {day}, {year}",
    "{weekday}, {month} {day}, {year}",
    "{short} {day}, {year}",
    "{day} {month} {year}",
    "{number}/{day}/{two:02d}",
)
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def written(day: date, form: str) -> str:
    """``day`` in one of `FORMS`."""
    month = MONTHS[day.month - 1]
    return form.format(
        day=day.day,
        month=month,
        short=month[:3],
        number=day.month,
        year=day.year,
        two=day.year % 100,
        weekday=WEEKDAYS[day.weekday()],
    )


def make_pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """``count`` pairs (as written, ISO) with different sources."""
    generator = random.Random(seed)
    pairs: dict[str, str] = {}
    while len(pairs) < count:
        day = FIRST + timedelta(days=generator.randrange(DAYS))
        source = written(day, generator.choice(FORMS))
        pairs[generator.choice((source, source, source.lower(), source.upper()))] = day.isoformat()
    return list(pairs.items())


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Write pairs of dates to a TSV file.")
    parser.add_argument("--count", type=int, default=2000, help="pairs in dates.tsv")
    parser.add_argument("--unseen", type=int, default=500, help="pairs in unseen.tsv")
    parser.add_argument("--seed", type=int, default=1, help="which dates")
    parser.add_argument("--output", type=Path, default=Path(), help="directory to write to")
    options = parser.parse_args()
    total = options.count + options.unseen
    if options.count < 1 or options.unseen < 0 or total > 50_000:
        raise SystemExit(f"--count and --unseen may be 50,000 pairs together, but {total:,} came")
    pairs = make_pairs(total, options.seed)
    write(options.output / "dates.tsv", pairs[: options.count])
    write(options.output / "unseen.tsv", pairs[options.count :])


def write(path: Path, pairs: list[tuple[str, str]]) -> None:
    """One pair a line, divided by a tab."""
    text = "".join(f"{source}\t{target}\n" for source, target in pairs)
    path.write_text(text, encoding="utf-8")
    print(f"{len(pairs):,} pairs in {path}")


if __name__ == "__main__":
    main()
