"""Logins in the Engine's format, and the rule that a login is sent to its own host only.

An Engine sends a login to whatever host the image name contains, and ignores ``serveraddress``. So
the hosts are compared here.
"""

import base64
import json
from collections.abc import Mapping

from pydantic import JsonValue

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import RegistryHost
from worker.engine.errors import EngineOperation
from worker.login import EngineLogin


def make_registry_auth_header(operation: EngineOperation) -> Mapping[str, str]:
    """Make ``X-Registry-Auth``; ``{}`` without a login, as Engine 20.10 requires a value.

    Raises:
        EngineError: ``auth_missing``, the login is for another host.
    """
    login, reference = operation.login, operation.reference
    if login is not None and reference is not None:
        require_host(login, reference.registry, operation)
    content = json.dumps(make_auth_config(login) if login else {}).encode()
    return {"X-Registry-Auth": base64.urlsafe_b64encode(content).decode()}


def require_host(login: EngineLogin, host: str, operation: EngineOperation) -> None:
    """Raise `EngineError` (``auth_missing``) unless the login may be sent to ``host``."""
    if login.host != host:
        raise EngineError(
            FaultCode.AUTH_MISSING, f"{operation}: the login is for {login.host}, not for {host}"
        )


def make_auth_config(login: EngineLogin) -> dict[str, JsonValue]:
    """Make the Engine's ``AuthConfig``, empty without a login."""
    secret = login.secret.get_secret_value()
    if not login.username and not secret:
        return {}
    return {
        "username": login.username,
        "password": secret,
        "serveraddress": RegistryHost(login.host).login_key,
    }
