"""Swarms: services, their tasks, the nodes."""
