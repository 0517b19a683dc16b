"""Webhooks: send due messages to their endpoints."""
