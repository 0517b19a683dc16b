"""The vault's keys, changed and looked after by the operator: ``wharf vault``."""
