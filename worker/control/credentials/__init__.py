"""Credentials for one attempt: open them, and seal them to the server that runs it."""
