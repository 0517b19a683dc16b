"""Accounts: the organization, its API keys, and their users."""
