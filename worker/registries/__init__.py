"""Registries: test them from a server, and read what is in them."""
