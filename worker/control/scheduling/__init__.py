"""Scheduling: due jobs are released and published."""
