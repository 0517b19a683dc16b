"""Backups of an installation in one file: ``wharf backup``, ``wharf restore``."""
