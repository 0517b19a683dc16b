"""Keys for AWS: the stored ones, those of control's machine, and those of an assumed role."""

from datetime import datetime
from urllib.parse import urlencode

from pydantic import SecretStr

from shared.credentials.ecr import EcrSource
from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.control.providers.aws.endpoints import Service
from worker.control.providers.aws.machine import MachineIdentity
from worker.control.providers.aws.requests import find_element, require_success, send
from worker.control.providers.aws.signature import Keys, Message
from worker.control.providers.provider import HttpClient, Secrets
from worker.oci.transport.http import Response

STS_VERSION = "2011-06-15"
SESSION_NAME = "wharfinger"
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


async def find_keys(
    source: EcrSource, sts: Service, client: HttpClient, machine: MachineIdentity, now: datetime
) -> Keys:
    """Return the keys to get a login with.

    Raises:
        RegistryError: they cannot be had; the code says why.
    """
    keys = await _own_keys(source, sts, client, machine)
    return keys if source.role_arn is None else await _assume(source, keys, sts, client, now)


async def _own_keys(
    source: EcrSource, sts: Service, client: HttpClient, machine: MachineIdentity
) -> Keys:
    if source.access_key_id is not None and source.secret_access_key is not None:
        return Keys(source.access_key_id, source.secret_access_key, source.session_token)
    web_identity = machine.web_identity()
    if web_identity is None:
        return await machine.find_keys(client)
    values = {
        "Action": "AssumeRoleWithWebIdentity",
        "RoleArn": web_identity.role_arn,
        "WebIdentityToken": web_identity.token.get_secret_value(),
    }
    response = await client.post(sts.url, FORM, _form(values))
    label = f"the identity of the machine for the role {web_identity.role_arn}"
    require_success(response, label, "assume this role", Secrets((web_identity.token,)))
    return _read_keys(response, f"the role {web_identity.role_arn}")


async def _assume(
    source: EcrSource, keys: Keys, sts: Service, client: HttpClient, now: datetime
) -> Keys:
    values = {"Action": "AssumeRole", "RoleArn": source.role_arn or ""}
    if source.external_id is not None:
        values["ExternalId"] = source.external_id
    purpose = f"assume the role {source.role_arn}"
    answer = await send(client, sts, Message(FORM, _form(values)), keys, now, purpose=purpose)
    return _read_keys(answer.response, f"the role {source.role_arn}")


def _form(values: dict[str, str]) -> bytes:
    return urlencode({"Version": STS_VERSION, "RoleSessionName": SESSION_NAME, **values}).encode()


def _read_keys(response: Response, name: str) -> Keys:
    found = [
        find_element(response, part) for part in ("AccessKeyId", "SecretAccessKey", "SessionToken")
    ]
    if not all(found):
        raise RegistryError(
            FaultCode.REGISTRY_ERROR,
            "the answer of AWS's token service cannot be read",
            remedy="Check that no proxy answers in its place.",
        )
    key_id, secret, token = found
    return Keys(key_id, SecretStr(secret), SecretStr(token), name)
