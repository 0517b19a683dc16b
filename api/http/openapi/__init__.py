"""The OpenAPI document, which clients are generated from."""
