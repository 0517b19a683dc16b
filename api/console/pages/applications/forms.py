"""Read the forms of an application's settings, and fill them from the application."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from shared.errors import InvalidInputError

Fields = dict[str, Any]
Typed = Mapping[str, str]

SERVER = "server-"
"""A checkbox for each server has this prefix and the server's id."""

SHELL = ("/bin/sh", "-c")
PORT = re.compile(r"(\d{1,5}):(\d{1,5})(?:/(tcp|udp))?(?: (ingress|host))?")
MOUNT = re.compile(r"([^:,\s]+):(/[^:,]*?)(:ro)?")

SOURCE = ("name", "description", "sourceType", "dockerImage", "customGitUrl", "customGitBranch")
BUILD = (
    *("customGitBuildPath", "dockerfile", "dockerContextPath", "dockerBuildStage"),
    *("platform", "buildServerId", "registryId", "buildRegistryId", "rollbackRegistryId"),
    *("rollbacksToKeep",),
)
RUN = ("runtime", "ports", "mounts", "replicas", "rolloutBatch", "rolloutOnFailure")
STOP = ("stopSignal", "stopGraceSeconds")
HEALTH = ("healthCommand", "healthInterval", "healthTimeout", "healthStart", "healthRetries")
VARIABLES = ("env", "buildArgs", "buildSecrets")
LOGIN = ("customGitUsername", "customGitToken", "customGitHostKey")


def read_source(typed: Typed) -> Fields:
    """Return the name and the source that was chosen."""
    kind = typed.get("sourceType", "")
    fields: Fields = {"name": _required(typed, "name", "Enter a name.")}
    fields["description"] = typed.get("description", "").strip()
    match kind:
        case "docker":
            image = _required(typed, "dockerImage", "Enter an image, as ghcr.io/acme/shop:1.4.")
            return {**fields, "dockerImage": image}
        case "git":
            url = _required(typed, "customGitUrl", "Enter the URL of the repository.")
            return {**fields, "customGitUrl": url, **_given(typed, "customGitBranch")}
        case "drop":
            return {**fields, "sourceType": kind}
        case _:
            raise InvalidInputError("no source is chosen", remedy="Choose image, git or upload.")


def read_registries(typed: Typed, source: str) -> Fields:
    """Return where images come from and go to, and on what they are built."""
    if source == "docker":
        return {
            "registryId": _or_none(typed, "registryId"),
            "platform": _or_none(typed, "platform"),
        }
    keep = _or_none(typed, "rollbackRegistryId")
    fields: Fields = {
        "platform": _or_none(typed, "platform"),
        "buildServerId": _or_none(typed, "buildServerId"),
        "registryId": _or_none(typed, "registryId"),
        "buildRegistryId": _or_none(typed, "buildRegistryId"),
        "rollbackRegistryId": keep,
        "rollbackActive": keep is not None,
    }
    if keep is not None:
        fields |= _number(typed, "rollbacksToKeep")
    return fields


def read_way(typed: Typed, source: str) -> Fields:
    """Return how an image is built from the sources."""
    if source == "docker":
        return {}
    fields = _given(typed, "dockerfile", "dockerContextPath", "dockerBuildStage")
    return {**fields, **(_given(typed, "customGitBuildPath") if source == "git" else {})}


def read_run(typed: Typed) -> Fields:
    """Return where and how it runs."""
    fields: Fields = {
        "serverIds": sorted(name.removeprefix(SERVER) for name in typed if name.startswith(SERVER)),
        "runtime": typed.get("runtime") or "container",
        "rolloutOnFailure": typed.get("rolloutOnFailure") or "stop",
        **_number(typed, "rolloutBatch"),
    }
    if fields["runtime"] == "none":
        return fields
    ports = parse_ports(typed.get("ports", ""))
    if fields["runtime"] == "service":
        fields |= _number(typed, "replicas")
    fields |= {"ports": ports, "mounts": parse_mounts(typed.get("mounts", ""))}
    return {
        **fields,
        **_number(typed, "stopGraceSeconds"),
        "stopSignal": _or_none(typed, "stopSignal"),
    }


def read_health(typed: Typed) -> Fields:
    """Return the health check; without a command there is none."""
    line = typed.get("healthCommand", "").strip()
    if not line:
        return {"healthCheck": None}
    command = [*SHELL, line] if typed.get("healthShell") != "no" else _split(line)
    names = {
        "healthInterval": "intervalSeconds",
        "healthTimeout": "timeoutSeconds",
        "healthStart": "startPeriodSeconds",
        "healthRetries": "retries",
    }
    times = {names[name]: value for each in names for name, value in _number(typed, each).items()}
    return {"healthCheck": {"command": command, **times}}


