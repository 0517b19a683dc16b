"""The commands name the true cause if the API cannot be called, or refuses."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from api.cli.client import base_url, call
from api.cli.settings import ClientSettings
from shared.errors import SetupError, in_sentences
from tests.fakes.certificates import Authority
from tests.fakes.web import Answer, Fake, open_fake, says
from tests.serving import open_loop, serving


def settings(url: str) -> ClientSettings:
    return ClientSettings(url=url, api_key=SecretStr("key"))


@contextmanager
def web_server(answer: Answer, *, tls: ssl.SSLContext | None = None) -> Iterator[Fake]:
    """Serve in another thread, as the client blocks."""
    with open_loop() as loop, serving(loop, open_fake(answer, tls=tls)) as fake:
        yield fake


def refused(url: str) -> str:
    with pytest.raises(SetupError) as caught:
        call(settings(url), "application.all")
    return in_sentences(caught.value.message, caught.value.remedy)


@pytest.mark.parametrize("end", ["", "/", "/api", "/api/"])
def test_the_url_that_wharf_up_prints_is_the_apis(end: str) -> None:
    assert base_url(settings(f"https://wharf.example{end}")) == "https://wharf.example"


def test_a_url_without_a_scheme_is_refused() -> None:
    assert refused("wharf.example:4747") == (
        "the URL of the API is not http:// or https:// and a host. "
        "Give it as https://host[:port], for example in WHARF_URL."
    )


def test_a_port_where_nothing_listens_is_called_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"

        assert refused(url) == (
            f"{url} cannot be reached: [Errno 111] Connection refused. "
            "Check the URL, and that the API runs."
        )


def test_https_to_a_plain_http_server_is_called_so() -> None:
    with web_server(says(200)) as fake:
        url = f"https://{fake.host}"

        assert refused(url) == (
            f"{url} does not answer with TLS on this port. "
            "Check the port and the scheme of the URL."
        )


def test_a_certificate_of_an_unknown_ca_is_called_so(tmp_path: Path) -> None:
    tls = Authority(tmp_path).context("127.0.0.1")
    with web_server(says(200), tls=tls) as fake:
        assert refused(f"https://{fake.host}").startswith(
            f"the certificate of https://{fake.host} is not accepted: "
        )


@pytest.mark.parametrize(
    "answer", [says(200, text="<html>", kind="text/html"), says(404, text="nothing")]
)
def test_another_web_server_is_not_taken_for_the_api(answer: Answer) -> None:
    with web_server(answer) as fake:
        assert "Check the URL" in refused(f"http://{fake.host}").replace("and check", "Check")


def test_each_issue_of_a_refused_input_is_shown() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        issues = [{"path": ["mounts", 0, "source"], "message": "Required"}]
        body = {"message": "Input validation failed", "code": "BAD_REQUEST", "issues": issues}
        return web.json_response(body, status=400)

    with web_server(answer) as fake:
        assert refused(f"http://{fake.host}") == (
            "Input validation failed; mounts.0.source: Required."
        )
