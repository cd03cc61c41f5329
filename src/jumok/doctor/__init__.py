"""Looks files of pairs over before anything is trained on them.

    report = check(["train.tsv"], ["test.tsv"])    # what was found, as plain data
    clean(["train.tsv"], "clean.tsv")              # the pairs without errors and warnings

``kinds`` lists what can be found, ``characters`` looks at one text, ``scan`` reads files into
numbers, ``repeats`` and ``outliers`` compare these, ``forecast`` tries tokenizers, ``checking`` and
``cleaning`` are the two ways through all of it. Texts are never kept, so files may be larger than
memory.
"""

from jumok.doctor.checking import check
from jumok.doctor.cleaning import Cleaned, clean
from jumok.doctor.kinds import BITS, DROPPED, KINDS
from jumok.doctor.report import Example, Finding, Part, Place, Report
from jumok.doctor.scan import Spool

__all__ = [
    "BITS",
    "DROPPED",
    "KINDS",
    "Cleaned",
    "Example",
    "Finding",
    "Part",
    "Place",
    "Report",
    "Spool",
    "check",
    "clean",
]
