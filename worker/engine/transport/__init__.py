"""Calls to an Engine and their responses."""
