"""Read what others wrote without harm: stored documents, and text for terminals and logs."""
