"""Authentication at a registry (RFC 9110, section 11; the token protocol of distribution)."""
