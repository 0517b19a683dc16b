"""Deploy hooks: a registry or a git host reports a push, which is deployed."""
