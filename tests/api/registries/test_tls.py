"""Own CAs, client certificates and the permission for plain HTTP: checked, stored, shown."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from shared.vault import KeyRing, SealContext
from tests.api.asking import create_registry
from tests.databases import Database
from tests.fakes.certificates import Authority

OWN: dict[str, Any] = {
    "registryUrl": "registry.lan:5000",
    "imagePrefix": None,
    "registryType": "selfHosted",
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def pair(authority: Authority, **settings: Any) -> dict[str, str]:
    certificate, key = authority.files("client", "robot.example.test", **settings)
    return {"clientCertificate": certificate.read_text(), "clientKey": key.read_text()}


def make_certificate(*, is_ca: bool | None, days: int = 30) -> str:
    """Make a certificate that another one has issued."""
    key, issuer = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ours")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "theirs")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
    )
    if is_ca is not None:
        built = built.add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    return built.sign(issuer, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


async def refuse(client: httpx2.AsyncClient, **given: Any) -> str:
    body = {"registryName": "r", "username": "u", "password": "p", **OWN, **given}
    answer = await client.post("/api/registry.create", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["data"]["cause"]["code"] == "certificate_invalid"
    message: str = answer.json()["message"]
    return message


async def read(client: httpx2.AsyncClient, registry_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (
        await client.get("/api/registry.one", params={"registryId": registry_id})
    ).json()
    return found


async def test_certificates_are_shown_without_the_key_which_is_sealed_for_the_host(
    client: httpx2.AsyncClient, database: Database, vault: KeyRing, authority: Authority
) -> None:
    given = pair(authority)
    ca = authority.file.read_text()
    created = await create_registry(client, **OWN, caCertificate=f"Our CA:\n{ca}", **given)

    rows: list[tuple[Any, ...]] = database.execute(
        "SELECT organization_id, host, client_key, ca_certificate FROM registry"
    )
    [(organization_id, host, sealed, stored)] = rows
    context = SealContext("client_key", organization_id, created["registryId"], host, "")
    parsed = x509.load_pem_x509_certificate(ca.encode())
    assert vault.open(sealed, context).strip() == given["clientKey"].strip()
    assert stored == ca and "BEGIN" not in str(created)
    assert created["caCertificates"] == [
        {
            "subject": parsed.subject.rfc4514_string(),
            "sha256": parsed.fingerprint(hashes.SHA256()).hex(),
            "notAfter": created["caCertificates"][0]["notAfter"],
            "state": "current",
        }
    ]
    assert created["clientIdentity"]["notAfter"] > created["createdAt"]
    assert await read(client, created["registryId"]) == created
    assert (created["installCa"], created["plainHttp"]) == (False, False)


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda ca: ca[: len(ca) // 2], "not a whole one"),
        (lambda _: "no certificate", "not a whole one"),
        (lambda ca: ca + ca.replace("END", "STOP"), "not a whole one"),
        (lambda _: make_certificate(is_ca=False), "not the certificate of a CA"),
        (lambda _: make_certificate(is_ca=None), "not the certificate of a CA"),
        (lambda _: make_certificate(is_ca=True, days=-1), "expired on"),
        (lambda ca: ca + "-----BEGIN EC PRIVATE KEY-----\nx\n", "contains a private key"),
    ],
)
async def test_a_ca_that_cannot_be_used_is_refused_before_anything_is_stored(
    client: httpx2.AsyncClient, database: Database, authority: Authority, make: Any, cause: str
) -> None:
    message = await refuse(client, caCertificate=make(authority.file.read_text()))

    assert cause in message
    assert database.execute("SELECT count(*) FROM registry") == [(0,)]


async def test_a_client_certificate_that_cannot_be_used_is_refused(
    client: httpx2.AsyncClient, authority: Authority, tmp_path: Path
) -> None:
    good = pair(authority)
    other = rsa.generate_private_key(65537, 2048)
    form = (Encoding.PEM, PrivateFormat.PKCS8)
    plain = other.private_bytes(*form, NoEncryption()).decode()
    locked = other.private_bytes(*form, BestAvailableEncryption(b"word")).decode()
    half = good["clientKey"][:100]

    answers = [
        await refuse(client, clientCertificate=good["clientCertificate"]),
        await refuse(client, clientKey=good["clientKey"]),
        await refuse(client, **good | {"clientKey": plain}),
        await refuse(client, **good | {"clientKey": locked}),
        await refuse(client, **good | {"clientKey": half}),
        await refuse(client, **pair(authority, ends_in=timedelta(days=-1))),
    ]

    causes = ["belong together"] * 2 + ["does not belong", "passphrase", "not a private"]
    assert all(cause in answer for cause, answer in zip(causes, answers, strict=False)), answers
    assert "expired on" in answers[-1]
    assert not any(key.strip() in str(answers) for key in (plain, locked, half))


async def test_an_update_changes_what_it_names_and_null_removes(
    client: httpx2.AsyncClient, authority: Authority
) -> None:
    ca = authority.file.read_text()
    created = await create_registry(client, **OWN, caCertificate=ca, **pair(authority))
    chosen = {"registryId": created["registryId"]}

    async def update(**changes: Any) -> dict[str, Any]:
        answer = await client.post("/api/registry.update", json=chosen | changes)
        assert answer.status_code == 200, answer.text
        return await read(client, created["registryId"])

    named = await update(registryName="other")
    permitted = await update(plainHttp=True, installCa=True)
    without = await update(caCertificate=None, clientCertificate=None)

    assert named["caCertificates"] and named["clientIdentity"]
    assert permitted["plainHttp"] and permitted["installCa"] and permitted["caCertificates"]
    assert (without["caCertificates"], without["clientIdentity"]) == ([], None)
    assert without["plainHttp"]


async def test_a_certificate_is_due_30_days_before_it_ends_and_then_expired(
    client: httpx2.AsyncClient, database: Database, authority: Authority
) -> None:
    soon = make_certificate(is_ca=True, days=29) + make_certificate(is_ca=True, days=31)
    given = pair(authority, ends_in=timedelta(days=1))
    created = await create_registry(client, **OWN, caCertificate=soon, **given)

    assert [one["state"] for one in created["caCertificates"]] == ["due", "current"]
    assert created["clientIdentity"]["state"] == "due"
    ended = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    database.execute(
        "UPDATE registry"
        " SET certificates = jsonb_set(certificates, '{0,not_after}', to_jsonb(%s::text))",
        ended,
    )
    found = await read(client, created["registryId"])
    assert [one["state"] for one in found["caCertificates"]] == ["expired", "current"]


async def test_a_client_key_is_not_taken_to_another_host(
    client: httpx2.AsyncClient, authority: Authority
) -> None:
    created = await create_registry(client, **OWN, **pair(authority))
    moved = {"registryId": created["registryId"], "registryUrl": "other.lan", "password": "p"}

    refused = await client.post("/api/registry.update", json=moved)
    accepted = await client.post("/api/registry.update", json=moved | pair(authority))

    assert refused.status_code == 400
    assert refused.json()["data"]["cause"]["code"] == "password_needed"
    assert accepted.status_code == 200


async def test_a_url_that_begins_with_http_allows_plain_http_unless_refused(
    client: httpx2.AsyncClient,
) -> None:
    """Dokploy's clients do not know the field, and only administrators store registries."""
    url = {"registryUrl": "http://registry.lan:5000"}

    created = await create_registry(client, **OWN | url)
    refused = await create_registry(client, **OWN | url, plainHttp=False)
    renamed = {"registryId": refused["registryId"], "registryName": "other"}
    assert (await client.post("/api/registry.update", json=renamed)).status_code == 200

    assert created["plainHttp"]
    assert not (await read(client, refused["registryId"]))["plainHttp"]


