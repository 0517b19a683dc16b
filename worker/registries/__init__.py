"""Registries: test them from a server."""
