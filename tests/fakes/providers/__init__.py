"""Fakes of cloud registries on their real host names, in front of a real registry."""
