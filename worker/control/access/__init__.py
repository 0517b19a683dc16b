"""Access of servers: approval, database roles, broker users."""
