"""Additions of providers to the protocol: limits in their headers, causes in their words."""
