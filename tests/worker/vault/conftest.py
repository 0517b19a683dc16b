"""The API's fixtures: it stores what is resealed here."""

from tests.api.conftest import app, client, database, server, settings, vault, vault_key

__all__ = ["app", "client", "database", "server", "settings", "vault", "vault_key"]