def read_variables(typed: Typed, source: str) -> Fields:
    """Return the variables that were typed; what was left empty stays as it is."""
    return _given(typed, "env", *(("buildArgs", "buildSecrets") if source != "docker" else ()))


def read_login(typed: Typed, source: str) -> Fields:
    """Return the login of a private repository, as far as it was typed."""
    return _given(typed, *LOGIN) if source == "git" else {}


def fill(application: Fields) -> dict[str, str]:
    """Return the values of all forms for an application."""
    names = (*SOURCE, *BUILD, *RUN, *STOP, "customGitUsername", "customGitHostKey")
    values = {name: application.get(name) for name in names if name not in {"ports", "mounts"}}
    plain = {name: str(value) for name, value in values.items() if value not in {None, ""}}
    plain["ports"] = "\n".join(_show_port(each) for each in application["ports"])
    plain["mounts"] = "\n".join(_show_mount(each) for each in application["mounts"])
    plain["buildArgs"] = application["buildArgs"]
    plain |= {f"{SERVER}{each}": "true" for each in application["serverIds"]}
    return {**plain, **_fill_health(application["healthCheck"])}


def parse_ports(text: str) -> list[Fields]:
    """Parse ``8080:80/tcp``, one a line: the server's port, the container's."""
    ports = []
    for line in _lines(text):
        found = PORT.fullmatch(line)
        if found is None:
            raise InvalidInputError(
                f"{line} is not a port", remedy="Write one a line: 8080:80, or 53:53/udp."
            )
        published, target, protocol, mode = found.groups()
        port = {"publishedPort": int(published), "targetPort": int(target)}
        ports.append({**port, "protocol": protocol or "tcp", "publishMode": mode or "ingress"})
    return ports


def parse_mounts(text: str) -> list[Fields]:
    """Parse ``data:/var/lib/data`` or ``/srv/files:/files:ro``, one a line."""
    mounts = []
    for line in _lines(text):
        found = MOUNT.fullmatch(line)
        if found is None:
            raise InvalidInputError(
                f"{line} is not a mount",
                remedy="Write one a line: data:/var/lib/data, or /srv/files:/files:ro.",
            )
        source, path, read_only = found.groups()
        kind = {"type": "bind", "hostPath": source} if source.startswith("/") else {}
        kind = kind or {"type": "volume", "volumeName": source}
        mounts.append({**kind, "mountPath": path, "readOnly": read_only is not None})
    return mounts


def _show_port(port: Fields) -> str:
    protocol = "/udp" if port["protocol"] == "udp" else ""
    mode = " host" if port["publishMode"] == "host" else ""
    return f"{port['publishedPort']}:{port['targetPort']}{protocol}{mode}"


def _show_mount(mount: Fields) -> str:
    source = mount.get("hostPath") or mount.get("volumeName")
    return f"{source}:{mount['mountPath']}{':ro' if mount['readOnly'] else ''}"


def _fill_health(check: Fields | None) -> dict[str, str]:
    if check is None:
        return {}
    command = check["command"]
    has_shell = tuple(command[:2]) == SHELL and len(command) == 3
    return {
        "healthCommand": command[2] if has_shell else shlex.join(command),
        "healthShell": "yes" if has_shell else "no",
        "healthInterval": str(check["intervalSeconds"]),
        "healthTimeout": str(check["timeoutSeconds"]),
        "healthStart": str(check["startPeriodSeconds"]),
        "healthRetries": str(check["retries"]),
    }


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InvalidInputError(
            f"the command of the health check cannot be read: {error}",
            remedy="Close its quotation marks.",
        ) from error


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _given(typed: Typed, *names: str) -> Fields:
    return {name: typed[name].strip() for name in names if typed.get(name, "").strip()}


def _or_none(typed: Typed, name: str) -> str | None:
    return typed.get(name, "").strip() or None


def _required(typed: Typed, name: str, remedy: str) -> str:
    text = typed.get(name, "").strip()
    if not text:
        raise InvalidInputError("a field is empty", remedy=remedy)
    return text


def _number(typed: Typed, name: str) -> Fields:
    text = typed.get(name, "").strip()
    if not text:
        return {}
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidInputError(f"{text} is not a number", remedy="Write a number like 10.")
    return {name: int(text)}
