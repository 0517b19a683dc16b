"""Compose files: which images they name, and the same file with those images pinned."""
