"""Deployments: requested, planned, shown, cancelled."""
