"""Sockets: connections are accepted, bounded, and ended if their client does not go on."""
