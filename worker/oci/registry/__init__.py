"""Requests of the OCI distribution specification."""
