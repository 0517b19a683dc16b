"""The checks of ``wharf doctor``: the API, control, all servers, and a job to each server."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any

import httpx2
from rich.console import Console
from rich.table import Table

from api.cli.client import base_url
from api.cli.commands.operation.certificate import describe_certificate, describe_links
from api.cli.commands.operation.restored import lines as restore_lines
from api.cli.output.table import plain
from api.cli.settings import ClientSettings
from shared.errors import SetupError
from wharfinger.failures import explain

PATIENCE = timedelta(seconds=15)
"""Longer than the API's wait for the check of a server."""

SET_ASIDE = re.compile(
    r'^wharf_rows_set_aside\{code="([^"]*)",service="([^"]*)"\} (\S+)$', re.MULTILINE
)
CLOCK_MAY_DIFFER = timedelta(seconds=30)
DATE_IS_EXACT_TO = timedelta(seconds=2)
"""The header ``Date`` has whole seconds, and is made before the answer arrives."""

REMEDIES = {
    "database": "Check that PostgreSQL runs, and WHARF_DATABASE_URL of the API.",
    "migrations": "Run wharf migrate with the API's version.",
    "control": "Start wharf control and see its log.",
    "disk": "Free space on the disks of PostgreSQL and WHARF_DATA_DIR.",
    "broker": "Check that the broker of WHARF_BROKER_URL runs and has free memory (INFO memory).",
    "notifications": "A session listens and does not read: end it, see pg_stat_activity.",
    "confinement": "Run wharf migrate: it prints the statements for a superuser of PostgreSQL.",
    "removed_servers": "The role of a removed server was not dropped: run wharf migrate and see"
    " role_not_changed in the log of wharf control.",
}
SHOWN_ELSEWHERE = {"worker", "secondWorker"}
"""Checks of `server.validate` that this command reports by itself, also for offline servers."""


@dataclass(frozen=True)
class Check:
    """One line of the table; ``remedy`` is empty if nothing is wrong."""

    name: str
    found: str
    remedy: str = ""

    @property
    def is_good(self) -> bool:
        return not self.remedy


def examine(settings: ClientSettings, now: datetime | None = None) -> list[Check]:
    """Run all checks; ``now`` is this machine's time."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    headers = {"x-api-key": key} if key else {}
    try:
        url = base_url(settings)
    except SetupError as error:
        return [Check("API", error.message, error.remedy)]
    with httpx2.Client(base_url=url, headers=headers, timeout=PATIENCE.total_seconds()) as client:
        return list(_checks(client, settings, now))


def show(checks: list[Check], console: Console) -> bool:
    """Print the checks as a table; return whether all are good."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "check", "found", "remedy"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        mark = "[green]ok[/green]" if check.is_good else "[red]wrong[/red]"
        # Names from servers and users are shown as plain text, never as markup.
        table.add_row(mark, *(plain(text) for text in (check.name, check.found, check.remedy)))
    console.print(table)
    return all(check.is_good for check in checks)


def _checks(
    client: httpx2.Client, settings: ClientSettings, now: datetime | None
) -> Iterator[Check]:
    url = base_url(settings)
    try:
        alive = client.get("/healthz")
        ready = client.get("/readyz")
    except httpx2.TransportError as error:
        found = explain(url, error)
        yield Check("API", found.message, found.remedy or "See the API's log.")
        return
    if not alive.is_success:
        found_status = f"{url} is not Wharfinger's API: status {alive.status_code}"
        yield Check("API", found_status, "Check WHARF_URL.")
        return
    yield from _about_api(url, alive, now or datetime.now(UTC))
    if certificate := describe_certificate(client, now or datetime.now(UTC)):
        yield Check("certificate of the API", *certificate)
    yield from _about_readiness(ready)
    yield from _about_metrics(client, now or datetime.now(UTC))
    if settings.api_key is None:
        yield Check("API key", "none", "Set WHARF_API_KEY.")
    else:
        yield from _about_key(client, now or datetime.now(UTC))


