"""Swarms: services, tasks and nodes."""
