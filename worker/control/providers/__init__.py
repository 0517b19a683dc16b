"""Providers of registries that issue short-lived logins: one module for each kind of source."""
