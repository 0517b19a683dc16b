"""Servers of the real fleet: each with its own user at the broker."""

import pytest
import redis

from tests.journeys.conftest import Port
from worker.broker_users import ADMIN, server_user

pytestmark = pytest.mark.xdist_group("journeys")


def test_each_worker_is_connected_as_its_own_user_and_was_denied_nothing(port: Port) -> None:
    for server in port.servers:
        port.stack.call(
            "registry.testRegistryById",
            {"registryId": port.registry_id, "serverId": server.server_id},
        )
    assert port.stack.valkey is not None

    with redis.Redis.from_url(port.stack.valkey.url(ADMIN), decode_responses=True) as admin:
        connected = {client["user"] for client in admin.client_list()}
        denied = admin.acl_log()

    assert {server_user(server.server_id) for server in port.servers} <= connected
    assert denied == []
