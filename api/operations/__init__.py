"""Operation of the API: health, metrics, its broker, a restored database."""
