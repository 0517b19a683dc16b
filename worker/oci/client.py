"""A registry as one login sees it: the requests of the OCI distribution specification.

```text
request ──► 401 + challenge ──► Basic, or a token for the scope ──► request again, once
```
"""

from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, Self

from yarl import URL

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import RegistryHost, require_digest, require_repository, require_tag
from worker.login import Login
from worker.oci.answers import Asked, is_registry, make_no_registry, make_strange
from worker.oci.conversation import Conversation
from worker.oci.handshake import Proof
from worker.oci.listing import list_entries
from worker.oci.manifest import (
    ACCEPT,
    MANIFEST_LIMIT_BYTES,
    Descriptor,
    Manifest,
    measure_manifest,
    parse_descriptor,
    parse_manifest,
)
from worker.oci.route import Route
from worker.oci.scope import Scope
from worker.oci.settings import ConnectionSettings
from worker.oci.transport import Answer

PULL = frozenset({"pull"})
PUSH = frozenset({"pull", "push"})
PUSH_AND_CANCEL = frozenset({"pull", "push", "delete"})


@dataclass(frozen=True)
class Upload:
    """A begun upload; ``location`` is the registry's own address for it."""

    repository: str
    location: URL


class RegistryClient:
    """Talks with one registry, inside ``async with``.

    Every method raises `RegistryError` for a refusal and for a connection that failed, and
    `RefusedNetworkError` for an address that a registry may not have here.
    """

    def __init__(
        self,
        host: RegistryHost,
        login: Login | None,
        settings: ConnectionSettings,
        *,
        route: Route | None = None,
    ) -> None:
        """``route`` is a way that was found before; without it the first request finds one.

        Raises:
            CredentialError: the login belongs to another host.
        """
        self._conversation = Conversation(host, login, settings, route)
        self._name = host.name
        self._is_open: bool | None = None

    async def __aenter__(self) -> Self:
        await self._conversation.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._conversation.__aexit__(kind, error, trace)

    async def ping(self) -> bool:
        """Whether the registry, which this proves it to be, answers without any login.

        The credential is not sent.

        Raises:
            RegistryError: ``not_a_registry`` for a web page and for what only looks alike.
        """
        talk = self._conversation
        answer = await talk.send("GET", await talk.url(""), None, stays=True)
        if answer.status == 200 and is_registry(answer):
            self._is_open = True
        elif answer.status == 401 and await talk.learn(answer):
            self._is_open = False
        elif answer.status in {200, 401}:
            raise make_no_registry(answer, self._name)
        else:
            raise talk.refusal(answer, Asked.PING)
        return self._is_open

    async def authenticate(self, *scopes: Scope) -> Proof:
        """Prove the login: by Basic, or by a token for the first of the scopes that is not refused.

        Raises:
            RegistryError: ``auth_not_checked`` where nobody asks for the password,
                ``auth_bad_credentials``, ``auth_missing``, or the token server's trouble.
        """
        talk = self._conversation
        if self._is_open or (self._is_open is None and await self.ping()):
            if talk.login is None:
                return Proof()
            raise RegistryError(
                FaultCode.AUTH_NOT_CHECKED,
                f"{self._name} lets everybody in without asking for a password",
            )
        proof, authorization = await talk.handshake.prove(scopes)
        answer = await talk.send("GET", await talk.url(""), authorization, stays=True)
        if answer.status == 401 and proof.realm_host and talk.login:
            raise _make_untrusted_token(self._name, proof)
        if answer.status != 200:
            raise talk.refusal(answer, Asked.PING)
        if answer.is_html:
            raise make_strange(answer, self._name)
        return proof

    async def head_manifest(self, repository: str, target: str) -> Descriptor:
        """The descriptor of a tag or digest; computed from the content where headers lack.

        Raises:
            RegistryError: ``image_not_found``, ``pull_denied``, ``digest_mismatch`` …
        """
        require_repository(repository)
        is_digest = ":" in target
        (require_digest if is_digest else require_tag)(target)
        descriptor = await self._describe(repository, target)
        if is_digest and descriptor.digest != target:
            raise RegistryError(
                FaultCode.DIGEST_MISMATCH,
                f"{self._name}/{repository} answers other content than was asked for",
                evidence=f"{descriptor.digest} for {target}",
            )
        return descriptor

    async def get_manifest(self, repository: str, tag: str) -> Manifest:
        """What a tag stands for, read and measured.

        Raises:
            RegistryError: ``image_not_found``, ``pull_denied`` …
        """
        require_repository(repository)
        require_tag(tag)
        answer = await self._get_manifest(repository, tag)
        return parse_manifest(answer) or _raise(make_strange(answer, self._name))

    async def list_tags(self, repository: str, limit: int) -> tuple[str, ...]:
        """At most ``limit`` tags, in the registry's order."""
        require_repository(repository)
        path, scope = f"{repository}/tags/list", Scope(repository, PULL)
        return await list_entries(self._conversation, path, scope, limit=limit)

    async def catalog(self, limit: int) -> tuple[str, ...]:
        """At most ``limit`` repositories; many registries refuse this to everybody."""
        scope = Scope("catalog", frozenset("*"), "registry")
        return await list_entries(self._conversation, "_catalog", scope, limit=limit)

    async def start_upload(self, repository: str) -> Upload:
        """Begin an upload. A token that was given for more rights before is used for it.

        Raises:
            RegistryError: ``push_denied``, ``repo_missing`` …
        """
        require_repository(repository)
        talk = self._conversation
        url = await talk.url(f"{repository}/blobs/uploads/")
        answer = await talk.ask("POST", url, Scope(repository, PUSH))
        if answer.status != 202:
            raise talk.refusal(answer, Asked.PUSH, repository)
        if answer.location is None:
            raise make_strange(answer, f"{self._name}/{repository}")
        return Upload(repository, answer.location)

    async def cancel_upload(self, upload: Upload) -> None:
        """Have the registry forget a begun upload.

        Raises:
            RegistryError: it does not let us, or it keeps its uploads under another address.
        """
        talk = self._conversation
        if upload.location.origin() != (await talk.route()).origin:
            raise RegistryError(
                FaultCode.REGISTRY_ERROR,
                f"{self._name} keeps its uploads under another address",
                evidence=upload.location.host or "",
            )
        scope = Scope(upload.repository, PUSH_AND_CANCEL)
        answer = await talk.ask("DELETE", upload.location, scope)
        if answer.status not in {200, 202, 204, 404}:
            raise talk.refusal(answer, Asked.PUSH, upload.repository)

    async def _describe(self, repository: str, target: str) -> Descriptor:
        talk, scope = self._conversation, Scope(repository, PULL)
        url = await talk.url(f"{repository}/manifests/{target}")
        answer = await talk.ask("HEAD", url, scope, headers=ACCEPT)
        descriptor = parse_descriptor(answer) if answer.status == 200 else None
        if descriptor or answer.status not in {200, 405}:
            return descriptor or _raise(talk.refusal(answer, Asked.PULL, repository))
        answer = await self._get_manifest(repository, target)
        return measure_manifest(answer) or _raise(make_strange(answer, self._name))

    async def _get_manifest(self, repository: str, target: str) -> Answer:
        talk, scope = self._conversation, Scope(repository, PULL)
        url = await talk.url(f"{repository}/manifests/{target}")
        answer = await talk.ask("GET", url, scope, headers=ACCEPT, limit_bytes=MANIFEST_LIMIT_BYTES)
        if answer.status != 200:
            raise talk.refusal(answer, Asked.PULL, repository)
        return answer


def _make_untrusted_token(name: str, proof: Proof) -> RegistryError:
    return RegistryError(
        FaultCode.AUTH_BAD_CREDENTIALS,
        f"{name} does not accept the token that {proof.realm_host} made",
        remedy="Check username and password; if they are right, the registry does not trust its "
        "token server (keys, issuer, clocks).",
    )


def _raise(error: RegistryError) -> NoReturn:
    raise error
