"""Control's part of the audit log: it chains entries, signs checkpoints, forwards and archives."""
