"""Signatures of images: the keys, and the policy that says which ones are required."""
