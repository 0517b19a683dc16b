"""An OpenID Connect provider on a socket, in a process of its own; its answers can be changed.

``PUT /change`` takes ``{claims, drop, alg, key, kid, status}``: ID tokens are changed then, and
signed by a key of ours, or all answers have that status.
``GET /asked`` returns the form of the last token request.
"""

import base64
import hashlib
import hmac
import json
import warnings
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIServer, make_server

from joserfc import jwt
from joserfc.jwk import RSAKey

Environ = dict[str, Any]
Start = Callable[[str, list[tuple[str, str]]], object]


class ChangingProvider:
    """The provider as WSGI, with its keys and one of ours."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self.application = application
        self.change: dict[str, Any] = {}
        self.asked: dict[str, str] = {}
        self.keys = {name: RSAKey.generate_key(2048, {"kid": name}) for name in ("own", "other")}

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        if environ["PATH_INFO"] == "/change":
            self.change = json.loads(body)
            return _answer(start, "200 OK", {})
        if environ["PATH_INFO"] == "/asked":
            return _answer(start, "200 OK", self.asked)
        if "status" in self.change:
            return _answer(start, self.change["status"], {})
        return self._pass_on(environ, body, start)

    def _pass_on(self, environ: Environ, body: bytes, start: Start) -> Iterable[bytes]:
        kept: list[Any] = []
        content = b"".join(self.application(environ, lambda *head, **_: kept.extend(head[:2])))
        status, headers = kept
        path = environ["PATH_INFO"]
        if path == "/oauth2/token":
            self.asked = dict(parse_qsl(body.decode()))
        if path == "/jwks" and self.change:
            return _answer(start, status, {"keys": [self.keys["own"].as_dict(private=False)]})
        if path == "/oauth2/token" and status.startswith("200") and self.change:
            found = json.loads(content)
            return _answer(start, status, {**found, "id_token": self._forge(found["id_token"])})
        start(status, headers)
        return [content]

    def _forge(self, token: str) -> str:
        claims = {**_decode(token.split(".")[1]), **self.change.get("claims", {})}
        claims = {name: claims[name] for name in claims if name not in self.change.get("drop", ())}
        algorithm = self.change.get("alg", "RS256")
        if algorithm == "none":
            return f"{_encode({'alg': 'none'})}.{_encode(claims)}."
        if algorithm == "HS256":
            # The public key as a shared secret: the confusion of both is an old attack.
            text = f"{_encode({'alg': 'HS256', 'kid': 'own'})}.{_encode(claims)}"
            secret = self.keys["own"].as_pem(private=False)
            signature = hmac.new(secret, text.encode(), hashlib.sha256).digest()
            return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
        key = self.keys[self.change.get("key", "own")]
        kid = self.change.get("kid", key.kid)
        return jwt.encode({"alg": algorithm, "kid": kid}, claims, key)


def _decode(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def _encode(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _answer(start: Start, status: str, value: object) -> list[bytes]:
    start(status, [("content-type", "application/json")])
    return [json.dumps(value).encode()]


def main() -> None:
    """Serve until killed; the first line of the output is the port."""
    warnings.simplefilter("ignore")
    # It warns while it is imported.
    from oidc_provider_mock import app  # type: ignore[import-untyped]  # noqa: PLC0415

    server: WSGIServer = make_server("127.0.0.1", 0, ChangingProvider(app(require_nonce=True)))
    print(server.server_port, flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main()
