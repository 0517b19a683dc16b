"""The real Engine and registries of `tests.engine`, for handlers."""

from tests.engine.conftest import engine, local_engine, locked_registry, namespace, registry

__all__ = ["engine", "local_engine", "locked_registry", "namespace", "registry"]
