"""The internal CA at the API: served to joining servers, and pinned by their commands."""

from pathlib import Path

import httpx2
import pytest

from api.cli.commands.servers.server import join_line
from api.console.pages.servers.form import make_join_command
from api.main import create_app
from shared.errors import SetupError
from shared.settings import ApiSettings
from tests.api.asking import ADMIN_KEY
from worker.local.tls.authority import Authority


async def test_the_ca_is_served_and_its_pin_comes_with_each_join_token(
    settings: ApiSettings, tmp_path: Path
) -> None:
    authority = Authority.create(tmp_path / "ca")
    with_ca = settings.model_copy(update={"ca_certificate": tmp_path / "ca" / "ca.pem"})
    app = create_app(with_ca)
    headers = {"x-api-key": ADMIN_KEY}
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://api", headers=headers
        ) as client,
    ):
        served = await client.get("/ca.pem")
        created = (await client.post("/api/server.create", json={"name": "one"})).json()
        chosen = {"serverId": created["serverId"]}
        renewed = (await client.post("/api/server.createJoinToken", json=chosen)).json()

    assert served.content == (tmp_path / "ca" / "ca.pem").read_bytes()
    assert created["caSha256"] == renewed["caSha256"] == authority.fingerprint


async def test_without_a_ca_nothing_is_pinned(client: httpx2.AsyncClient) -> None:
    served = await client.get("/ca.pem")
    created = (await client.post("/api/server.create", json={"name": "one"})).json()

    assert served.status_code == 404
    assert created["caSha256"] is None


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_ca_that_cannot_be_read_ends_the_start(
    settings: ApiSettings, tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)

    with pytest.raises(SetupError, match="WHARF_CA_CERTIFICATE"):
        create_app(settings.model_copy(update={"ca_certificate": path}))


@pytest.mark.parametrize("make", [join_line, make_join_command])
def test_a_join_command_pins_the_ca(make: object) -> None:
    assert callable(make)
    command = "WHARF_URL=https://api WHARF_CA_SHA256=abcd WHARF_JOIN_TOKEN=token wharf worker"

    assert make("https://api", "token", "abcd") == command
    assert make("https://api", "token", None) == command.replace("WHARF_CA_SHA256=abcd ", "")
