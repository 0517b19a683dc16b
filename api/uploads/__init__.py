"""Uploaded files: kept in a directory, checked, cleaned up."""
