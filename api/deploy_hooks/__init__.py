"""Deploy hooks: a registry reports a push, and the pushed image is deployed."""
