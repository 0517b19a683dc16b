"""Servers: their approval, and what they let containers mount."""
