"""Procedures in general: their definition, their context, and what all of them share."""
