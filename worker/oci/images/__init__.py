"""Images at a registry: their manifests, platforms, contents and dependents."""
