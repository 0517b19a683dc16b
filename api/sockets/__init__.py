"""Sockets: accept connections, limit their number, and close those of stalled clients."""
