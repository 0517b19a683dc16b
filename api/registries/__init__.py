"""Registries: storing, showing and testing them."""
