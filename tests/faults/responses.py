"""The answers of a registry that fails, or of something that is none."""

from collections.abc import Mapping

from aiohttp import web

from tests.faults.server import Respond


def says(
    status: int, text: str = "", kind: str = "text/plain", headers: Mapping[str, str] | None = None
) -> Respond:
    """Return a responder with one answer."""

    async def respond(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, content_type=kind, headers=headers)

    return respond


def page(status: int, text: str = "Sorry") -> Respond:
    """Return a responder with a web page."""
    html = f"<html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>"
    return says(status, html, "text/html")


def refuses(
    status: int, code: str, message: str = "", headers: Mapping[str, str] | None = None
) -> Respond:
    """Return a responder with an error of the OCI specification."""
    body = f'{{"errors": [{{"code": "{code}", "message": "{message}", "detail": null}}]}}'
    return says(status, body, "application/json", headers)


def redirect(location: str) -> Respond:
    """Return a responder that sends to ``location``."""
    return says(302, headers={"Location": location})
