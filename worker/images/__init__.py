"""Images: pulled, pushed, tagged, copied, verified, deleted."""
