"""The procedures, one module a router; `routers` lists them all."""
