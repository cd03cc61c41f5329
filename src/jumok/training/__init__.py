"""Training: needs torch (`pip install 'jumok[train]'`)."""
