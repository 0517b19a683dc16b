"""The hash chain of the audit log: its entries, its signed checkpoints, and their verification."""
