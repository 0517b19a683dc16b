"""Compose files: their images pulled to a server."""
