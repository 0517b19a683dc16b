"""Rollback points: shown, returned to, given up."""
