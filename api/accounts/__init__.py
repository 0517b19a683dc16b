"""Accounts: the organization, its API keys, and who a key speaks for."""
