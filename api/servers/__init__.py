"""Servers: creating, enrolling, checking, pausing and removing them."""
