"""Things are found by their id, their name, or the unique beginning of one."""

import pytest

from api.cli.names import APPLICATION, JOB, REGISTRY, WEBHOOK, choose
from shared.errors import SetupError

APPLICATIONS = [
    {"applicationId": "a1", "appName": "my-app-775duv", "name": "My App"},
    {"applicationId": "a2", "appName": "web", "name": "Web"},
    {"applicationId": "a3", "appName": "web-admin", "name": "Web"},
]

REGISTRIES = [
    {"registryId": "r1", "registryName": "Team"},
    {"registryId": "r2", "registryName": "Team"},
    {"registryId": "r3", "registryName": "Docker Hub"},
]


@pytest.mark.parametrize("name", ["a1", "my-app-775duv", "My App", "my-app"])
def test_a_thing_is_found_by_id_name_or_unique_beginning(name: str) -> None:
    assert choose(APPLICATION, APPLICATIONS, name)["applicationId"] == "a1"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("Web", "Use one of: web, web-admin."),
        ("we", "Use one of: web, web-admin."),
        ("wbe", "There is: web."),
        ("quite-different", "There is: my-app-775duv, web, web-admin."),
    ],
)
def test_near_names_are_offered(name: str, remedy: str) -> None:
    with pytest.raises(SetupError) as caught:
        choose(APPLICATION, APPLICATIONS, name)

    assert caught.value.remedy == remedy


def test_things_with_the_same_name_are_told_apart_by_their_ids() -> None:
    with pytest.raises(SetupError) as caught:
        choose(REGISTRY, REGISTRIES, "Team")

    assert caught.value.message == "2 registries are named Team"
    assert caught.value.remedy == "Use one of: Team (r1), Team (r2)."
    assert choose(REGISTRY, REGISTRIES, "r2") == REGISTRIES[1]


def test_an_id_wins_over_a_name_and_a_name_over_a_beginning() -> None:
    rows = [{"webhookId": "b", "url": "a"}, {"webhookId": "a", "url": "b"}]
    longer = [{"webhookId": "1", "url": "ab"}, {"webhookId": "2", "url": "a"}]

    assert choose(WEBHOOK, rows, "a")["webhookId"] == "a"
    assert choose(WEBHOOK, longer, "a")["webhookId"] == "2"


def test_a_thing_without_a_name_is_found_by_the_beginning_of_its_id() -> None:
    rows = [{"jobId": "0198-a"}, {"jobId": "0198-b"}]

    assert choose(JOB, rows, "0198-a") == rows[0]
    with pytest.raises(SetupError) as caught:
        choose(JOB, rows, "0198")
    assert caught.value.remedy == "Use one of: 0198-a, 0198-b."


def test_where_there_is_nothing_the_command_that_creates_is_named() -> None:
    with pytest.raises(SetupError) as caught:
        choose(REGISTRY, [], "Team")

    assert caught.value.message == "there is no registry Team"
    assert caught.value.remedy == "Create one: wharf registry create."
