"""The specification of a Swarm service, and of its rolling update.

```text
no port of the node    start-first   the new task runs, then the old one ends
a port in mode host    stop-first    a port exists once per node: the old task ends, then the new
```

A tenth of the tasks is replaced at a time, at least one. When the first new task ends, the Swarm
rolls back all tasks at once by itself, even if no worker of ours runs. A task counts as running
when its health check passes. Without a check it counts from its start, so it is monitored for a
while before the next one is replaced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from pydantic import JsonValue, SecretStr

from shared.jobs.containers import HealthProbe, Mounted, PublishedPort
from shared.reference import Reference
from worker.engine.containers import (
    APPLICATION,
    DEPLOYMENT,
    STOP_TIMEOUT,
    health_document,
    mount_document,
)
from worker.engine.swarm.nodes import placement_platforms

START_FIRST, STOP_FIRST = "start-first", "stop-first"

TRIAL = "io.wharfinger.trial"
"""The label of a trial service, with its application's id."""

MAX_NAME_CHARACTERS = 63
_SUFFIX = "-trial"

HEALTHY_MONITOR = timedelta(seconds=1)
"""How long a task is monitored after its health check has passed."""


@dataclass(frozen=True)
class ServiceSpec:
    """The settings of a service.

    ``reference`` has a digest; ``platforms`` are the image's, if known.

    ``has_health_check`` is set if the image has one. A task without a health check, from the image
    or from ``health_check``, has to run for ``steady``.
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
    has_health_check: bool = False
    stop_signal: str | None = None
    grace: timedelta = STOP_TIMEOUT
    steady: timedelta = timedelta(seconds=5)

    def body(
        self, previous_spec: Mapping[str, JsonValue] | None = None, force_update: int = 0
    ) -> dict[str, JsonValue]:
        """Return the body of create and update, with the environment in plain text.

        Fields of ``previous_spec`` that are not ours, such as networks or constraints that a person
        added, are kept. ``force_update`` is a different number for each update: a Swarm replaces
        tasks whose number differs, so the number also identifies the update that made a task.
        """
        return _merge(dict(previous_spec or {}), self._own_fields(force_update))

    @property
    def trial_name(self) -> str:
        return f"{self.name[: MAX_NAME_CHARACTERS - len(_SUFFIX)]}{_SUFFIX}"

    def trial(self, previous_spec: Mapping[str, JsonValue]) -> JsonValue:
        """Return the body of create for one trial task beside the running service.

        The task has no ports and no aliases in its networks, and is stopped without a grace period.
        """
        body = replace(self, name=self.trial_name, replicas=1, ports=()).body(previous_spec)
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

    def _own_fields(self, force_update: int) -> dict[str, JsonValue]:
        return {
            "Name": self.name,
            "Labels": dict(self.labels),
            "TaskTemplate": {
                "ContainerSpec": self._container(),
                "RestartPolicy": {"Condition": "any"},
                "Placement": {"Platforms": placement_platforms(self.platforms)},
                "ForceUpdate": force_update,
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
                f"{name}={_escape_template(value.get_secret_value())}"
                for name, value in sorted(self.environment.items())
            ],
            "Mounts": [mount_document(mount) for mount in self.mounts],
            "Healthcheck": None if check is None else health_document(check),
            "StopSignal": self.stop_signal or "",
            "StopGracePeriod": _nanoseconds(self.grace),
        }

    def _update(self) -> dict[str, JsonValue]:
        has_health_check = self.has_health_check or self.health_check is not None
        monitor = HEALTHY_MONITOR if has_health_check else self.steady
        is_one_step = self.replicas <= parallelism(self.replicas)
        return {
            "Parallelism": parallelism(self.replicas),
            "Delay": 0 if has_health_check or is_one_step else _nanoseconds(self.steady),
            "Monitor": _nanoseconds(monitor),
            "MaxFailureRatio": 0,
            "FailureAction": "rollback",
            "Order": order(self.ports),
        }

    def _rollback(self) -> dict[str, JsonValue]:
        return {
            "Parallelism": 0,
            "Delay": 0,
            "Monitor": _nanoseconds(HEALTHY_MONITOR),
            "MaxFailureRatio": 0,
            "FailureAction": "continue",
            "Order": order(self.ports),
        }


def order(ports: Sequence[PublishedPort]) -> str:
    """Return the order in which an old task ends and the new one starts."""
    return STOP_FIRST if any(port.publish_mode == "host" for port in ports) else START_FIRST


def parallelism(replicas: int) -> int:
    """Return how many tasks are replaced at a time."""
    return max(1, replicas // 10)


def make_restore_body(previous: Mapping[str, JsonValue]) -> JsonValue:
    """Make the body of an update that restores a spec; no automatic rollback follows it.

    Running tasks that match the spec are kept.
    """
    back = previous.get("RollbackConfig")
    config = dict(back) if isinstance(back, dict) else {}
    return {**previous, "UpdateConfig": {**config, "FailureAction": "continue"}}


def _part(document: Mapping[str, JsonValue], key: str) -> dict[str, JsonValue]:
    part = document.get(key)
    return part if isinstance(part, dict) else {}


def _merge(
    previous_spec: dict[str, JsonValue], own: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """Merge objects recursively; any other value of ours replaces the existing one."""
    merged = dict(previous_spec)
    for key, value in own.items():
        existing = merged.get(key)
        if isinstance(existing, dict) and isinstance(value, dict):
            merged[key] = _merge(existing, value)
        else:
            merged[key] = value
    return merged


def _escape_template(value: str) -> str:
    """Escape braces: a Swarm interprets the values of variables as templates."""
    return value.replace("{{", '{{"{{"}}')


def unescape_template(value: str) -> str:
    """Return the value of a variable from that of a spec."""
    return value.replace('{{"{{"}}', "{{")


def _port(port: PublishedPort) -> JsonValue:
    return {
        "Protocol": port.protocol,
        "TargetPort": port.target_port,
        "PublishedPort": port.published_port,
        "PublishMode": port.publish_mode,
    }


def _nanoseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1) * 1000
