"""Procedures in general: what one is, what it is given, and what all of them do."""