def _about_api(url: str, alive: httpx2.Response, now: datetime) -> Iterator[Check]:
    yield Check("API", f"{url} answers in {alive.elapsed.total_seconds() * 1000:.0f} ms")
    yield _about_version("version of the API", str(_document(alive).get("version", "unknown")))
    date = alive.headers.get("date")
    if date:
        ahead = now - parsedate_to_datetime(date)
        differs = abs(ahead) > CLOCK_MAY_DIFFER
        if abs(ahead) < DATE_IS_EXACT_TO:
            yield Check("clock", "this machine and the API have the same time")
            return
        yield Check(
            "clock",
            f"this machine is {abs(ahead.total_seconds()):.0f} s "
            f"{'ahead of' if ahead > timedelta() else 'behind'} the API",
            "Synchronize both clocks with NTP." if differs else "",
        )


def _about_version(name: str, found: str) -> Check:
    own = version("wharfinger")
    return Check(name, found, "" if found == own else f"This is {own}: update the older one.")


def _about_readiness(ready: httpx2.Response) -> Iterator[Check]:
    failing = _document(ready).get("failing")
    degraded = _document(ready).get("degraded", [])
    if not isinstance(failing, list) or not isinstance(degraded, list):
        yield Check("readiness", f"status {ready.status_code}", "See the API's log.")
        return
    not_ready = [str(name) for name in (*failing, *degraded)]
    # A newer API may report checks that this version does not know.
    for name in dict.fromkeys((*REMEDIES, *not_ready)):
        if name in not_ready:
            yield Check(name, "not ready", REMEDIES.get(name, "See the API's log."))
        # Without the database the other checks are unknown.
        elif "database" not in failing:
            yield Check(name, "ready")


def _about_metrics(client: httpx2.Client, now: datetime) -> Iterator[Check]:
    """Yield the links of servers, and each service of control that set rows aside."""
    try:
        page = client.get("/metrics").text
    except httpx2.HTTPError as error:
        yield Check("control's rows", type(error).__name__, "See the API's log.")
        return
    for link in describe_links(page, now):
        yield Check(*link)
    for code, service, many in SET_ASIDE.findall(page):
        yield Check(
            f"control: {service}",
            f"{float(many):.0f} set aside: {code}",
            "See the table set_aside, or the lines set_aside in the log of wharf control.",
        )


def _about_key(client: httpx2.Client, now: datetime) -> Iterator[Check]:
    try:
        member = client.get("/api/user.get")
        servers = client.get("/api/server.all")
        registries = client.get("/api/registry.all")
        restored = client.get("/api/restore.one")
    except httpx2.HTTPError as error:
        yield Check("API key", type(error).__name__, "See the API's log.")
        return
    if not member.is_success:
        message = str(_document(member).get("message", f"status {member.status_code}"))
        yield Check("API key", message, "Check WHARF_API_KEY.")
        return
    yield Check("API key", f"good, role {_document(member).get('role')}")
    if restored.is_success and (lines := restore_lines(_document(restored))):
        found = f"{lines[0]} {'; '.join(lines[1:])}".rstrip()
        yield Check("restore", found, "Cancel unwanted jobs, then run wharf resume.")
    if registries.is_success:
        yield from _about_passwords(registries.json(), now)
        yield from _about_tls(registries.json(), now)
    if servers.is_success:
        yield from _about_servers(client, servers.json())
    else:
        yield Check("servers", f"status {servers.status_code}", "See the API's log.")


def _about_passwords(registries: list[dict[str, Any]], now: datetime) -> Iterator[Check]:
    """Yield each registry whose password has expired, or is due for a change."""
    for registry in registries:
        name = f"password of {registry['registryName']}"
        expires, due = registry.get("passwordExpiresAt"), registry.get("passwordDueAt")
        if error := registry.get("credentialError"):
            credential = f"credential of {registry['registryName']}"
            yield Check(credential, str(error.get("message")), str(error.get("remedy")))
        elif expires and datetime.fromisoformat(expires) <= now:
            yield Check(name, f"expired at {expires}", "Store a new one with registry.update.")
        elif due and datetime.fromisoformat(due) <= now:
            yield Check(name, f"due for a change since {due}")


