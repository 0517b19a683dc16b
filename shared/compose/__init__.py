"""Compose files: find the images in them, and pin these images by digest."""
