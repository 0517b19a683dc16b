"""Images: pulling, pushing, tagging and copying them."""
