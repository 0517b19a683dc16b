"""A registry as one login sees it: the requests of the OCI distribution specification.

```text
request ──► 401 + challenge ──► Basic, or a token for the scope ──► request again, once
```
"""

from types import TracebackType
from typing import Self

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import RegistryHost, require_repository
from worker.login import Login
from worker.oci.auth.handshake import Proof
from worker.oci.auth.scope import PULL, PUSH_AND_CANCEL, Scope
from worker.oci.registry import manifests
from worker.oci.registry.blob import BlobReader
from worker.oci.registry.conversation import Conversation
from worker.oci.registry.listing import list_entries, list_whole
from worker.oci.registry.manifest import Descriptor, Manifest
from worker.oci.registry.presence import require_present
from worker.oci.registry.referrers import find_referrers
from worker.oci.registry.uploads import Upload, Uploads
from worker.oci.transport.answers import Asked, is_registry, make_no_registry, make_strange
from worker.oci.transport.http import Request
from worker.oci.transport.route import Route, find_origin
from worker.oci.transport.settings import ConnectionSettings


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
        answer = await talk.send(Request("GET", await talk.url(""), stays=True), None)
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
        answer = await talk.send(Request("GET", await talk.url(""), stays=True), authorization)
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
        return await manifests.describe(self._conversation, repository, target)

    async def get_manifest(self, repository: str, target: str) -> Manifest:
        """What a tag or digest stands for, read and measured.

        Raises:
            RegistryError: ``image_not_found``, ``pull_denied``, ``digest_mismatch`` …
        """
        return await manifests.fetch(self._conversation, repository, target)

    async def put_manifest(self, repository: str, target: str, manifest: Manifest) -> None:
        """Store a manifest under a tag or under its own digest; what it names is there already.

        Raises:
            RegistryError: ``push_denied``, ``tag_immutable``, ``upload_corrupt`` …
        """
        await manifests.store(self._conversation, repository, target, manifest)

    async def has_manifest(self, repository: str, digest: str) -> bool:
        """Whether the repository holds a manifest.

        Raises:
            RegistryError: ``pull_denied`` …
        """
        return await manifests.has(self._conversation, repository, digest)

    async def delete_manifest(self, repository: str, digest: str) -> bool:
        """Delete a manifest and its tags, but not its children; ``False`` where there was none.

        What a registry answers is to be checked by `has_manifest`.

        Raises:
            RegistryError: ``delete_unsupported``, ``push_denied`` …
        """
        return await manifests.delete(self._conversation, repository, digest)

    async def delete_tag(self, repository: str, tag: str) -> bool:
        """Delete a tag by itself, of a registry that can; ``False`` where there was none.

        Raises:
            RegistryError: ``delete_unsupported``, ``push_denied`` …
        """
        return await manifests.delete_tag(self._conversation, repository, tag)

    async def list_referrers(self, repository: str, digest: str) -> tuple[str, ...] | None:
        """What refers to a manifest; ``None`` where the registry has no referrers API.

        Raises:
            RegistryError: ``pull_denied`` …
        """
        return await find_referrers(self._conversation, repository, digest)

    async def require_blob(self, repository: str, blob: Descriptor) -> None:
        """See that the repository holds a blob of this size, without reading it.

        Raises:
            RegistryError: ``image_incomplete``, ``pull_denied`` …
        """
        await require_present(self._conversation, repository, blob)

    def read_blob(self, repository: str, blob: Descriptor) -> BlobReader:
        """The chunks of a blob, to be iterated over and closed."""
        return BlobReader(self._conversation, repository, blob)

    def uploads(self, repository: str, *, mounts: str = "") -> Uploads:
        """The way into a repository, for blobs; ``mounts`` as in `Uploads`."""
        return Uploads(self._conversation, repository, mounts)

    async def list_tags(self, repository: str, limit: int) -> tuple[str, ...]:
        """At most ``limit`` tags, in the registry's order."""
        require_repository(repository)
        path, scope = f"{repository}/tags/list", Scope(repository, PULL)
        return await list_entries(self._conversation, path, scope, limit=limit)

    async def list_all_tags(self, repository: str, limit: int) -> tuple[str, ...] | None:
        """All tags; ``None`` where they are more than ``limit`` or cannot all be known."""
        require_repository(repository)
        path, scope = f"{repository}/tags/list", Scope(repository, PULL)
        return await list_whole(self._conversation, path, scope, limit=limit)

    async def catalog(self, limit: int) -> tuple[str, ...]:
        """At most ``limit`` repositories; many registries refuse this to everybody."""
        scope = Scope("catalog", frozenset("*"), "registry")
        return await list_entries(self._conversation, "_catalog", scope, limit=limit)

    async def start_upload(self, repository: str) -> Upload:
        """Begin an upload. A token that was given for more rights before is used for it.

        Raises:
            RegistryError: ``push_denied``, ``repo_missing`` …
        """
        return await self.uploads(repository).start()

    async def cancel_upload(self, upload: Upload) -> None:
        """Have the registry forget a begun upload.

        Raises:
            RegistryError: it does not let us, or it keeps its uploads under another address.
        """
        talk = self._conversation
        if find_origin(upload.location) != (await talk.route()).origin:
            raise RegistryError(
                FaultCode.REGISTRY_ERROR,
                f"{self._name} keeps its uploads under another address",
                evidence=upload.location.host or "",
            )
        scope = Scope(upload.repository, PUSH_AND_CANCEL)
        answer = await talk.ask(Request("DELETE", upload.location), scope)
        if answer.status not in {200, 202, 204, 404}:
            raise talk.refusal(answer, Asked.PUSH, upload.repository)


def _make_untrusted_token(name: str, proof: Proof) -> RegistryError:
    return RegistryError(
        FaultCode.AUTH_BAD_CREDENTIALS,
        f"{name} does not accept the token that {proof.realm_host} made",
        remedy="Check username and password; if they are right, the registry does not trust its "
        "token server (keys, issuer, clocks).",
    )
