"""Build contexts that callers upload and that servers fetch."""
