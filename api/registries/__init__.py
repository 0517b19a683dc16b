"""Registries: stored, shown, tested."""
