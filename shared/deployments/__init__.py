"""Deployments as the API stores them for its callers, and control for automatic rollbacks."""
