"""Registries that are unusual and work."""

import asyncio

from aiohttp import web

from tests.faults.fault import Fault, Tls


async def _without_catalog(request: web.Request) -> web.StreamResponse | None:
    if request.path == "/v2/_catalog":
        return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
    return None


async def _missing_are_forbidden(request: web.Request) -> web.StreamResponse | None:
    if request.path.endswith("/tags/list"):
        return web.json_response({"errors": [{"code": "DENIED"}]}, status=403)
    return None


def _long_header(_: web.Request, answer: web.Response) -> web.Response:
    answer.headers["Content-Security-Policy"] = "default-src 'self'; " * 500
    return answer


def _cookies(_: web.Request, answer: web.Response) -> web.Response:
    for number in range(40):
        answer.headers.add("Set-Cookie", f"session-{number}={'x' * 60}; Path=/; HttpOnly")
    return answer


def _without_version(_: web.Request, answer: web.Response) -> web.Response:
    answer.headers.pop("Docker-Distribution-Api-Version", None)
    return answer


def _more_challenges(_: web.Request, answer: web.Response) -> web.Response:
    if answer.status == 401:
        basic = answer.headers.pop("WWW-Authenticate")
        answer.headers.add("WWW-Authenticate", "Negotiate")
        answer.headers.add("WWW-Authenticate", "NTLM")
        answer.headers.add("WWW-Authenticate", basic)
    return answer


async def _slowly(_: web.Request) -> None:
    await asyncio.sleep(0.7)


async def _without_head(request: web.Request) -> web.StreamResponse | None:
    is_manifest = "/manifests/" in request.path and request.path.startswith("/v2/read/")
    return web.Response(status=405) if request.method == "HEAD" and is_manifest else None


GOOD: tuple[Fault, ...] = (
    Fault("good", {}),
    Fault("good: no catalog", {}, respond=_without_catalog),
    Fault("good: tags cannot be listed", {}, respond=_missing_are_forbidden),
    Fault("good: a header of 10 kB", {}, edit=_long_header),
    Fault("good: forty cookies", {}, edit=_cookies),
    Fault("good: no version header", {}, edit=_without_version),
    Fault("good: several challenges", {}, edit=_more_challenges),
    Fault("good: slow answers", {}, respond=_slowly),
    Fault("good: no HEAD for manifests", {}, respond=_without_head),
    Fault("good: TLS 1.2 alone", {}, tls=Tls.TLS12),
    Fault("good: a CA in certs.d alone", {}, tls=Tls.CA_IN_CERTS_D),
)
