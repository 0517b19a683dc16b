"""The life of certificates that are stored with registries."""

DUE_DAYS = 30
"""A certificate is due for a change so many days before it ends."""
