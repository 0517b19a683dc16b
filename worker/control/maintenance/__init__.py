"""Maintenance services: one duty of control a module."""
