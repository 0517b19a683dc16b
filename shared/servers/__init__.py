"""Servers: their approval, and the host paths that containers may mount."""
