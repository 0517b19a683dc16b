"""Serve sockets: accept connections, bound them, and end those whose client does not go on."""
