"""The keys that may build and deploy an application: decided without a database."""

from typing import Any

import pytest

from api.applications.permissions import require_builder
from api.procedure.context import Caller, Role
from shared.errors import ForbiddenError
from shared.models import Application

SECRET: dict[str, Any] = {"build_secrets": "v1.sealed"}
BIND: dict[str, Any] = {"mounts": [{"type": "bind", "host_path": "/srv"}]}
VOLUME: dict[str, Any] = {"mounts": [{"type": "volume", "volume_name": "data"}]}


def may(
    role: Role = "member", *, uploads: bool, application_id: str | None = None, **more: Any
) -> bool:
    """Return whether the key ``ours`` may build application ``app`` as it is."""
    caller = Caller("organization", "ours", role, application_id=application_id)
    fields: dict[str, Any] = {
        "application_id": "app",
        "organization_id": "ours",
        "name": "App",
        "app_name": "app",
    }
    application = Application(**fields, **more)
    try:
        require_builder(caller, application, uploads=uploads)
    except ForbiddenError:
        return False
    return True


@pytest.mark.parametrize("uploads", [False, True])
@pytest.mark.parametrize("held", [{}, SECRET, BIND])
def test_an_administrator_and_a_key_that_is_named_may_always(
    held: dict[str, Any], *, uploads: bool
) -> None:
    assert may("admin", uploads=uploads, allowed_keys=["another"], **held)
    assert may(uploads=uploads, allowed_keys=["ours", "another"], **held)


@pytest.mark.parametrize("uploads", [False, True])
def test_no_other_key_may_where_keys_are_named(*, uploads: bool) -> None:
    assert not may(uploads=uploads, allowed_keys=["another"])


@pytest.mark.parametrize("held", [SECRET, BIND, {"env": "v1.sealed"}])
def test_a_members_own_code_gets_no_secret_and_no_host_path_where_no_key_is_named(
    held: dict[str, Any],
) -> None:
    assert may(uploads=False, **held)
    assert not may(uploads=True, **held)


def test_every_member_may_where_no_key_is_named_and_nothing_is_protected() -> None:
    assert may(uploads=True)
    assert may(uploads=True, **VOLUME)


def test_a_deploy_hook_deploys_its_one_application() -> None:
    assert may(uploads=False, application_id="app", allowed_keys=["another"])
    assert not may(uploads=False, application_id="other", allowed_keys=["another"])
