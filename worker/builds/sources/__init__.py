"""Sources of a build: fetched, unpacked, packed for the Engine."""
