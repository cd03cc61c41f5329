"""Two models, or the outputs of other programs, judged on the same pairs.

compared = compare(model, other, pairs)
compared.verdict  # "exact_match: B is better (+2.10, 95 %: +0.70 to +3.60, p 0.003)"
write_plot(compared, "compared.svg")
"""

from jumok.comparison.bootstrap import Estimate, PairedScore
from jumok.comparison.buckets import Bucket, Grouping
from jumok.comparison.compare import compare
from jumok.comparison.plot import check_plot, write_plot
from jumok.comparison.report import Comparison, Example, Group, JudgedBucket, Right
from jumok.comparison.systems import check_systems

__all__ = [
    "Bucket",
    "Comparison",
    "Estimate",
    "Example",
    "Group",
    "Grouping",
    "JudgedBucket",
    "PairedScore",
    "Right",
    "check_plot",
    "check_systems",
    "compare",
    "write_plot",
]
