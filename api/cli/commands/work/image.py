"""``wharf image``: push, pull, copy and tag images."""

from typing import Annotated

import typer

from api.cli.arguments import Key, OnServer, Wait, given
from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.completion import names_of
from api.cli.follow.submitted import follow_submitted
from api.cli.names import REGISTRY, SERVER, find_id
from api.cli.output.answer import Answer, lines
from api.cli.settings import ClientSettings

app = typer.Typer(help="Images: push, pull, copy, tag.", no_args_is_help=True)

OnEngine = Annotated[str, typer.Argument(metavar="IMAGE", help="The image on the server.")]
AtRegistry = Annotated[
    str, typer.Argument(metavar="IMAGE", help="The image with the host of its registry.")
]
To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="REGISTRY",
        help="The name or id of the registry to which it goes.",
        autocompletion=names_of(REGISTRY),
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="REGISTRY",
        help="The registry whose login reads it; by default chosen by the image's name.",
        autocompletion=names_of(REGISTRY),
    ),
]
Name = Annotated[str | None, typer.Option(help="The new name, below the registry's prefix.")]
Tag = Annotated[str | None, typer.Option(help="The new tag.")]


@command(
    app,
    example="wharf image push my-app:1 --to Production --wait",
    shows=Shown("image.push", instead="job.one"),
)
def push(
    settings: ClientSettings,
    image: OnEngine,
    to: To,
    *,
    server: OnServer = None,
    name: Name = None,
    tag: Tag = None,
    key: Key = None,
    wait: Wait = False,
) -> Answer:
    """Push an image from a server to a registry, below the registry's prefix.

    With --wait the last line is the image by its digest; the exit codes are those of the job.
    """
    request = {
        "image": image,
        "registryId": find_id(settings, REGISTRY, to),
        **_on(settings, server),
        **given(name=name, tag=tag),
    }
    return follow_submitted(settings, "image.push", request, key=key, wait=wait)


@command(
    app,
    example="wharf image pull registry.example.com/team/my-app:1 --server web-1 --wait",
    shows=Shown("image.pull", instead="job.one"),
)
def pull(
    settings: ClientSettings,
    image: AtRegistry,
    server: OnServer = None,
    source: From = None,
    key: Key = None,
    *,
    wait: Wait = False,
) -> Answer:
    """Pull an image to a server."""
    chosen = find_id(settings, REGISTRY, source) if source else None
    request = {"image": image, **_on(settings, server), **given(registryId=chosen)}
    return follow_submitted(settings, "image.pull", request, key=key, wait=wait)


@command(
    app,
    example="wharf image copy registry.example.com/team/my-app:1 --to Backup --wait",
    shows=Shown("image.copy", instead="job.one"),
)
def copy(
    settings: ClientSettings,
    image: AtRegistry,
    to: To,
    *,
    source: From = None,
    server: OnServer = None,
    name: Name = None,
    tag: Tag = None,
    key: Key = None,
    wait: Wait = False,
) -> Answer:
    """Copy an image to another registry unchanged: all platforms, byte for byte."""
    chosen = find_id(settings, REGISTRY, source) if source else None
    request = {
        "image": image,
        "registryId": find_id(settings, REGISTRY, to),
        **_on(settings, server),
        **given(sourceRegistryId=chosen, name=name, tag=tag),
    }
    return follow_submitted(settings, "image.copy", request, key=key, wait=wait)


@command(
    app, "tag", example="wharf image tag my-app:1 my-app:stable --server web-1", shows="image.tag"
)
def give_tag(
    settings: ClientSettings,
    source: Annotated[str, typer.Argument(metavar="IMAGE", help="The image on the server.")],
    target: Annotated[str, typer.Argument(metavar="NAME", help="Its other name.")],
    server: OnServer = None,
    key: Key = None,
) -> Answer:
    """Give an image on a server another name."""
    request = {"source": source, "target": target, **_on(settings, server)}
    tagged = call(settings, "image.tag", request, key=key)
    return lines(tagged, [tagged["imageId"] or tagged["reference"]], [tagged["reference"]])


def _on(settings: ClientSettings, server: str | None) -> dict[str, str]:
    return {"serverId": find_id(settings, SERVER, server)} if server else {}
