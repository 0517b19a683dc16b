"""Requests to a Swarm, without a Swarm."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from shared.jobs.containers import HealthProbe, PublishedPort
from shared.reference import Reference
from worker.engine.containers import APPLICATION, DEPLOYMENT
from worker.engine.swarm.nodes import Node, known_platforms, placement_platforms
from worker.engine.swarm.service_spec import TRIAL, ServiceSpec, order, parallelism

TARGET = Reference("r.example", "team/app", digest="sha256:" + "0" * 64)
INGRESS = PublishedPort(published_port=80, target_port=8080)
HOST = INGRESS.model_copy(update={"publish_mode": "host"})


def test_an_update_keeps_fields_of_a_person_and_replaces_ours() -> None:
    before: dict[str, Any] = {
        "TaskTemplate": {
            "Placement": {"Constraints": ["node.labels.disk==fast"]},
            "ContainerSpec": {"Env": ["OLD=1"], "Healthcheck": {"Test": ["CMD", "true"]}},
            "Networks": [{"Target": "n1"}],
        },
    }
    spec = ServiceSpec("app", TARGET, {}, environment={"NEW": SecretStr("2")})

    body: Any = spec.body(before, 7)

    task = body["TaskTemplate"]
    assert task["Placement"]["Constraints"] == ["node.labels.disk==fast"]
    assert task["Networks"] == [{"Target": "n1"}]
    assert (task["ContainerSpec"]["Env"], task["ContainerSpec"]["Healthcheck"]) == (["NEW=2"], None)
    assert task["ForceUpdate"] == 7


def test_a_new_task_without_a_health_check_is_monitored_before_the_next_update() -> None:
    check = HealthProbe(command=("true",))
    spec = ServiceSpec("app", TARGET, {}, replicas=2, steady=timedelta(seconds=5))
    watched: Any = spec.body()
    alone: Any = replace(spec, replicas=1).body()
    checked: Any = replace(spec, health_check=check).body()
    by_itself: Any = replace(spec, has_health_check=True).body()

    assert watched["UpdateConfig"]["Delay"] == watched["UpdateConfig"]["Monitor"] == 5 * 10**9
    assert alone["UpdateConfig"]["Delay"] == 0
    assert checked["UpdateConfig"] == by_itself["UpdateConfig"]
    assert checked["UpdateConfig"]["Delay"] == 0


@pytest.mark.parametrize(
    ("ports", "expected"),
    [((), "start-first"), ((INGRESS,), "start-first"), ((INGRESS, HOST), "stop-first")],
)
def test_only_a_port_in_mode_host_stops_the_old_task_first(
    ports: tuple[PublishedPort, ...], expected: str
) -> None:
    assert order(ports) == expected


def test_a_trial_joins_the_networks_without_the_names_and_ports_of_the_service() -> None:
    labels = {APPLICATION: "a", DEPLOYMENT: "2"}
    spec = ServiceSpec("a" * 63, TARGET, labels, replicas=3, ports=(HOST,))
    networks = [{"Target": "n1", "Aliases": ["db"]}]
    before: Any = {
        "Labels": {APPLICATION: "a", DEPLOYMENT: "1", "of": "a person"},
        "TaskTemplate": {"Networks": networks, "ContainerSpec": {"Labels": {APPLICATION: "a"}}},
    }

    body: Any = spec.trial(before)

    task = body["TaskTemplate"]
    assert task["Networks"] == [{"Target": "n1"}]
    assert body["Labels"] == task["ContainerSpec"]["Labels"] == {TRIAL: "a", DEPLOYMENT: "2"}
    assert (body["EndpointSpec"]["Ports"], body["Mode"]["Replicated"]["Replicas"]) == ([], 1)
    assert body["Name"] == f"{'a' * 57}-trial"


@pytest.mark.parametrize(("replicas", "expected"), [(1, 1), (19, 1), (20, 2), (100, 10)])
def test_a_tenth_of_the_tasks_is_replaced_at_a_time(replicas: int, expected: int) -> None:
    assert parallelism(replicas) == expected


def test_the_repr_of_a_spec_hides_the_environment() -> None:
    spec = ServiceSpec("app", TARGET, {}, environment={"PASSWORD": SecretStr("correct-horse")})

    assert "correct-horse" not in repr(spec)


@pytest.mark.parametrize(
    ("platforms", "runs"),
    [
        ((), True),
        (("linux/amd64",), True),
        (("linux/arm64", "linux/amd64"), True),
        (("linux/386",), True),
        (("linux/arm64",), False),
        (("windows/amd64",), False),
    ],
)
def test_a_node_runs_images_of_its_platform(platforms: tuple[str, ...], *, runs: bool) -> None:
    assert Node("id", 1, "n1", "linux", "amd64", is_up=True, is_ready=True).runs(platforms) is runs


def test_attestations_are_not_platforms_and_ambiguous_architectures_are_left_empty() -> None:
    assert known_platforms(("linux/amd64", "unknown/unknown", "")) == ("linux/amd64",)
    assert placement_platforms(("linux/amd64", "linux/arm/v7")) == [
        {"OS": "linux", "Architecture": "amd64"},
        {"OS": "linux", "Architecture": ""},
    ]
