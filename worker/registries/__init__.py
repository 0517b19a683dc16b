"""Registries: tested from a server."""
