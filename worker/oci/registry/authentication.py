"""The authentication of a login at a registry, proved by one request that shows more."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.oci.auth.handshake import Authentication
from worker.oci.auth.scope import Scope
from worker.oci.registry.client import RegistryClient
from worker.oci.transport.http import Request, Response
from worker.oci.transport.route import find_origin
from worker.oci.transport.shape import is_registrys
from worker.oci.transport.verdicts import Operation


@dataclass(frozen=True)
class Accepted:
    """A login that a registry accepted.

    ``first_page`` is the answer to the request that proved it: the tags of the first scope's
    repository, or why they cannot be read. ``None`` if another request proved it.
    """

    authentication: Authentication
    first_page: Response | None = None


async def authenticate(client: RegistryClient, *scopes: Scope) -> Accepted:
    """Authenticate by Basic, or by a token for the first of the scopes that is granted.

    Raises:
        RegistryError: ``auth_not_checked`` if no password is required,
            ``auth_bad_credentials``, ``auth_missing``, or an error of the token server.
    """
    if client.is_open or (client.is_open is None and await client.ping()):
        if client.login is None:
            return Accepted(Authentication())
        raise await _explain_open_registry(client, scopes)
    authentication, authorization = await client.handshake.authenticate(scopes)
    tried: Response | None = None
    if scopes:
        [trial, *_] = await _make_trials(client, scopes[0])
        tried = await client.send(trial, authorization)
        if tried.status in {200, 404} and is_registrys(tried):
            client.is_proved = True
            return Accepted(authentication, tried)
    await _require_accepted(client, authorization, authentication)
    return Accepted(authentication, tried)


async def try_login(client: RegistryClient) -> None:
    """Send the login once: to ``/v2/``, or for a token without a scope.

    Raises:
        RegistryError: ``auth_bad_credentials``, or any other error on the way.
    """
    if await client.ping():
        return
    authentication, authorization = await client.handshake.authenticate(())
    if not authentication.realm_host:
        await _require_accepted(client, authorization, authentication)


async def _explain_open_registry(client: RegistryClient, scopes: Sequence[Scope]) -> RegistryError:
    """Make the error of a registry whose ``/v2/`` asks for no login.

    It may ask for one below. Docker's image store then sends none, as it looks only at ``/v2/``.
    """
    trial = await _find_hidden_challenge(client, scopes)
    if trial is None:
        message = f"{client.host.name} accepts every client without asking for a password"
        return RegistryError(FaultCode.AUTH_NOT_CHECKED, message)
    _, authorization = await client.handshake.authenticate(scopes)
    tried = await client.send(trial, authorization)
    await _cancel_trial(client, tried, authorization)
    if tried.status == 401:
        return client.make_refusal(tried, Operation.PING)
    return RegistryError(
        FaultCode.AUTH_NOT_CHECKED,
        f"{client.host.name} asks for a login, but not at /v2/, so Docker sends none",
        remedy="Let the registry, or the proxy before it, ask for the login at /v2/ too.",
    )


async def _require_accepted(
    client: RegistryClient, authorization: str, authentication: Authentication
) -> None:
    """Ask ``/v2/``, which tells a wrong login from a missing permission.

    Raises:
        RegistryError: the login is not accepted, or there is no registry.
    """
    request = Request("GET", await client.url(""), same_origin_only=True)
    response = await client.send(request, authorization)
    if response.status == 401 and authentication.realm_host and client.login:
        raise _make_untrusted_token(client.host.name, authentication)
    client.require_registry(response)


async def _find_hidden_challenge(client: RegistryClient, scopes: Sequence[Scope]) -> Request | None:
    """Return the request for which an open registry asks for a login, if there is one."""
    for scope in scopes[:1]:
        for request in await _make_trials(client, scope):
            response = await client.send(request, None)
            if response.status == 401 and await client.accept_challenge(response):
                return request
            await _cancel_trial(client, response, None)
    return None


async def _make_trials(client: RegistryClient, scope: Scope) -> list[Request]:
    url = (await client.url(f"{scope.name}/tags/list")).with_query(n=1)
    trials = [Request("GET", url, same_origin_only=True)]
    if "push" in scope.actions:
        trials.append(Request("POST", await client.url(f"{scope.name}/blobs/uploads/")))
    return trials


async def _cancel_trial(
    client: RegistryClient, response: Response, authorization: str | None
) -> None:
    """Cancel the upload that a trial has started."""
    own = (await client.route()).origin
    if response.status == 202 and response.location and find_origin(response.location) == own:
        await client.send(Request("DELETE", response.location), authorization)


def _make_untrusted_token(name: str, authentication: Authentication) -> RegistryError:
    return RegistryError(
        FaultCode.AUTH_BAD_CREDENTIALS,
        f"{name} does not accept the token that {authentication.realm_host} issued",
        remedy="Check username and password. If they are right, the registry does not trust its "
        "token server (keys, issuer, clocks).",
    )
