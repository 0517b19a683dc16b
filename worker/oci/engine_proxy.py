"""Check a registry with TLS through the proxy of a server's Engine, without a login.

The proxy resolves the names, so addresses are not compared with those that registries may have; the
scheme of a token server is checked.
"""

import aiohttp

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference, parse_registry
from worker.oci.auth.realm import parse_realm, require_unambiguous
from worker.oci.registry.manifest import ACCEPT
from worker.oci.transport.address import require_host
from worker.oci.transport.certificate import make_context
from worker.oci.transport.errors import make_connection_error
from worker.oci.transport.http import HEADER_LIMIT_BYTES, USER_AGENT
from worker.oci.transport.route import Route
from worker.oci.transport.settings import ConnectionSettings


async def check_through_proxy(target: Reference, settings: ConnectionSettings) -> str:
    """Return the name that is safe: the registry, or one repository of an open registry.

    Raises:
        RefusedNetworkError: a token server at an address that is not allowed.
        RegistryError: ``auth_unsafe_realm``, ``proxy_error``, or the error of the registry.
    """
    host = parse_registry(target.registry)
    context = await make_context(host.name, settings.certificates)
    route = Route(host.hostname, host.port or 443, (), context)
    image = f"/v2/{target.repository}/manifests/{target.target}"
    status, challenges = await _send("GET", "/v2/", route, settings)
    safe_name = target.registry
    if status == 200:
        safe_name = target.name
        _, challenges = await _send("HEAD", image, route, settings)
    elif status != 401:
        message = f"{host.name} answers HTTP {status} through the proxy of the Docker Engine"
        raise RegistryError(FaultCode.PROXY_ERROR, message)
    for challenge in require_unambiguous(challenges, host.name):
        realm = parse_realm(challenge, host.name, route)
        require_host(realm.url.raw_host or "", settings.networks)
    return safe_name


async def _send(
    method: str, path: str, route: Route, settings: ConnectionSettings
) -> tuple[int, tuple[str, ...]]:
    """Return the status, and the challenges of a 401."""
    authority = f"{route.hostname}:{route.port}"
    headers = {"User-Agent": USER_AGENT, **ACCEPT}
    timeout = aiohttp.ClientTimeout(total=settings.deadlines.response.total_seconds())
    try:
        async with (
            aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=timeout,
                max_line_size=HEADER_LIMIT_BYTES,
                max_field_size=HEADER_LIMIT_BYTES,
            ) as session,
            session.request(
                method,
                route.origin.with_path(path),
                headers=headers,
                proxy=settings.proxy.url,
                ssl=route.context or True,
                allow_redirects=False,
            ) as response,
        ):
            values = response.headers.getall("WWW-Authenticate", ())
            return response.status, tuple(values) if response.status == 401 else ()
    except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
        message = (
            f"this worker cannot connect to {authority} through the proxy of the Docker Engine"
        )
        raise RegistryError(FaultCode.PROXY_ERROR, message) from error
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise make_connection_error(error, authority) from error
