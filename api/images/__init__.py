"""Images: pulled, pushed, tagged, copied."""
