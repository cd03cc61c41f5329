"""The model directory: everything a model needs to be used, checked before anything is trusted."""

from jumok.bundle.files import FORMAT_VERSION, Bundle, fingerprint, read_bundle, write_bundle

__all__ = ["FORMAT_VERSION", "Bundle", "fingerprint", "read_bundle", "write_bundle"]
