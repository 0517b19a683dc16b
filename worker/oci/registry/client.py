"""The client of a registry, with the requests of the OCI distribution specification.

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
from worker.oci.auth.handshake import Authentication
from worker.oci.auth.scope import PULL, PUSH_AND_CANCEL, Scope
from worker.oci.registry import manifests
from worker.oci.registry.blob import BlobReader
from worker.oci.registry.conversation import RegistrySession
from worker.oci.registry.listing import list_all_entries, list_entries
from worker.oci.registry.manifest import Descriptor, Manifest
from worker.oci.registry.presence import require_present
from worker.oci.registry.referrers import find_referrers
from worker.oci.registry.uploads import Upload, Uploads
from worker.oci.transport.answers import (
    Operation,
    is_registry,
    make_not_a_registry_error,
    make_protocol_error,
)
from worker.oci.transport.http import Request
from worker.oci.transport.route import Route, find_origin
from worker.oci.transport.settings import ConnectionSettings


class RegistryClient:
    """A client of one registry, to be used inside ``async with``.

    Every method raises `RegistryError` for a refusal and for a failed connection, and
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
        """Prepare the client; ``route`` is an already known route to the registry.

        Raises:
            CredentialError: the login belongs to another host.
        """
        self._session = RegistrySession(host, login, settings, route)
        self._name = host.name
        self._is_open: bool | None = None

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.__aexit__(kind, error, trace)

    async def ping(self) -> bool:
        """Verify that a registry answers, and return whether it does so without a login.

        The credential is not sent.

        Raises:
            RegistryError: ``not_a_registry`` for a web page or any other service.
        """
        session = self._session
        response = await session.send(
            Request("GET", await session.url(""), same_origin_only=True), None
        )
        if response.status == 200 and is_registry(response):
            self._is_open = True
        elif response.status == 401 and await session.accept_challenge(response):
            self._is_open = False
        elif response.status in {200, 401}:
            raise make_not_a_registry_error(response, self._name)
        else:
            raise session.make_refusal(response, Operation.PING)
        return self._is_open

    async def authenticate(self, *scopes: Scope) -> Authentication:
        """Authenticate by Basic, or by a token for the first of the scopes that is granted.

        Raises:
            RegistryError: ``auth_not_checked`` if no password is required,
                ``auth_bad_credentials``, ``auth_missing``, or an error of the token server.
        """
        session = self._session
        if self._is_open or (self._is_open is None and await self.ping()):
            if session.login is None:
                return Authentication()
            raise RegistryError(
                FaultCode.AUTH_NOT_CHECKED,
                f"{self._name} accepts every client without asking for a password",
            )
        authentication, authorization = await session.handshake.authenticate(scopes)
        response = await session.send(
            Request("GET", await session.url(""), same_origin_only=True), authorization
        )
        if response.status == 401 and authentication.realm_host and session.login:
            raise _make_untrusted_token(self._name, authentication)
        if response.status != 200:
            raise session.make_refusal(response, Operation.PING)
        if response.is_html:
            raise make_protocol_error(response, self._name)
        return authentication

    async def head_manifest(self, repository: str, target: str) -> Descriptor:
        """Return the descriptor of a tag or digest, computed from the content if headers lack.

        Raises:
            RegistryError: ``image_not_found``, ``pull_denied``, ``digest_mismatch`` …
        """
        return await manifests.describe(self._session, repository, target)

    async def get_manifest(self, repository: str, target: str) -> Manifest:
        """Return the manifest of a tag or digest, with its computed digest.

        Raises:
            RegistryError: ``image_not_found``, ``pull_denied``, ``digest_mismatch`` …
        """
        return await manifests.fetch(self._session, repository, target)

    async def put_manifest(self, repository: str, target: str, manifest: Manifest) -> None:
        """Store a manifest under a tag or its own digest; its blobs and manifests must exist.

        Raises:
            RegistryError: ``push_denied``, ``tag_immutable``, ``upload_corrupt`` …
        """
        await manifests.store(self._session, repository, target, manifest)

    async def has_manifest(self, repository: str, digest: str) -> bool:
        """Return whether the repository holds a manifest.

        Raises:
            RegistryError: ``pull_denied`` …
        """
        return await manifests.has(self._session, repository, digest)

    async def delete_manifest(self, repository: str, digest: str) -> bool:
        """Delete a manifest with its tags, not its children; return whether it existed.

        Check the result with `has_manifest`: some registries confirm a deletion without doing it.

        Raises:
            RegistryError: ``delete_unsupported``, ``push_denied`` …
        """
        return await manifests.delete(self._session, repository, digest)

    async def delete_tag(self, repository: str, tag: str) -> bool:
        """Delete only a tag, if the registry supports that; return whether it existed.

        Raises:
            RegistryError: ``delete_unsupported``, ``push_denied`` …
        """
        return await manifests.delete_tag(self._session, repository, tag)

    async def list_referrers(self, repository: str, digest: str) -> tuple[str, ...] | None:
        """Return the digests of a manifest's referrers; ``None`` without a referrers API.

        Raises:
            RegistryError: ``pull_denied`` …
        """
        return await find_referrers(self._session, repository, digest)

    async def require_blob(self, repository: str, blob: Descriptor) -> None:
        """Check that the repository holds a blob of this size, without reading it.

        Raises:
            RegistryError: ``image_incomplete``, ``pull_denied`` …
        """
        await require_present(self._session, repository, blob)

    def read_blob(self, repository: str, blob: Descriptor) -> BlobReader:
        """Return an iterator over the chunks of a blob; the caller closes it."""
        return BlobReader(self._session, repository, blob)

    def uploads(self, repository: str, *, mount_from: str = "") -> Uploads:
        """Return the uploads to a repository; ``mount_from`` as in `Uploads`."""
        return Uploads(self._session, repository, mount_from)

    async def list_tags(self, repository: str, limit: int) -> tuple[str, ...]:
        """Return at most ``limit`` tags, in the registry's order."""
        require_repository(repository)
        path, scope = f"{repository}/tags/list", Scope(repository, PULL)
        return await list_entries(self._session, path, scope, limit=limit)

    async def list_all_tags(self, repository: str, limit: int) -> tuple[str, ...] | None:
        """Return all tags; ``None`` if there are more than ``limit`` or the list is incomplete."""
        require_repository(repository)
        path, scope = f"{repository}/tags/list", Scope(repository, PULL)
        return await list_all_entries(self._session, path, scope, limit=limit)

    async def catalog(self, limit: int) -> tuple[str, ...]:
        """Return at most ``limit`` repositories; many registries refuse this to every login."""
        scope = Scope("catalog", frozenset("*"), "registry")
        return await list_entries(self._session, "_catalog", scope, limit=limit)

    async def start_upload(self, repository: str) -> Upload:
        """Start an upload. A token that was issued for more rights is reused.

        Raises:
            RegistryError: ``push_denied``, ``repo_missing`` …
        """
        return await self.uploads(repository).start()

    async def cancel_upload(self, upload: Upload) -> None:
        """Cancel an upload that was started.

        Raises:
            RegistryError: it refuses, or has its uploads at another address.
        """
        session = self._session
        if find_origin(upload.location) != (await session.route()).origin:
            raise RegistryError(
                FaultCode.REGISTRY_ERROR,
                f"{self._name} has its uploads at another address",
                evidence=upload.location.host or "",
            )
        scope = Scope(upload.repository, PUSH_AND_CANCEL)
        response = await session.send_authorized(Request("DELETE", upload.location), scope)
        if response.status not in {200, 202, 204, 404}:
            raise session.make_refusal(response, Operation.PUSH, upload.repository)


def _make_untrusted_token(name: str, authentication: Authentication) -> RegistryError:
    return RegistryError(
        FaultCode.AUTH_BAD_CREDENTIALS,
        f"{name} does not accept the token that {authentication.realm_host} issued",
        remedy="Check username and password. If they are right, the registry does not trust its "
        "token server (keys, issuer, clocks).",
    )
