"""Webhooks: endpoints that receive a message when a job, build or deployment ends."""