async def test_a_url_that_begins_with_http_allows_plain_http_in_tests_of_administrators(
    client: httpx2.AsyncClient, member: httpx2.AsyncClient, database: Database, server: Any
) -> None:
    body = {"registryUrl": "http://registry.lan", "username": "u", "password": "p"}
    headers = {"Prefer": "respond-async"}

    for caller in (client, member):
        answer = await caller.post("/api/registry.testRegistry", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
    rows: list[tuple[Any, ...]] = database.execute("SELECT command FROM job ORDER BY job_id")

    assert [command["plain_http"] for (command,) in rows] == [True, False]


async def test_a_member_may_not_test_over_plain_http(
    client: httpx2.AsyncClient, member: httpx2.AsyncClient
) -> None:
    body = {"registryUrl": "registry.lan", "username": "u", "password": "p", "plainHttp": True}

    answers = [
        await member.post(f"/api/registry.{name}", json=body)
        for name in ("testRegistry", "diagnose")
    ]

    assert [answer.status_code for answer in answers] == [403, 403]


async def test_a_test_takes_what_is_stored_for_its_host(
    client: httpx2.AsyncClient,
    database: Database,
    authority: Authority,
    server: Any,
) -> None:
    ca = authority.file.read_text()
    await create_registry(client, **OWN, caCertificate=ca, plainHttp=True)
    body = {"username": "u", "password": "p"}
    headers = {"Prefer": "respond-async"}

    for url in ("registry.lan:5000", "registry.lan:5001"):
        request = body | {"registryUrl": url}
        answer = await client.post("/api/registry.testRegistry", json=request, headers=headers)
        assert answer.status_code == 202, answer.text
    rows: list[tuple[Any, ...]] = database.execute(
        "SELECT command FROM job ORDER BY command->>'host'"
    )
    [ours, other] = rows

    assert ours[0]["plain_http"] and ours[0]["ca_certificate"] == ca
    assert not other[0]["plain_http"] and not other[0]["ca_certificate"]


async def test_the_key_of_a_test_is_sealed_for_its_job_alone(
    client: httpx2.AsyncClient, database: Database, authority: Authority, server: Any
) -> None:
    given = pair(authority)
    body = {"registryUrl": "registry.lan", "username": "u", "password": "p", **given}
    headers = {"Prefer": "respond-async"}

    answer = await client.post("/api/registry.testRegistry", json=body, headers=headers)

    assert answer.status_code == 202, answer.text
    purposes = database.execute("SELECT purpose FROM job_secret ORDER BY purpose")
    assert purposes == [("client_key",), ("password",)]
    assert given["clientKey"].splitlines()[1] not in str(database.execute("SELECT * FROM job"))
