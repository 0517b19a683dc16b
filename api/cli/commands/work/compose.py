"""``wharf compose pull``: pull the images of a compose file and pin them by digest."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.arguments import Key, OnServer, Wait, given
from api.cli.command import Shown, command
from api.cli.completion import names_of
from api.cli.follow.submitted import follow_submitted
from api.cli.names import REGISTRY, SERVER, find_id, find_ids
from api.cli.output.answer import Answer, lines
from api.cli.output.text import write_note
from api.cli.secret_input import read_text_file
from api.cli.settings import ClientSettings

app = typer.Typer(help="Compose files: pull their images.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Compose files: pull their images."""


@command(
    app,
    example="wharf compose pull compose.yaml --server web-1 --wait > pinned.yaml",
    shows=Shown("compose.pull", instead="job.one"),
)
def pull(
    settings: ClientSettings,
    file: Annotated[Path, typer.Argument(help="The compose file; - reads input.")],
    *,
    server: OnServer = None,
    registry: Annotated[
        list[str] | None,
        typer.Option(
            help="A registry whose login may be used; by default all.",
            autocompletion=names_of(REGISTRY),
        ),
    ] = None,
    env_file: Annotated[Path | None, typer.Option(help="The values of its variables.")] = None,
    profile: Annotated[list[str] | None, typer.Option(help="An active profile of it.")] = None,
    key: Key = None,
    wait: Wait = False,
) -> Answer:
    """Pull the images of a compose file to a server and pin them by digest.

    With --wait the pinned file is written to standard output.
    """
    registries = find_ids(settings, REGISTRY, registry) if registry else None
    request = {
        "composeFile": read_text_file(file),
        **({"serverId": find_id(settings, SERVER, server)} if server else {}),
        **given(registryIds=registries, profiles=profile or None),
        **given(envFile=env_file and read_text_file(env_file)),
    }
    answer = follow_submitted(settings, "compose.pull", request, key=key, wait=wait)
    result = answer.value.get("result") or {}
    if "composeFile" not in result:
        return answer
    for warning in result.get("warnings") or ():
        write_note(f"warning: {warning}")
    for skipped in result.get("skipped") or ():
        write_note(f"skipped: {skipped['service']}: {skipped['reason']}")
    return lines(answer.value, answer.ids, result["composeFile"].splitlines(), code=answer.code)
