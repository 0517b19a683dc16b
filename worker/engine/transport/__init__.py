"""Calls to an Engine and its answers."""
