"""Uploaded files: stored in a directory, checked, cleaned up."""
