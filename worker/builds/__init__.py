"""Builds: an image is made from its sources."""
