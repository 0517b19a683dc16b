"""Run settings of an application's containers: health check, ports, mounts."""

import re
from collections.abc import Callable, Hashable
from math import ceil
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from api.fields.effects import AppliesTo
from api.fields.shapes import Input
from api.fields.sources import MAX_PATH_CHARACTERS, clean_path

Item = TypeVar("Item")

_VOLUME = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}$"
_SIGNALS = re.compile(
    r"HUP|INT|QUIT|ABRT|KILL|USR1|USR2|ALRM|TERM|WINCH|PWR|"
    r"RTMIN(\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?"
)
_SEPARATORS = re.compile("[:,]")
"""The words of Docker's short form of a mount."""


def _absolute(text: str) -> str:
    if not text.startswith("/") or _SEPARATORS.search(text):
        raise ValueError("Invalid path: must begin with a slash, without colons and commas")
    return f"/{clean_path(text)}"


def _absolute_below_root(text: str) -> str:
    if (path := _absolute(text)) == "/":
        raise ValueError("Invalid path: must be a path below the root, not the root")
    return path


def seconds_of(nanoseconds: float | None) -> int | None:
    """Return whole seconds, rounded up; the Engine's 0 is its default."""
    return ceil(nanoseconds / 1e9) if nanoseconds else None


def _signal(text: str) -> str:
    """Return the name of a signal that ends a program, with its prefix."""
    name = text.upper().removeprefix("SIG")
    if not _SIGNALS.fullmatch(name):
        raise ValueError(f"Invalid signal {text}: for example SIGTERM, SIGINT or SIGQUIT")
    return f"SIG{name}"


def _unique(key: Callable[[Item], Hashable], name: str) -> AfterValidator:
    def require(items: list[Item]) -> list[Item]:
        if len({key(item) for item in items}) < len(items):
            raise ValueError(f"Invalid list: {name} is given twice")
        return items

    return AfterValidator(require)


_PathField = Field(min_length=1, max_length=MAX_PATH_CHARACTERS)
PortNumber = Annotated[int, Field(ge=1, le=65535)]
HostPath = Annotated[str, _PathField, AfterValidator(_absolute)]
MountPath = Annotated[str, _PathField, AfterValidator(_absolute_below_root)]
VolumeName = Annotated[str, Field(pattern=_VOLUME)]
Word = Annotated[str, Field(max_length=1000)]
Command = Annotated[list[Word], Field(min_length=1, max_length=50)]


Nanoseconds = Annotated[float, Field(ge=0, le=3600e9)]
StopSignal = Annotated[str, Field(max_length=20), AfterValidator(_signal)]
StopGrace = Annotated[int, Field(ge=1, le=3600)]
DEFAULT_GRACE_SECONDS = 10
"""The time to stop that `docker stop` gives."""


class HealthCheck(Input):
    """A command that ends with 0 in a healthy container; run as it stands, by no shell."""

    command: Command
    interval_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    start_period_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
    retries: Annotated[int, Field(ge=1, le=100)] = 3


class SwarmHealthCheck(Input):
    """Dokploy's form of a health check, which is the Engine's: times in nanoseconds."""

    test: Annotated[list[Word], Field(max_length=50)] | None = Field(default=None, alias="Test")
    interval: Nanoseconds | None = Field(default=None, alias="Interval")
    timeout: Nanoseconds | None = Field(default=None, alias="Timeout")
    start_period: Nanoseconds | None = Field(default=None, alias="StartPeriod")
    retries: Annotated[int, Field(ge=0, le=100)] | None = Field(default=None, alias="Retries")

    @model_validator(mode="after")
    def _is_one_of_ours(self) -> Self:
        self.convert()
        return self

    def convert(self) -> HealthCheck | None:
        """Return it in our form; `None` if it is none.

        Raises:
            ValueError: a test that begins with none of the Engine's words.
        """
        match self.test or ["NONE"]:
            case ["NONE"]:
                return None
            case ["CMD", *command] if command:
                pass
            case ["CMD-SHELL", line]:
                command = ["/bin/sh", "-c", line]
            case _:
                raise ValueError("Invalid Test: expected CMD and a command, CMD-SHELL or NONE")
        times = {
            "intervalSeconds": seconds_of(self.interval),
            "timeoutSeconds": seconds_of(self.timeout),
            "startPeriodSeconds": seconds_of(self.start_period),
            "retries": self.retries or None,
        }
        given = {name: value for name, value in times.items() if value is not None}
        return HealthCheck.model_validate({"command": command, **given})


class Port(Input):
    """``targetPort`` of the container, reached at ``publishedPort`` of its server.

    Of a Swarm's service: ``ingress`` at every node, ``host`` at those that run it.
    """

    published_port: PortNumber
    target_port: PortNumber
    protocol: Literal["tcp", "udp"] = "tcp"
    publish_mode: Annotated[
        Literal["ingress", "host"], AppliesTo("runtime", ("service",), harmless="ingress")
    ] = "ingress"


class Mount(Input):
    """A directory of the server (``bind``) or a named volume, at ``mountPath`` of the container."""

    type: Literal["bind", "volume"]
    mount_path: MountPath
    host_path: HostPath | None = None
    volume_name: VolumeName | None = None
    read_only: bool = False

    @model_validator(mode="after")
    def _has_its_source(self) -> Self:
        sources = {"bind": self.host_path, "volume": self.volume_name}
        if sources.pop(self.type) is None or any(sources.values()):
            raise ValueError("Invalid mount: a bind needs hostPath, a volume volumeName; not both")
        return self


Ports = Annotated[
    list[Port],
    Field(max_length=50),
    _unique(lambda port: (port.published_port, port.protocol), "a port"),
]
Mounts = Annotated[
    list[Mount], Field(max_length=50), _unique(lambda mount: mount.mount_path, "a mountPath")
]
