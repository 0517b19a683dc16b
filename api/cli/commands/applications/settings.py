"""``wharf app create``, ``update`` and ``upload``: what an application is made of."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.arguments import Application, given
from api.cli.client import call, upload
from api.cli.command import command
from api.cli.commands.applications.application import app
from api.cli.completion import names_of
from api.cli.names import APPLICATION, REGISTRY, SERVER, find_id, find_ids
from api.cli.output.answer import Answer, lines
from api.cli.secret_input import STDIN, read_text_file
from api.cli.settings import ClientSettings
from shared.errors import SetupError

Description = Annotated[str | None, typer.Option(help="A text about the application.")]
Image = Annotated[str | None, typer.Option(help="Run this ready image; nothing is built.")]
GitUrl = Annotated[str | None, typer.Option(help="Build from this git repository.")]
GitBranch = Annotated[str | None, typer.Option(help="The branch to build.")]
Servers = Annotated[
    list[str] | None,
    typer.Option("--server", help="A server to run on.", autocompletion=names_of(SERVER)),
]
BuildServer = Annotated[
    str | None, typer.Option(help="The server that builds.", autocompletion=names_of(SERVER))
]
Registry = Annotated[
    str | None,
    typer.Option(help="The registry of the ready image.", autocompletion=names_of(REGISTRY)),
]
BuildRegistry = Annotated[
    str | None,
    typer.Option(help="The registry for built images.", autocompletion=names_of(REGISTRY)),
]
RollbackRegistry = Annotated[
    str | None,
    typer.Option(
        help="The registry that keeps images for rollbacks.", autocompletion=names_of(REGISTRY)
    ),
]
Ports = Annotated[
    list[str] | None,
    typer.Option("--port", help="A port as PUBLISHED:TARGET, with /udp if it is one."),
]
Runtime = Annotated[str | None, typer.Option(help="container, service or none.")]
Replicas = Annotated[int | None, typer.Option(min=0, help="The tasks of a service.")]
EnvFile = Annotated[Path | None, typer.Option(help="A file with the variables of its containers.")]
FieldsFile = Annotated[
    Path | None,
    typer.Option("--from", help="A JSON file with any other fields of the procedure."),
]


@command(
    app,
    example="wharf app create my-app --image registry.example.com/team/web:1 --server web-1",
    shows="application.create",
)
def create(
    settings: ClientSettings,
    name: Annotated[str, typer.Argument(help="The application's name.")],
    *,
    app_name: Annotated[
        str | None, typer.Option(help="The name of its containers; by default made of the name.")
    ] = None,
    description: Description = None,
    image: Image = None,
    git_url: GitUrl = None,
    git_branch: GitBranch = None,
    server: Servers = None,
    build_server: BuildServer = None,
    registry: Registry = None,
    build_registry: BuildRegistry = None,
    rollback_registry: RollbackRegistry = None,
    port: Ports = None,
    runtime: Runtime = None,
    replicas: Replicas = None,
    fields: FieldsFile = None,
) -> Answer:
    """Create an application from a ready image or a git repository."""
    request = {
        **_read_fields(fields),
        "name": name,
        **given(appName=app_name, description=description, dockerImage=image),
        **given(customGitUrl=git_url, customGitBranch=git_branch),
        **_places(
            settings,
            server,
            build_server,
            {
                "registryId": registry,
                "buildRegistryId": build_registry,
                "rollbackRegistryId": rollback_registry,
            },
        ),
        **given(ports=port and _ports(port), runtime=runtime, replicas=replicas),
    }
    created = call(settings, "application.create", request)
    application_id = created["applicationId"]
    return lines(created, [application_id], [f"created {created['appName']}: {application_id}"])


@command(
    app,
    example="wharf app update my-app --port 8080:80 --env-file .env",
    shows="application.update",
)
def update(
    settings: ClientSettings,
    application: Application,
    *,
    name: Annotated[str | None, typer.Option(help="The new name.")] = None,
    description: Description = None,
    image: Image = None,
    git_url: GitUrl = None,
    git_branch: GitBranch = None,
    server: Servers = None,
    build_server: BuildServer = None,
    registry: Registry = None,
    build_registry: BuildRegistry = None,
    rollback_registry: RollbackRegistry = None,
    port: Ports = None,
    runtime: Runtime = None,
    replicas: Replicas = None,
    env_file: EnvFile = None,
    fields: FieldsFile = None,
) -> Answer:
    """Change an application; its next build and its next deployment use the new settings."""
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    changes = {
        **_read_fields(fields),
        **given(name=name, description=description, dockerImage=image),
        **given(customGitUrl=git_url, customGitBranch=git_branch),
        **_places(
            settings,
            server,
            build_server,
            {
                "registryId": registry,
                "buildRegistryId": build_registry,
                "rollbackRegistryId": rollback_registry,
            },
        ),
        **given(ports=port and _ports(port), runtime=runtime, replicas=replicas),
        **given(env=env_file and read_text_file(env_file)),
    }
    changed = call(settings, "application.update", {**chosen, **changes})
    return lines(changed, [chosen["applicationId"]], ["changed"])


@command(
    app,
    "upload",
    example="wharf app upload my-app ./my-app",
    shows="application.uploadContext",
)
def upload_context(
    settings: ClientSettings,
    application: Application,
    archive: Annotated[
        Path,
        typer.Argument(help="A tar archive, compressed or not, or a directory; - reads input."),
    ],
) -> Answer:
    """Store an archive with a Dockerfile, from which the next build is made."""
    chosen = {"applicationId": find_id(settings, APPLICATION, application)}
    source = sys.stdin.buffer.read() if archive == STDIN else archive
    stored = upload(settings, "application.uploadContext", chosen, source)
    return lines(stored, [stored["contextId"]], [stored["contextId"]])


def _places(
    settings: ClientSettings,
    servers: list[str] | None,
    build_server: str | None,
    registries: Mapping[str, str | None],
) -> dict[str, Any]:
    """Return the ids of servers and registries by the names of their fields."""
    found: dict[str, Any] = {
        field: find_id(settings, REGISTRY, name) if name else None
        for field, name in registries.items()
        if name is not None
    }
    if build_server is not None:
        found["buildServerId"] = find_id(settings, SERVER, build_server) if build_server else None
    if servers is not None:
        found["serverIds"] = find_ids(settings, SERVER, servers)
    return found


def _ports(texts: list[str]) -> list[dict[str, Any]]:
    return [_port(text) for text in texts if text]


def _port(text: str) -> dict[str, Any]:
    numbers, _, protocol = text.partition("/")
    published, colon, target = numbers.partition(":")
    if not (colon and published.isdecimal() and target.isdecimal()):
        raise SetupError(f"{text} is not a port", remedy="Give for example 8080:80 or 53:53/udp.")
    return {
        "publishedPort": int(published),
        "targetPort": int(target),
        "protocol": protocol or "tcp",
    }


def _read_fields(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        found = json.loads(read_text_file(path))
    except json.JSONDecodeError as error:
        raise SetupError(f"{path} is not JSON: {error.msg}, line {error.lineno}") from None
    if not isinstance(found, dict):
        raise SetupError(f"{path} is not a JSON object", remedy='Write {"field": value}.')
    return found
