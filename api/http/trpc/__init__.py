"""The tRPC dialect: single calls, batches, JSON lines, subscriptions and superjson."""
