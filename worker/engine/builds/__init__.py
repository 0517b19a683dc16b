"""Builds on an Engine, by its classic builder or by BuildKit."""
