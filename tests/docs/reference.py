"""The reference pages as the code has them. `make docs` writes them, a test compares them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from api.builds.context_upload import UPLOAD
from api.cli.command import Shown
from api.cli.main import app
from api.docs import contents
from api.http.openapi.codes import list_codes
from api.jobs.event_access import EVENTS
from api.jobs.wait_reasons import ReasonCode
from api.operations.http_metrics import HttpMetrics
from api.operations.links import make_link_families
from api.operations.metrics import _of_process
from api.operations.row_counts import count
from api.routers import PROCEDURES
from shared.faults import FAULTS, FaultCode
from shared.settings import (
    ApiSettings,
    ControlSettings,
    MigrationSettings,
    Settings,
    WorkerSettings,
)
from tests.docs.dokploy import make_dokploy_page
from tests.docs.meanings import MEANINGS
from tests.docs.messages import make_page
from tests.docs.words import (
    CODES_INTRODUCTION,
    COMMANDS_INTRODUCTION,
    FAULTS_INTRODUCTION,
    MESSAGES_INTRODUCTION,
    METRICS_INTRODUCTION,
    PROCEDURES_INTRODUCTION,
    REASONS,
    SETTINGS,
    SETTINGS_INTRODUCTION,
)
from tests.faults.results import make_faults_page
from tests.matrix.results import make_engines_page
from worker.local.tls.certificates import AuthoritySettings

ROOT = Path(__file__).parent.parent.parent
DIRECTORY = Path(contents.__file__).parent / "reference"
MADE = "This page is made from the code by `make docs`. Do not edit it."


async def make_pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {
        "settings.md": _settings(),
        "codes.md": _codes(),
        "procedures.md": _procedures(),
        "commands.md": _commands(),
        "metrics.md": await _metrics(),
        "dokploy.md": make_dokploy_page(MADE),
        "engines.md": make_engines_page(MADE),
        "messages.md": make_page(MESSAGES_INTRODUCTION.format(made=MADE)),
        "faults.md": make_faults_page(FAULTS_INTRODUCTION.format(made=MADE)),
    }


# Settings


def settings_of_roles() -> dict[str, dict[str, FieldInfo]]:
    """The fields of each role's settings, by the role's name."""
    own: dict[str, type[Settings]] = {
        "migrate": MigrationSettings,
        "API": ApiSettings,
        "control": ControlSettings,
        "worker": WorkerSettings,
        "`wharf ca`": AuthoritySettings,
    }
    return {role: dict(kind.model_fields) for role, kind in own.items()}


def setting_names() -> set[str]:
    """Every variable that a settings class has."""
    return {f"WHARF_{name.upper()}" for fields in settings_of_roles().values() for name in fields}


def _settings() -> str:
    roles = settings_of_roles()
    lines = [
        "# Settings",
        "",
        f"{MADE}",
        "",
        SETTINGS_INTRODUCTION,
    ]
    for name, (other_roles, meaning) in SETTINGS.items():
        field = name.removeprefix("WHARF_").lower()
        found = {role: fields[field] for role, fields in roles.items() if field in fields}
        users = [*found, *other_roles]
        lines += ["", f"## {name}", "", meaning, "", f"- Read by: {', '.join(users)}."]
        if found:
            lines.append(f"- {_default(next(iter(found.values())))}")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "Required."
    if field.default in (None, "", PydanticUndefined):
        return "Default: not set."
    value = str(field.default).lower() if isinstance(field.default, bool) else field.default
    return f"Default: `{value}`."


# Error codes


def _codes() -> str:
    lines = ["# Error codes", "", MADE, "", CODES_INTRODUCTION, "", "## Codes"]
    for one in list_codes():
        lines += ["", f"### {one.code}", ""]
        lines += [MEANINGS.get(one.code, ""), ""]
        lines += [one.remedy, ""] if one.remedy else []
        lines.append(f"- HTTP status: {', '.join(map(str, one.statuses))}.")
        if one.code in set(FAULTS):
            retryable = FAULTS[FaultCode(one.code)].retryable
            lines.append(f"- As the error of a job, retryable: {'yes' if retryable else 'no'}.")
    lines += ["", "## Reasons why a job waits", ""]
    lines += ["`job.one` shows one of these in `waiting.code`.", ""]
    lines += ["| reason | meaning |", "|---|---|"]
    lines += [f"| `{code}` | {REASONS[code]} |" for code in get_args(ReasonCode)]
    return "\n".join(lines) + "\n"


# Procedures


def _procedures() -> str:
    lines = [
        "# Procedures",
        "",
        MADE,
        "",
        PROCEDURES_INTRODUCTION,
    ]
    routers: dict[str, list[Any]] = {}
    for procedure in (*PROCEDURES.values(), EVENTS, UPLOAD):
        routers.setdefault(procedure.name.partition(".")[0], []).append(procedure)
    for router, procedures in routers.items():
        lines += ["", f"## {router}"]
        for one in procedures:
            lines += ["", f"### {one.name}", "", _prose(one.summary), ""]
            if one.description:
                lines += [_prose(one.description.partition("Raises:")[0].strip()), ""]
            role = {None: "none, it needs no key"}.get(one.role, one.role)
            lines.append(f"- {one.kind.capitalize()}, role: {role}.")
            if one.submits:
                lines.append("- Takes an `Idempotency-Key`.")
            lines += _fields(one.input)
    return "\n".join(lines) + "\n"


def _prose(text: str) -> str:
    return text.replace("``", "`").replace("<", "&lt;").strip()


def _fields(model: type[BaseModel]) -> list[str]:
    properties = model.model_json_schema()
    shown = properties.get("properties", {})
    if not shown:
        return ["- No input."]
    needed, defs = set(properties.get("required", ())), properties.get("$defs", {})
    rows = [
        f"| `{name}` | {_type(one, defs)} | {'yes' if name in needed else 'no'} |"
        for name, one in shown.items()
    ]
    return ["", "| field | type | required |", "|---|---|---|", *rows]


def _type(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _type(defs[schema["$ref"].rpartition("/")[2]], defs)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(each, defs) for each in choices))
    if values := schema.get("enum") or [schema[name] for name in ("const",) if name in schema]:
        return " or ".join(f"`{value}`" for value in values)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), defs)}"
    if schema.get("type") == "object" and "properties" in schema:
        parts = ", ".join(f"`{name}`" for name in schema["properties"])
        return f"object: {parts}"
    return str(schema.get("type", "any"))


# Commands


def _commands() -> str:
    lines = [
        "# Commands",
        "",
        MADE,
        "",
        COMMANDS_INTRODUCTION,
    ]
    root = typer.main.get_command(app)
    lines += [line for path, command in _leaves("wharf", root) for line in _command(path, command)]
    return "\n".join(lines) + "\n"


def _leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Commands that are no groups; typer's classes are its own, so that they are only read."""
    if children := getattr(command, "commands", None):
        for name, child in children.items():
            yield from _leaves(f"{path} {name}", child)
    else:
        yield path, command


