"""Servers: created, enrolled, checked, paused, removed."""
