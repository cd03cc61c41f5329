"""The model directory: everything a model needs to be used, checked before anything is trusted."""

from jumok.bundle.exported import Exported, Precision, read_exported
from jumok.bundle.files import FORMAT_VERSION, Bundle, fingerprint, read_bundle, write_bundle
from jumok.bundle.shortlist import SHORTLIST, Shortlist, read_shortlist, write_shortlist

__all__ = [
    "FORMAT_VERSION",
    "SHORTLIST",
    "Bundle",
    "Exported",
    "Precision",
    "Shortlist",
    "fingerprint",
    "read_bundle",
    "read_exported",
    "read_shortlist",
    "write_bundle",
    "write_shortlist",
]
