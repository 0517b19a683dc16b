"""Git repositories behind SSH: their addresses, deploy keys and host keys."""
