"""What a Swarm service is made of, and how a Swarm goes from one version of it to the next.

```text
no port of the node    start-first   the new task runs, then the old one ends
a port in mode host    stop-first    a port is there once a node: the old task ends, the new begins
```

A tenth of the tasks at a time, one at least. The first of the new tasks that ends has the Swarm
roll back by itself, all at once, whether or not anybody of us is there. It takes a task for running
when its health check passes; without one at its start, so then it is watched for a while before the
next one is touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from pydantic import JsonValue, SecretStr

from shared.jobs.commands import HealthProbe, Mounted, PublishedPort
from shared.reference import Reference
from worker.engine.containers import APPLICATION, DEPLOYMENT, health_document, mount_document
from worker.engine.swarm.nodes import placement

START_FIRST, STOP_FIRST = "start-first", "stop-first"

TRIAL = "io.wharfinger.trial"
"""The label of a service that only tries a version out: its application's id."""

LONGEST_NAME = 63
_SUFFIX = "-trial"

SHORTLY = timedelta(seconds=1)
"""How long a task is still watched that has passed its health check."""


@dataclass(frozen=True)
class ServiceSpec:
    """``reference`` has a digest; ``platforms`` are those that the image is for, if that is known.

    A task without a health check, whether the image ``is_checked`` or it is given one, has to run
    for ``steady``.
    """

    name: str
    reference: Reference
    labels: Mapping[str, str]
    replicas: int = 1
    environment: Mapping[str, SecretStr] = field(default_factory=dict)
    health_check: HealthProbe | None = None
    ports: Sequence[PublishedPort] = ()
    mounts: Sequence[Mounted] = ()
    platforms: Sequence[str] = ()
    is_checked: bool = False
    steady: timedelta = timedelta(seconds=5)

    def body(
        self, before: Mapping[str, JsonValue] | None = None, turn: int = 0
    ) -> dict[str, JsonValue]:
        """That of create and update, with the environment in clear.

        What stands in the spec ``before`` and is nothing of ours, as networks or constraints that a
        person added, stays. ``turn`` is another number each time: a Swarm replaces tasks whose
        number differs, so they also tell which turn they are of.
        """
        return _over(dict(before or {}), self._ours(turn))

    @property
    def trial_name(self) -> str:
        return f"{self.name[: LONGEST_NAME - len(_SUFFIX)]}{_SUFFIX}"

    def trial(self, before: Mapping[str, JsonValue]) -> JsonValue:
        """That of create, for one task of it beside what runs by the spec ``before``.

        It has no ports, answers to no name in its networks, and is ended at once.
        """
        body = replace(self, name=self.trial_name, replicas=1, ports=()).body(before)
        labels: JsonValue = {
            TRIAL: self.labels[APPLICATION],
            DEPLOYMENT: self.labels[DEPLOYMENT],
        }
        task = _part(body, "TaskTemplate")
        container = {**_part(task, "ContainerSpec"), "Labels": labels, "StopGracePeriod": 1}
        networks = task.get("Networks")
        targets: list[JsonValue] = [
            {"Target": network.get("Target")}
            for network in (networks if isinstance(networks, list) else [])
            if isinstance(network, dict)
        ]
        task = {**task, "ContainerSpec": container, "Networks": targets}
        return {**body, "Labels": labels, "TaskTemplate": task}

    def _ours(self, turn: int) -> dict[str, JsonValue]:
        return {
            "Name": self.name,
            "Labels": dict(self.labels),
            "TaskTemplate": {
                "ContainerSpec": self._container(),
                "RestartPolicy": {"Condition": "any"},
                "Placement": {"Platforms": placement(self.platforms)},
                "ForceUpdate": turn,
            },
            "Mode": {"Replicated": {"Replicas": self.replicas}},
            "UpdateConfig": self._update(),
            "RollbackConfig": self._rollback(),
            "EndpointSpec": {"Ports": [_port(port) for port in self.ports]},
        }

    def _container(self) -> dict[str, JsonValue]:
        check = self.health_check
        return {
            "Image": f"{self.reference.name}@{self.reference.digest}",
            "Labels": dict(self.labels),
            "Env": [
                f"{name}={_literal(value.get_secret_value())}"
                for name, value in sorted(self.environment.items())
            ],
            "Mounts": [mount_document(mount) for mount in self.mounts],
            "Healthcheck": None if check is None else health_document(check),
        }

    def _update(self) -> dict[str, JsonValue]:
        is_checked = self.is_checked or self.health_check is not None
        watched = SHORTLY if is_checked else self.steady
        is_one_step = self.replicas <= parallelism(self.replicas)
        return {
            "Parallelism": parallelism(self.replicas),
            "Delay": 0 if is_checked or is_one_step else _nanoseconds(self.steady),
            "Monitor": _nanoseconds(watched),
            "MaxFailureRatio": 0,
            "FailureAction": "rollback",
            "Order": order(self.ports),
        }

    def _rollback(self) -> dict[str, JsonValue]:
        return {
            "Parallelism": 0,
            "Delay": 0,
            "Monitor": _nanoseconds(SHORTLY),
            "MaxFailureRatio": 0,
            "FailureAction": "continue",
            "Order": order(self.ports),
        }


def order(ports: Sequence[PublishedPort]) -> str:
    """In which order an old task and the new one in its place end and begin."""
    return STOP_FIRST if any(port.publish_mode == "host" for port in ports) else START_FIRST


def parallelism(replicas: int) -> int:
    """How many tasks are replaced at a time."""
    return max(1, replicas // 10)


def as_it_was(previous: Mapping[str, JsonValue]) -> JsonValue:
    """The body of an update that goes back to this; however it goes, nothing follows it by itself.

    Its tasks that still run are those that it asks for, and stay.
    """
    back = previous.get("RollbackConfig")
    config = dict(back) if isinstance(back, dict) else {}
    return {**previous, "UpdateConfig": {**config, "FailureAction": "continue"}}


def _part(document: Mapping[str, JsonValue], key: str) -> dict[str, JsonValue]:
    part = document.get(key)
    return part if isinstance(part, dict) else {}


def _over(before: dict[str, JsonValue], ours: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Objects are merged, anything else of ours replaces what there was."""
    merged = dict(before)
    for key, value in ours.items():
        known = merged.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            merged[key] = _over(known, value)
        else:
            merged[key] = value
    return merged


def _literal(value: str) -> str:
    """A Swarm takes variables for templates: braces that are meant as they stand say so."""
    return value.replace("{{", '{{"{{"}}')


def _port(port: PublishedPort) -> JsonValue:
    return {
        "Protocol": port.protocol,
        "TargetPort": port.target_port,
        "PublishedPort": port.published_port,
        "PublishMode": port.publish_mode,
    }


def _nanoseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1) * 1000
