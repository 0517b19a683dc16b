"""Credentials for one attempt: opened, and sealed to the server that runs it."""
