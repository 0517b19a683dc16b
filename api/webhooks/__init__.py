"""Webhooks: endpoints that are notified when something ends."""
