"""``wharf build``: request a build, follow it, and exit with its outcome."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import httpx2

from api.cli.client import ClientSettings, base_url, call, headers_of
from api.cli.output.text import write_note
from shared.errors import SetupError, in_sentences
from shared.tls import tls_context

STEPS = {"image.build": "build", "image.pull": "pull", "image.push": "push", "image.copy": "retain"}
CODES = {"succeeded": 0, "failed": 1, "cancelled": 3, "superseded": 4, "expired": 5}
"""Exit codes by the build's final state; 2 is a usage error."""

NAMES = ("applicationId", "appName", "name")
SHOWN_NAMES = 5
POLL_SECONDS = 0.5
SILENT_SECONDS = 60.0
"""The stream's timeout; the API sends at least a comment every 15 s."""


@dataclass(frozen=True)
class BuildOptions:
    """The options of the command; ``key`` is an ``Idempotency-Key``."""

    application: str
    tag: str | None = None
    branch: str | None = None
    commit: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class SseEvent:
    """One server-sent event."""

    id: str
    name: str
    data: dict[str, Any]


def start(settings: ClientSettings, options: BuildOptions) -> dict[str, Any]:
    """Request the build; return it as the API shows it.

    Raises:
        SetupError: there is no such application, or the API refused the request.
    """
    fields = {"tag": options.tag, "branch": options.branch, "commit": options.commit}
    return request_for(settings, "application.build", options.application, fields, key=options.key)


def request_for(
    settings: ClientSettings,
    procedure: str,
    application: str,
    fields: Mapping[str, str | None],
    *,
    key: str | None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Call a procedure for an application, with the given fields that are not `None`.

    Raises:
        SetupError: there is no such application, or the API refused the request.
    """
    body = {name: value for name, value in fields.items() if value is not None}
    found = find_application(call(settings, "application.all"), application)
    request: dict[str, Any] = call(
        settings,
        procedure,
        {"applicationId": found["applicationId"], **body},
        headers={**(headers or {}), **({"Idempotency-Key": key} if key else {})},
    )
    return request


def find_application(applications: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the application with this id, ``appName`` or name, or the only one that begins so.

    Raises:
        SetupError: no application or several applications match; it names those that are near.
    """
    for field in NAMES:
        found = [each for each in applications if each[field] == name]
        if found:
            return _the_only(found, f"{len(found)} applications are named {name}")
    begins = [each for each in applications if any(each[one].startswith(name) for one in NAMES)]
    if name and begins:
        return _the_only(begins, f"{len(begins)} applications begin with {name}")
    by_name = {each[field]: each for each in applications for field in ("appName", "name")}
    near = [by_name[one] for one in get_close_matches(name, by_name)] or applications
    remedy = f"There is: {_list_names(near)}." if near else "Create one with application.create."
    raise SetupError(f"there is no application {name}", remedy=remedy)


def _the_only(found: list[dict[str, Any]], text: str) -> dict[str, Any]:
    if len(found) > 1:
        raise SetupError(text, remedy=f"Use one of: {_list_names(found)}.")
    return found[0]


def _list_names(applications: list[dict[str, Any]]) -> str:
    names = dict.fromkeys(each["appName"] for each in applications)
    more = ["…"] if len(names) > SHOWN_NAMES else []
    return ", ".join([*list(names)[:SHOWN_NAMES], *more])


def follow(settings: ClientSettings, build: dict[str, Any]) -> Iterator[str]:
    """Follow a build, line by line, until it has ended."""
    for job_id in build["jobIds"]:
        yield from _follow_job(settings, job_id)


def ended(settings: ClientSettings, build: dict[str, Any]) -> dict[str, Any]:
    """Return the build once it has ended: within two seconds after its last job."""
    while True:
        shown: dict[str, Any] = call(settings, "build.one", {"buildId": build["buildId"]})
        if shown["finishedAt"] is not None:
            return shown
        time.sleep(POLL_SECONDS)


def summary(build: dict[str, Any]) -> str:
    """Return the image by its digest, or why there is none."""
    if build["state"] == "succeeded":
        return f"{build['reference']}@{build['digest']}" if build["digest"] else build["reference"]
    return f"build {build['version']} {build['state']}{error_text(build['error'])}"


def error_text(error: Mapping[str, Any] | None) -> str:
    """Return the error for the end of a line; an empty text if there is none."""
    if not error:
        return ""
    text = f"{error['code']}: {in_sentences(error['message'], error.get('remedy') or '')}"
    return f": {' '.join(text.split())}"


def read_events(lines: Iterable[str]) -> Iterator[SseEvent]:
    """Parse the events of a ``text/event-stream`` (WHATWG HTML, section 9.2.6)."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields:
            data = json.loads(fields["data"])
            yield SseEvent(fields.get("id", ""), fields.get("event", "message"), data)
        fields = {}


def _follow_job(settings: ClientSettings, job_id: str) -> Iterator[str]:
    step = STEPS.get(call(settings, "job.one", {"jobId": job_id})["kind"], "job")
    last = ""
    while True:
        try:
            for event in _listen(settings, job_id, last):
                last = event.id or last
                yield from _lines(step, event)
                if event.data.get("state") in {"succeeded", "failed", "cancelled", "expired"}:
                    return
        except httpx2.HTTPError as error:
            write_note(f"the stream broke ({type(error).__name__}), reconnecting")
        else:
            # The stream ended: the job has ended, or this API process stops.
            if call(settings, "job.one", {"jobId": job_id})["finishedAt"] is not None:
                return
        time.sleep(POLL_SECONDS)


def _listen(settings: ClientSettings, job_id: str, last: str) -> Iterator[SseEvent]:
    headers = headers_of(settings) | ({"Last-Event-ID": last} if last else {})
    with httpx2.stream(
        "GET",
        f"{base_url(settings)}/api/trpc/job.events",
        params={"jobId": job_id},
        headers=headers,
        timeout=SILENT_SECONDS,
        verify=tls_context(),
    ) as answer:
        if answer.status_code == httpx2.codes.OK:
            yield from read_events(answer.iter_lines())


def _lines(step: str, event: SseEvent) -> Iterator[str]:
    match event.name:
        case "state":
            error = (event.data.get("data") or {}).get("error") or {}
            text = f"{error['code']}: {error['message']}" if error else ""
            cause = f" ({' '.join(text.split())})" if text else ""
            yield f"{step}: {event.data['state']}{cause}"
        case "log":
            yield from str((event.data.get("data") or {}).get("text", "")).splitlines()
        case _:
            return
