"""Ask a git server behind SSH for the endpoint of its LFS files.

``git-lfs-authenticate`` answers a URL and a login for it, which is valid for some minutes
(github.com/git-lfs/git-lfs: docs/api/server-discovery.md).
"""

from pydantic import BaseModel, SecretStr, ValidationError

from shared.errors import SourceError
from shared.faults import FaultCode
from shared.networks import RegistryNetworks
from worker.builds.sources.git.remote import Remote, open_remote
from worker.builds.sources.git.ssh import SshRemote
from worker.oci.transport.address import are_loopback


class _Answer(BaseModel):
    href: str
    header: dict[str, str] = {}


async def open_endpoint(remote: SshRemote, networks: RegistryNetworks) -> Remote:
    """Open the endpoint that the server names, with the login for it.

    Raises:
        SourceError: it names none, one without TLS, or an error of `SshSession.run`.
        RefusedNetworkError: the endpoint has an address that is not allowed here.
    """
    found = await remote.session.run(f"git-lfs-authenticate {remote.address.path} download")
    try:
        answer = _Answer.model_validate_json(found.output)
    except ValidationError:
        raise SourceError(
            FaultCode.SOURCE_INVALID,
            f"{remote.address.host} offers no LFS files over SSH",
            remedy="Set lfs.url in .lfsconfig to the https:// address of the LFS server.",
            evidence=found.errors,
        ) from None
    endpoint = await open_remote(answer.href, "", None, networks)
    if not endpoint.url.startswith("https://") and not are_loopback(endpoint.addresses):
        raise SourceError(
            FaultCode.SOURCE_INVALID,
            f"the LFS login for {endpoint.hostname} would be sent without TLS",
            remedy="Let the git host name an https:// address for LFS, or set lfs.url in "
            ".lfsconfig to the https:// address of the LFS server.",
        )
    return Remote(endpoint.url, endpoint.addresses, _authorization(answer))


def _authorization(answer: _Answer) -> SecretStr | None:
    headers = {name.lower(): value for name, value in answer.header.items()}
    value = headers.get("authorization", "")
    return SecretStr(value) if value and value.isascii() and value.isprintable() else None
