"""Maintenance services: one module for each duty of control."""
