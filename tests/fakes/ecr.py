"""AWS as far as ECR needs it: STS, ``GetAuthorizationToken``, and the registry behind its tokens.

Signatures are verified with botocore, which is not what made them.
"""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import aiohttp
from aiohttp import web
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from tests.fakes.front import relay

ACCOUNT = "123456789012"
REGION = "eu-central-1"
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
API = f"api.ecr.{REGION}.amazonaws.com"
STS = f"sts.{REGION}.amazonaws.com"
KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/registry-login"
EXTERNAL_ID = "wharfinger-42"
WEB_TOKEN = "eyJ.web-identity.token"

PRIVATE, PUBLIC = "AmazonEC2ContainerRegistry_V20150921", "SpencerFrontendService"
TARGETS = {f"{PRIVATE}.GetAuthorizationToken": list, f"{PUBLIC}.GetAuthorizationToken": None}
CREATIONS = {f"{PRIVATE}.CreateRepository", f"{PUBLIC}.CreateRepository"}
EXPIRED = "Your authorization token has expired. Reauthenticate and try again."
TOLERANCE = timedelta(minutes=5)


@dataclass
class Key:
    """An access key; temporary ones have a session token, and may end."""

    secret: str
    session_token: str = ""
    may_login: bool = True
    may_create: bool = True


