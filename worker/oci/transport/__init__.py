"""HTTP to hosts whose addresses were checked and pinned."""
