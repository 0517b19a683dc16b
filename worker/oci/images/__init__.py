"""Images at a registry: their manifests, platforms, contents, and what needs them."""
