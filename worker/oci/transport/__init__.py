"""HTTP to hosts whose addresses were checked and are pinned."""
