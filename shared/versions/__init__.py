"""Refuse a PostgreSQL, broker or Engine that is older than the oldest supported version."""
