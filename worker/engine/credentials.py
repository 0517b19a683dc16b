"""A login as an Engine takes it, and the rule that it goes to its own host only.

An Engine sends what it is given to whatever host the image name says, and does not look at
``serveraddress``: the comparison has to be ours.
"""

import base64
import json
from collections.abc import Mapping

from pydantic import JsonValue

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import RegistryHost
from worker.engine.errors import Doing
from worker.login import EngineLogin


def registry_auth(doing: Doing) -> Mapping[str, str]:
    """``X-Registry-Auth`` for a pull, a push or a look; ``{}`` for nobody (20.10 insists on one).

    Raises:
        EngineError: ``auth_missing``, the login is for another host.
    """
    login, reference = doing.login, doing.reference
    if login is not None and reference is not None:
        require_host(login, reference.registry, doing)
    content = json.dumps(credential(login) if login else {}).encode()
    return {"X-Registry-Auth": base64.urlsafe_b64encode(content).decode()}


def require_host(login: EngineLogin, host: str, doing: Doing) -> None:
    """Raises `EngineError` (``auth_missing``) unless the login may be sent to ``host``."""
    if login.host != host:
        raise EngineError(
            FaultCode.AUTH_MISSING, f"{doing}: the login is for {login.host}, not for {host}"
        )


def credential(login: EngineLogin) -> dict[str, JsonValue]:
    """The Engine's ``AuthConfig``, empty for nobody."""
    secret = login.secret.get_secret_value()
    if not login.username and not secret:
        return {}
    return {
        "username": login.username,
        "password": secret,
        "serveraddress": RegistryHost(login.host).login_key,
    }
