"""A job's events for those who watch it: `transfer` adds up, `feed` looks, `stream` tells."""
