"""``wharf demo``."""
