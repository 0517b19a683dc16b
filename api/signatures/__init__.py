"""Signatures of images: keys that sign, policies that require a signature, and both applied."""
