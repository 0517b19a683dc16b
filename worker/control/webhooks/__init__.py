"""Webhooks: due messages are sent to their endpoints."""
