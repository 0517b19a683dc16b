"""Passwords of every shape arrive unchanged, and appear nowhere else."""

import pytest

from shared.faults import FaultCode
from tests.fakes.token_server import ALL, SigningKey, open_token_server
from tests.worker.oci.parts import RegistryFactory, make_login
from worker.local.registry import LocalRegistry
from worker.oci.probe import ProbeRequest, probe
from worker.oci.transport.settings import ConnectionSettings

PASSWORDS = {
    "quotes": 'it\'s "quoted" `here`',
    "spaces": "  two  spaces  ",
    "dollar": "$HOME ${x} $(id) %s %%",
    "unicode": "pässwörd-密码-🔑",
    "colon": "a:b:c@d/e?f#g",
    "newline": 'line one\nline "two"\r\n\tthree',
    "backslash": "\\n\\x00\\",
    "long": "0123456789abcdef" * 256,
}


@pytest.mark.parametrize("name", sorted(set(PASSWORDS) - {"long"}))
async def test_htpasswd_accepts_unusual_passwords(
    name: str, tmp_path_factory: pytest.TempPathFactory, settings: ConnectionSettings
) -> None:
    registry = LocalRegistry.start(
        tmp_path_factory.mktemp(name), users={"üser name": PASSWORDS[name]}, bcrypt_rounds=4
    )
    try:
        login = make_login(registry.host, "üser name", PASSWORDS[name])
        report = await probe(ProbeRequest(registry.host, login), settings)
    finally:
        registry.stop()

    assert report.fault() is None
    assert PASSWORDS[name] not in str(report)


@pytest.mark.parametrize("name", sorted(PASSWORDS))
async def test_a_token_server_accepts_unusual_passwords(
    name: str, registries: RegistryFactory, signing_key: SigningKey, settings: ConnectionSettings
) -> None:
    users = {"robot$ci+push": PASSWORDS[name]}
    async with open_token_server(signing_key, users) as tokens:
        tokens.rights = {"robot$ci+push": ALL}
        host = registries.start_with_tokens(tokens).host
        login = make_login(host, "robot$ci+push", PASSWORDS[name])
        report = await probe(ProbeRequest(host, login), settings)

        assert report.fault() is None
        assert tokens.fake.requests[0].query["account"] == "robot$ci+push"
        assert not any(PASSWORDS[name] in str(request.url) for request in tokens.fake.requests)


async def test_a_refused_password_is_in_no_part_of_the_report(
    registries: RegistryFactory, signing_key: SigningKey, settings: ConnectionSettings
) -> None:
    secret = "hunter2-hunter2"
    async with open_token_server(signing_key, {}) as tokens:
        host = registries.start_with_tokens(tokens).host
        report = await probe(ProbeRequest(host, make_login(host, "alice", secret)), settings)

    fault = report.fault()
    assert fault and fault.code == FaultCode.AUTH_BAD_CREDENTIALS
    assert "hunter2" not in report.model_dump_json() + repr(report) + repr(fault)
