"""The console: its pages with many rows, many of it open, and the path of a newcomer."""
