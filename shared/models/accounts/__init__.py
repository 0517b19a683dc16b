"""Organizations, their API keys, and the people who sign in."""
