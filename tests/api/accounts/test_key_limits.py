"""Keys that may call some procedures only, or be used from some networks only."""

from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from api.procedure.context import Caller
from api.procedure.key_limits import is_covered, narrow
from api.routers import PROCEDURES
from shared.errors import ForbiddenError
from tests.api.asking import open_client

NAMES = sorted(PROCEDURES)
ENTRIES = st.sampled_from([*NAMES, *{f"{name.partition('.')[0]}.*" for name in NAMES}])


async def create(client: httpx2.AsyncClient, **limits: Any) -> dict[str, Any]:
    answer = await client.post("/api/apiKey.create", json={"name": "limited", **limits})
    assert answer.status_code == 200, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def test_a_key_calls_only_the_procedures_that_it_names(
    client: httpx2.AsyncClient, app: Starlette
) -> None:
    key = await create(client, procedures=["registry.all", "server.*"])
    paths = ("registry.all", "server.all", "server.buildServers", "registry.matrix", "job.all")

    async with open_client(app, key["key"]) as limited:
        answers = [await limited.get(f"/api/{path}") for path in paths]
        watched = await limited.get("/api/job.events", params={"jobId": "x"})

    assert key["procedures"] == ["registry.all", "server.*"]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 403, 403]
    assert answers[3].json()["message"] == "this API key may not call registry.matrix"
    assert watched.status_code == 403


@pytest.mark.parametrize(
    ("networks", "status"),
    [
        (["127.0.0.0/8"], 200),
        (["10.0.0.0/8", "127.0.0.1"], 200),
        (["10.0.0.0/8"], 403),
        (["::/0"], 403),
    ],
)
async def test_a_key_is_used_only_from_its_networks(
    client: httpx2.AsyncClient, app: Starlette, networks: list[str], status: int
) -> None:
    key = await create(client, networks=networks)

    async with open_client(app, key["key"]) as limited:
        answer = await limited.get("/api/registry.all")

    assert answer.status_code == status
    if status == 403:
        assert answer.json()["message"] == "this API key may not be used from 127.0.0.1"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"procedures": ["registry.reed"]}, "there is no procedure registry.reed"),
        ({"procedures": ["*"]}, "there is no procedure *"),
        ({"networks": ["10.0.0.1/8"]}, "Invalid network"),
        ({"networks": ["office"]}, "Invalid network"),
        ({"networks": ["::ffff:10.1.0.1/112"]}, "Invalid network"),
    ],
)
async def test_a_limit_that_cannot_be_meant_is_refused(
    client: httpx2.AsyncClient, limits: dict[str, Any], message: str
) -> None:
    answer = await client.post("/api/apiKey.create", json={"name": "limited", **limits})

    assert answer.status_code == 400
    assert message in answer.text


async def test_a_limited_key_creates_no_key_that_may_more(
    client: httpx2.AsyncClient, app: Starlette
) -> None:
    limits = {"procedures": ["apiKey.*", "registry.all"], "networks": ["127.0.0.0/8"]}
    key = await create(client, role="admin", **limits)

    async with open_client(app, key["key"]) as limited:
        same = await create(limited)
        less = await create(limited, procedures=["apiKey.all"], networks=["127.0.0.1"])
        more = [
            await limited.post("/api/apiKey.create", json={"name": "more", **wanted})
            for wanted in ({"procedures": ["registry.*"]}, {"networks": ["0.0.0.0/0"]})
        ]

    assert {name: same[name] for name in limits} == limits
    assert (less["procedures"], less["networks"]) == (["apiKey.all"], ["127.0.0.1/32"])
    assert [answer.status_code for answer in more] == [403, 403]


@pytest.mark.parametrize(
    ("of_key", "of_member", "stored"),
    [
        (["10.0.0.0/8"], ["10.1.0.0/16"], ["10.1.0.0/16"]),
        (["10.1.0.0/16", "192.0.2.0/24"], ["10.0.0.0/8", "fd00::/8"], ["10.1.0.0/16"]),
        ([], ["10.1.0.0/16"], ["10.1.0.0/16"]),
        (["10.0.0.0/8"], [], ["10.0.0.0/8"]),
    ],
)
def test_a_new_key_has_the_networks_that_its_creator_s_key_and_member_have_in_common(
    of_key: list[str], of_member: list[str], stored: list[str]
) -> None:
    caller = Caller("o", "k", "admin", networks=of_key, member_networks=of_member)

    assert narrow(caller, [], [])["networks"] == stored
    for wanted in ("10.0.0.0/7", "198.51.100.1"):
        with pytest.raises(ForbiddenError, match="no key that may"):
            narrow(caller, [], [wanted])


def test_a_caller_with_no_common_network_creates_no_key() -> None:
    own, others = ["10.0.0.0/8"], ["192.0.2.0/24"]
    caller = Caller("o", "k", "admin", networks=own, member_networks=others)

    with pytest.raises(ForbiddenError, match="no address in common"):
        narrow(caller, [], [])


@given(st.lists(ENTRIES, max_size=4), st.lists(ENTRIES, max_size=4), st.sampled_from(NAMES))
def test_no_key_that_a_limited_key_creates_may_call_what_that_one_may_not(
    own: list[str], wanted: list[str], name: str
) -> None:
    caller = Caller("o", "k", "admin", procedures=own)
    try:
        procedures = narrow(caller, wanted, [])["procedures"]
    except ForbiddenError:
        return

    if not procedures or is_covered(name, procedures):
        assert not own or is_covered(name, own)
