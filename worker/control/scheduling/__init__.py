"""Scheduling: release due jobs and publish them."""
