"""Azure Container Registry: a token of Entra ID, exchanged for a refresh token of the registry.

```text
service principal ──► Entra ID (client credentials) ──► access token
                                    NAME.azurecr.io/oauth2/exchange ──► refresh token, about 3 h
```

By "AAD OAuth" of the Azure/acr project, and Microsoft's "OAuth 2.0 client credentials flow". A
refresh token is the password of the user with the empty GUID.
"""

from dataclasses import dataclass
from datetime import datetime

from pydantic import SecretStr
from yarl import URL

from shared.credentials.acr import AcrSource
from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.providers import read_expiry
from worker.control.providers.oauth import FORM, make_form, make_minted, read_token, require_granted
from worker.control.providers.provider import HttpClient, Minted, provider_time
from worker.control.providers.subject_token import read_file, require_machine
from worker.oci.transport.messages import classify

SCOPE = "https://containerregistry.azure.net/.default"
"""A token for registries alone; one for Azure's management could do much more."""

AUTHORITIES = {
    "io": "login.microsoftonline.com",
    "cn": "login.partner.microsoftonline.cn",
    "us": "login.microsoftonline.us",
}
"""The login hosts of Azure's clouds, by the end of a registry's host."""

CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
REMEDIES = {
    "AADSTS7000215": "Give the value of a client secret, not its id.",
    "AADSTS7000222": "The client secret has expired: make a new one in the app registration.",
    "AADSTS700016": "Check clientId and tenantId: the tenant does not know this application.",
    "AADSTS90002": "Check tenantId: there is no such tenant.",
    "AADSTS900023": "Check tenantId: there is no such tenant.",
    "AADSTS700024": "The token in federatedTokenFile has expired: check what renews this file.",
}
FEDERATED = frozenset({"AADSTS70021", "AADSTS700211", "AADSTS700212", "AADSTS700213"})
FEDERATED_REMEDY = (
    "Add a federated credential to the app registration whose issuer, subject and audience are "
    "those of the token in federatedTokenFile."
)
EXCHANGE_REMEDY = (
    "Check that tenantId is the registry's, and give the service principal a role at the registry: "
    "AcrPull or AcrPush; in a registry with ABAC, Container Registry Repository Reader or Writer."
)


@dataclass(frozen=True)
class AcrMinter:
    """Get refresh tokens; ``allows_machine`` lets sources use files of this machine."""

    allows_machine: bool = False

    async def mint(self, source: AcrSource, host: str, client: HttpClient, now: datetime) -> Minted:
        """Return a refresh token of the registry ``host``.

        Raises:
            RegistryError: as `Minter.mint`.
        """
        require_machine(source, is_allowed=self.allows_machine)
        access_token = await _sign_in(source, host, client)
        form = {
            "grant_type": "access_token",
            "service": host,
            "tenant": source.tenant_id,
            "access_token": access_token.get_secret_value(),
        }
        response = await client.post(URL(f"https://{host}/oauth2/exchange"), FORM, make_form(form))
        if response.status == 403 and classify(response.body, response.url, is_page=False):
            raise RegistryError(
                FaultCode.BLOCKED_BY_PROXY,
                f"the firewall of {host} refuses wharf control",
                remedy="Allow the address of wharf control in the registry's networking settings.",
            )
        subject = f"the exchange of the service principal's token at {host}"
        granted = require_granted(response, subject, lambda _: EXCHANGE_REMEDY)
        token = read_token(granted, "refresh_token", subject)
        ends = read_expiry(token.get_secret_value())
        lifetime = None if ends is None else ends - provider_time(response, now)
        return make_minted(token, lifetime, subject)


async def _sign_in(source: AcrSource, host: str, client: HttpClient) -> SecretStr:
    """Return an access token of the service principal."""
    authority = AUTHORITIES[host.partition(":")[0].rpartition(".")[2]]
    form = {
        "grant_type": "client_credentials",
        "client_id": source.client_id,
        "scope": SCOPE,
        **await _find_proof(source),
    }
    url = URL.build(scheme="https", host=authority, path=f"/{source.tenant_id}/oauth2/v2.0/token")
    response = await client.post(url, FORM, make_form(form))
    subject = f"a token for {source.client_id} at {authority}"
    return read_token(require_granted(response, subject, _find_remedy), "access_token", subject)


async def _find_proof(source: AcrSource) -> dict[str, str]:
    if source.federated_token_file is not None:
        token = await read_file(source.federated_token_file)
        return {
            "client_assertion_type": CLIENT_ASSERTION,
            "client_assertion": token.get_secret_value(),
        }
    secret = source.client_secret
    return {"client_secret": secret.get_secret_value() if secret else ""}


def _find_remedy(codes: tuple[str, ...]) -> str:
    if FEDERATED & set(codes):
        return FEDERATED_REMEDY
    return next((REMEDIES[code] for code in codes if code in REMEDIES), "")
