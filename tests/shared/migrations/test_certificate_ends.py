"""An upgrade describes the certificates that registries have already."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from psycopg.rows import dict_row

from shared.ids import make_id
from tests.databases import Database
from tests.fakes.certificates import Authority
from tests.shared.migrations.test_upgrade import upgrade_to
from worker.local.postgres import OWNER, LocalPostgres

INSERT = """
INSERT INTO registry (registry_id, registry_name, username, password, registry_url, registry_type,
                      organization_id, host, ca_certificate, client_certificate, client_key)
VALUES (%(id)s, '', '', 'v1.x', '', 'selfHosted', 'organization', '', %(ca)s, %(client)s, %(key)s)
"""


def test_stored_certificates_are_described_without_the_chain_of_a_client(
    postgres: LocalPostgres, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    ca = authority.file.read_text()
    client = authority.files("robot", "robot.example.test")[0].read_text() + ca
    database = Database(postgres, f"test_{make_id().replace('-', '')}")
    postgres.create_database(database.name)
    try:
        upgrade_to(database, "0044")
        with psycopg.connect(database.url(OWNER), row_factory=dict_row) as connection:
            connection.execute("INSERT INTO organization VALUES ('organization', 'ours')")
            connection.execute(INSERT, {"id": "1", "ca": ca, "client": client, "key": "v1.x"})
            connection.execute(INSERT, {"id": "2", "ca": None, "client": None, "key": None})
            connection.commit()
            upgrade_to(database, "0045")
            rows = connection.execute(
                "SELECT certificates FROM registry ORDER BY registry_id"
            ).fetchall()
    finally:
        database.drop()

    described, none = [row["certificates"] for row in rows]
    assert none == []
    parsed = [x509.load_pem_x509_certificate(pem.encode()) for pem in (ca, client)]
    assert [(one["use"], one["sha256"]) for one in described] == [
        (use, one.fingerprint(SHA256()).hex())
        for use, one in zip(("ca", "client"), parsed, strict=True)
    ]
    assert datetime.fromisoformat(described[1]["not_after"]) > datetime.now(UTC)
    assert described[0]["subject"] == parsed[0].subject.rfc4514_string()