def _about_tls(registries: list[dict[str, Any]], now: datetime) -> Iterator[Check]:
    """Yield each registry with plain HTTP, or with a certificate that ends or has ended."""
    for registry in registries:
        name = f"TLS of {registry['registryName']}"
        if registry.get("plainHttp"):
            yield Check(name, "plain HTTP is allowed: the network in between can read the password")
        client = registry.get("clientIdentity")
        for one in (*registry.get("caCertificates", ()), *([client] if client else ())):
            subject, ends = one["subject"], one["notAfter"]
            if datetime.fromisoformat(ends) <= now:
                found = f"the certificate {subject} expired at {ends}"
                yield Check(name, found, "Store a new one with registry.update.")
            elif one.get("state") == "due":
                yield Check(name, f"the certificate {subject} expires at {ends}")


def _about_servers(client: httpx2.Client, servers: list[dict[str, Any]]) -> Iterator[Check]:
    if not servers:
        yield Check("servers", "none", "Create one with server.create and start its worker.")
    for server in servers:
        name = f"server {server['name']}"
        if server.get("secondWorkerAt"):
            yield Check(
                f"key of {server['name']}",
                f"two workers used it at {server['secondWorkerAt']}",
                "If its state directory was not copied on purpose, remove it and join it again.",
            )
        if server["online"]:
            found = server["engine"] or {}
            engine = str(found.get("engineVersion", "unknown"))
            shown = engine if engine.startswith("Podman ") else f"Docker Engine {engine}"
            yield Check(name, f"online, {shown}")
            if refused := found.get("refusedCalls"):
                yield Check(
                    f"Engine of {server['name']}",
                    f"refused calls: {', '.join(refused)}",
                    "Allow them in the proxy in front of the Engine.",
                )
            yield _about_version(f"version of {server['name']}", str(server["workerVersion"]))
            yield from _about_state(client, server)
            yield _about_path(client, server)
        elif server["seenAt"]:
            remedy = "Start its worker and see its log, or remove the server."
            yield Check(name, f"offline since {server['seenAt']}", remedy)
        else:
            yield Check(name, "never joined", "Start its worker with a join token, or remove it.")


def _about_state(client: httpx2.Client, server: dict[str, Any]) -> Iterator[Check]:
    """Yield the failed checks of `server.validate`."""
    try:
        answer = client.get("/api/server.validate", params={"serverId": server["serverId"]})
    except httpx2.HTTPError as error:
        yield Check(f"state of {server['name']}", type(error).__name__, "See the API's log.")
        return
    for check in _document(answer).get("checks", []):
        if check["isGood"] is False and check["name"] not in SHOWN_ELSEWHERE:
            yield Check(f"{check['name']} of {server['name']}", check["found"], check["remedy"])


def _about_path(client: httpx2.Client, server: dict[str, Any]) -> Check:
    """Send a job from the API to the server's Engine and back."""
    name = f"path to {server['name']}"
    try:
        answer = client.post("/api/server.check", json={"serverId": server["serverId"]})
    except httpx2.HTTPError as error:
        return Check(name, type(error).__name__, "See the API's log.")
    document = _document(answer)
    if not answer.is_success:
        found = str(document.get("message", f"status {answer.status_code}"))
        return Check(name, found, "See wharf server list, and the API's log.")
    for part in document["parts"]:
        if not part["isGood"]:
            return Check(name, f"stops at {part['name']}: {part['found']}", part["remedy"])
    taken = sum(part["milliseconds"] or 0 for part in document["parts"][:-1])
    return Check(name, f"API, database, control, broker, worker, Engine: {taken:.0f} ms")


def _document(answer: httpx2.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
