"""AWS: keys from their sources, signed requests, and the hosts of its services."""
