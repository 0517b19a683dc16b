"""Webhooks: endpoints that are told when something ends."""
