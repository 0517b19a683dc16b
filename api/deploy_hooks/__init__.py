"""Deploy hooks: a registry says what was pushed, and it is deployed."""
