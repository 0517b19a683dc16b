"""Read untrusted data safely: stored documents, and text for terminals and logs."""
