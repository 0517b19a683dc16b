"""Sources from a git repository."""
