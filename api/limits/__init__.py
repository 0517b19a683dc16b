"""Limits that keep this process able to work."""
