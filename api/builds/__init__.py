"""Builds: requested, planned, stored, and the contexts that they are made from."""
