"""Compose files: pulling their images to a server."""