def _command(path: str, command: Any) -> list[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [
        one
        for one in command.params
        if one.param_type_name == "option" and one.name not in {"as_json", "quiet"}
    ]
    usage = " ".join([path, *(_argument(one) for one in arguments)])
    lines = ["", f"## {path}", "", f"`{usage}`", "", " ".join((command.help or "").split())]
    lines += ["", f"Example: `{command.epilog.removeprefix('Example: ')}`"]
    if shown := getattr(command.callback, "shown", None):
        lines += ["", f"JSON: {_json(shown)}"]
    rows = [f"| `{_argument(one)}` | {one.help or ''} | |" for one in arguments]
    if rows := rows + [_option(one) for one in options]:
        lines += ["", "| option | meaning | default |", "|---|---|---|", *rows]
    return lines


def _json(shown: Shown) -> str:
    if "." not in shown.procedure:
        return "a list of checks."
    text = f"the answer of `{shown.procedure}`"
    if shown.instead:
        answers = "a list of answers of" if shown.many else "that of"
        text += f"; with `{shown.option}` {answers} `{shown.instead}`"
    return f"{text}."


def _argument(one: Any) -> str:
    return str(one.metavar or one.name).upper()


def _option(one: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
    default = f"`{one.default}`" if one.default not in (None, False, ()) else ""
    return f"| {names} | {one.help or ''} | {default} |"


# Metrics


class _NoRows:
    """A database connection whose every answer is empty."""

    async def execute(self, _query: str, _values: object) -> "_NoRows":
        return self

    async def fetchall(self) -> list[dict[str, Any]]:
        return []


async def _metrics() -> str:
    families = [
        *await count(cast("Any", _NoRows()), ""),
        *_of_process(cast("Any", _process())),
        *make_link_families([]),
        *HttpMetrics().collect(),
    ]
    lines = [
        "# Metrics",
        "",
        MADE,
        "",
        METRICS_INTRODUCTION,
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for one in families:
        name = f"{one.name}_total" if one.type == "counter" else one.name
        of_first = one.samples[0].labels if one.samples else {}
        names = getattr(one, "_labelnames", None) or of_first
        labels = ", ".join(f"`{label}`" for label in names if label != "le") or "none"
        lines.append(f"| `{name}` | {one.type} | {labels} | {one.documentation} |")
    return "\n".join(lines) + "\n"


def _process() -> SimpleNamespace:
    places = SimpleNamespace(refused=0)

    def named(things: str) -> SimpleNamespace:
        return SimpleNamespace(refused=0, things=things)

    return SimpleNamespace(
        feeds=SimpleNamespace(reader_count=0),
        disk=SimpleNamespace(is_full=lambda: 0, free_bytes=lambda: 0),
        limiter=places,
        connections=SimpleNamespace(count=0, refused=0, evicted=0, overdue=0),
        readers=SimpleNamespace(limit=named("open event streams")),
        waits=named("requests that wait for a job"),
        uploads=named("running uploads"),
        guesses=places,
        sign_in_counts=Counter[tuple[str, str]](),
        log=None,
    )
