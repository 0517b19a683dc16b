"""Deployments as both sides store them: the API for its callers, control for what it puts back."""