@dataclass
class Aws:
    """The services of one account; a test changes its fields.

    ``life`` is that of tokens. ``ahead`` is how far AWS's clock is ahead of ours. ``failure`` is
    answered to every request of the API in place of its own answer. ``registry`` is the real one
    behind the tokens, ``address:port``; ``repositories`` are those that exist, ``None`` for all.
    ``creations`` are the names for which ``CreateRepository`` was called. ``ended`` counts the
    requests whose token had ended.
    """

    registry: str = ""
    life: timedelta = timedelta(hours=12)
    ahead: timedelta = timedelta()
    failure: Callable[[], web.Response] | None = None
    keys: dict[str, Key] = field(default_factory=lambda: {KEY_ID: Key(SECRET)})
    roles: dict[str, str] = field(default_factory=lambda: {ROLE: EXTERNAL_ID})
    repositories: set[str] | None = None
    tokens: dict[str, float] = field(default_factory=dict)
    creations: list[str] = field(default_factory=list)
    logins: int = 0
    ended: int = 0
    session: aiohttp.ClientSession | None = None

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def api(self, request: web.Request) -> web.StreamResponse:
        """Answer a request to the API of ECR, private or public."""
        if self.failure is not None:
            return self._dated(self.failure())
        error = await self._refusal(request)
        if error:
            return self._error(*error)
        target = request.headers["X-Amz-Target"]
        if target in CREATIONS:
            return self._create(await request.json(), is_public=target.startswith(PUBLIC))
        if target not in TARGETS:
            return self._error("UnknownOperationException", "")
        self.logins += 1
        token = f"token-{uuid4()}"
        self.tokens[token] = time.monotonic() + self.life.total_seconds()
        data: dict[str, Any] = {
            "authorizationToken": base64.b64encode(f"AWS:{token}".encode()).decode(),
            "expiresAt": (self.now() + self.life).timestamp(),
        }
        whole = {"authorizationData": [data] if TARGETS[target] else data}
        return self._dated(
            web.Response(text=json.dumps(whole), content_type="application/x-amz-json-1.1")
        )

    def _create(self, body: dict[str, str], *, is_public: bool) -> web.Response:
        name = body["repositoryName"]
        self.creations.append(name)
        if not is_public and body["registryId"] != ACCOUNT:
            return self._error("RepositoryNotFoundException", "no such registry")
        known = self.repositories if self.repositories is not None else {name}
        if name in known:
            message = f"The repository with name '{name}' already exists in the registry"
            return self._error("RepositoryAlreadyExistsException", message)
        known.add(name)
        answer = web.json_response({"repository": {"repositoryName": name}})
        return self._dated(answer)

    async def sts(self, request: web.Request) -> web.StreamResponse:
        """Answer ``AssumeRole``, signed, and ``AssumeRoleWithWebIdentity``, not signed."""
        if self.failure is not None:
            return self._dated(self.failure())
        form = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        if form["Action"] == "AssumeRoleWithWebIdentity":
            if form["WebIdentityToken"] != WEB_TOKEN:
                return self._xml_error("InvalidIdentityToken", "The token is not valid")
            return self._assumed()
        error = await self._refusal(request)
        if error:
            code = "InvalidClientTokenId" if error[0].startswith("Unrecog") else error[0]
            return self._xml_error(code, error[1])
        role = form["RoleArn"]
        if role not in self.roles or form.get("ExternalId", "") != self.roles[role]:
            message = f"User is not authorized to perform: sts:AssumeRole on resource: {role}"
            return self._xml_error("AccessDenied", message)
        return self._assumed()

    async def distribution(self, request: web.Request) -> web.StreamResponse:
        """Answer a request to the registry: by a real one, for tokens that have not ended."""
        refusal = self._refuse_token(request) or self._refuse_repository(request)
        if refusal is not None:
            return refusal
        if self.session is None or self.session.closed:
            self.session = aiohttp.ClientSession(auto_decompress=False)
        return await relay(
            self.session, self.registry, request, added={"X-Forwarded-Proto": request.scheme}
        )

    def has_ended(self, token: str) -> bool:
        return self.tokens[token] <= time.monotonic()

    async def close(self) -> None:
        if self.session is not None:
            await self.session.close()

    def _refuse_token(self, request: web.Request) -> web.Response | None:
        header = request.headers.get("Authorization", "")
        challenge = {
            "WWW-Authenticate": f'Basic realm="https://{HOST}/",service="ecr.amazonaws.com"'
        }
        if not header.startswith("Basic "):
            return web.Response(status=401, text="Not Authorized\n", headers=challenge)
        user, _, token = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        if user != "AWS" or token not in self.tokens:
            return web.Response(status=401, text="Not Authorized\n", headers=challenge)
        if self.has_ended(token):
            self.ended += 1
            return _oci_error(403, "DENIED", EXPIRED)
        return None

    def _refuse_repository(self, request: web.Request) -> web.Response | None:
        if self.repositories is None or request.path == "/v2/":
            return None
        name = request.path.removeprefix("/v2/")
        if any(name.startswith(f"{known}/") for known in self.repositories):
            return None
        return _oci_error(404, "NAME_UNKNOWN", "The repository does not exist in the registry")

    async def _refusal(self, request: web.Request) -> tuple[str, str] | None:
        """Return AWS's code and message for a request whose signature is not accepted."""
        parts = request.headers["Authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(", ")
        values = dict(part.split("=", 1) for part in parts)
        key_id, _, region, service, _ = values["Credential"].split("/")
        key = self.keys.get(key_id)
        if key is None or request.headers.get("x-amz-security-token", "") != key.session_token:
            invalid = "The security token included in the request is invalid."
            return "UnrecognizedClientException", invalid
        signed_at = request.headers["x-amz-date"]
        moment = datetime.strptime(signed_at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(moment - self.now()) > TOLERANCE:
            return "InvalidSignatureException", f"Signature expired: {signed_at}"
        headers = {name: request.headers[name] for name in values["SignedHeaders"].split(";")}
        again = AWSRequest("POST", f"https://{request.host}/", headers, await request.read())
        again.context["timestamp"] = signed_at
        signer = SigV4Auth(Credentials(key_id, key.secret), service, region)
        text = signer.string_to_sign(again, signer.canonical_request(again))
        if signer.signature(text, again) != values["Signature"]:
            mismatch = "The request signature we calculated does not match"
            return "InvalidSignatureException", f"{mismatch}: {headers}"
        if not key.may_login and service != "sts":
            return "AccessDeniedException", (
                f"User: arn:aws:iam::{ACCOUNT}:user/builder is not authorized to perform: "
                "ecr:GetAuthorizationToken on resource: *"
            )
        creates = request.headers.get("X-Amz-Target", "") in CREATIONS
        if creates and not key.may_create:
            return "AccessDeniedException", (
                f"User: arn:aws:iam::{ACCOUNT}:user/builder is not authorized to perform: "
                "ecr:CreateRepository on resource: *"
            )
        return None

    def _assumed(self) -> web.Response:
        key_id, key = f"ASIA{uuid4().hex[:16].upper()}", Key(uuid4().hex, uuid4().hex)
        self.keys[key_id] = key
        parts = {
            "AccessKeyId": key_id,
            "SecretAccessKey": key.secret,
            "SessionToken": key.session_token,
        }
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in parts.items())
        text = f"<R><Credentials>{inner}</Credentials></R>"
        return self._dated(web.Response(text=text, content_type="text/xml"))

    def _error(self, code: str, message: str) -> web.Response:
        body = json.dumps({"__type": code, "message": message})
        response = web.Response(status=400, text=body, content_type="application/x-amz-json-1.1")
        return self._dated(response)

    def _xml_error(self, code: str, message: str) -> web.Response:
        text = f"<E><Error><Code>{code}</Code><Message>{message}</Message></Error></E>"
        return self._dated(web.Response(status=403, text=text, content_type="text/xml"))

    def _dated(self, response: web.Response) -> web.Response:
        response.headers["Date"] = format_datetime(self.now(), usegmt=True)
        return response


@dataclass
class Metadata:
    """The metadata service of an instance (IMDSv2), and of a container at ``/container``."""

    key_id: str = "ASIAMACHINEEXAMPLE00"
    secret: str = "machine-secret"
    session_token: str = "machine-session"
    role: str = "registry-reader"

    @property
    def key(self) -> Key:
        return Key(self.secret, self.session_token)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        keys = {
            "AccessKeyId": self.key_id,
            "SecretAccessKey": self.secret,
            "Token": self.session_token,
        }
        if request.path == "/container":
            known = request.headers.get("Authorization") == "container-token"
            return web.json_response(keys) if known else web.Response(status=400)
        if request.method == "PUT":
            return web.Response(text="session-of-imds")
        if request.headers.get("X-aws-ec2-metadata-token") != "session-of-imds":
            return web.Response(status=401)
        name = request.path.rpartition("/")[2]
        if not self.role:
            return web.Response(status=404)
        return web.json_response(keys) if name == self.role else web.Response(text=self.role)


def _oci_error(status: int, code: str, message: str) -> web.Response:
    body = {"errors": [{"code": code, "message": message}]}
    return web.json_response(body, status=status)
