"""``wharf image``: push, pull, copy, tag, sign images, and look at what is in a registry."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from api.cli.arguments import Key, OnServer, Registry, Wait, given
from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.completion import names_of
from api.cli.follow.submitted import follow_submitted
from api.cli.names import APPLICATION, REGISTRY, SERVER, SIGNING_KEY, find_id
from api.cli.output.answer import Answer, lines
from api.cli.output.text import write_note
from api.cli.output.units import show_bytes
from api.cli.settings import ClientSettings

app = typer.Typer(
    help="Images: push, pull, copy, tag, sign, verify them, list and inspect those of a registry.",
    no_args_is_help=True,
)


class SignatureForm(StrEnum):
    """Where and how a signature is stored."""

    TAG = "tag"
    BUNDLE = "bundle"


PAGE = 500
"""The names that one request may ask for."""

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


@command(
    app,
    "ls",
    example="wharf image ls Production team/my-app",
    shows=Shown("image.repositories", instead="image.tags", option="REPOSITORY"),
)
def list_names(
    settings: ClientSettings,
    registry: Registry,
    repository: Annotated[
        str | None,
        typer.Argument(help="List its tags; without it the repositories of the registry."),
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="The largest number of names.")] = 100,
    after: Annotated[str, typer.Option(help="The `next` of an earlier answer.")] = "",
    server: OnServer = None,
) -> Answer:
    """List the repositories of a registry, or the tags of a repository, as they are there now.

    A server asks the registry. One that lists no repositories is named, with those that are known.
    """
    request = {
        "registryId": find_id(settings, REGISTRY, registry),
        **_on(settings, server),
        **given(repository=repository),
    }
    procedure, field = (
        ("image.tags", "tags") if repository else ("image.repositories", "repositories")
    )
    found = _read_pages(settings, procedure, field, request, limit=limit, after=after)
    if found.get("finding"):
        write_note(found["finding"])
    if found["next"]:
        write_note(f"there are more: --after '{found['next']}'")
    return lines(found, found[field], found[field])


@command(
    app,
    example="wharf image inspect registry.example.com/team/my-app:1",
    shows="image.inspect",
)
def inspect(
    settings: ClientSettings,
    image: AtRegistry,
    source: From = None,
    server: OnServer = None,
) -> Answer:
    """Show an image of a registry: digest, platforms, sizes, signatures, and what runs it."""
    chosen = find_id(settings, REGISTRY, source) if source else None
    request = {"image": image, **_on(settings, server), **given(registryId=chosen)}
    found = call(settings, "image.inspect", request)
    return lines(found, [found["digest"]], _describe(found))


@command(
    app,
    example="wharf image sign ghcr.io/acme/shop@sha256:5f1e… --to Production --with release",
    shows="signature.sign",
)
def sign(
    settings: ClientSettings,
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="The image with its registry's host and digest.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="REGISTRY",
            help="The registry of the image, where the signature is stored.",
            autocompletion=names_of(REGISTRY),
        ),
    ],
    signing_key: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="KEY",
            help="The name or id of the signing key.",
            autocompletion=names_of(SIGNING_KEY),
        ),
    ],
    *,
    form: Annotated[
        list[SignatureForm] | None,
        typer.Option(help="The form of cosign 2 (tag) or 3 (bundle); by default both."),
    ] = None,
    server: OnServer = None,
    key: Key = None,
) -> Answer:
    """Sign an image's digest, and store the signature beside it in its registry."""
    request = {
        "image": image,
        "registryId": find_id(settings, REGISTRY, to),
        "signingKeyId": find_id(settings, SIGNING_KEY, signing_key),
        **_on(settings, server),
        **given(forms=[each.value for each in form or []] or None),
    }
    signed = call(settings, "signature.sign", request, key=key)
    return lines(signed, [signed["digest"]], [signed["reference"]])


@command(
    app,
    example="wharf image verify registry.example.com/team/my-app:1 --app web",
    shows="signature.verify",
)
def verify(
    settings: ClientSettings,
    image: AtRegistry,
    *,
    application: Annotated[
        str | None,
        typer.Option(
            "--app",
            metavar="APP",
            help="Require what this application's policy does; by default the organization's.",
            autocompletion=names_of(APPLICATION),
        ),
    ] = None,
    signing_key: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="KEY",
            help="Require a signature by this key, and nothing else.",
            autocompletion=names_of(SIGNING_KEY),
        ),
    ] = None,
    source: From = None,
    server: OnServer = None,
) -> Answer:
    """Compare the signatures beside an image with a policy, or with one key.

    Exit code 1: a signature or an attestation is missing.
    """
    chosen = given(
        registryId=find_id(settings, REGISTRY, source) if source else None,
        applicationId=find_id(settings, APPLICATION, application) if application else None,
        signingKeyId=find_id(settings, SIGNING_KEY, signing_key) if signing_key else None,
    )
    found = call(settings, "signature.verify", {"image": image, **_on(settings, server), **chosen})
    texts = [
        *(f"proved: {one['predicateType']} by {one['fingerprint']}" for one in found["proofs"]),
        *(f"{one['code']}: {one['message']}" for one in found["violations"]),
        *(f"not read: {gap}" for gap in found["gaps"]),
        f"{found['reference']}: {'verified' if found['verified'] else 'refused'}",
    ]
    return lines(found, [found["digest"]], texts, code=0 if found["verified"] else 1)


def _read_pages(
    settings: ClientSettings,
    procedure: str,
    field: str,
    request: dict[str, Any],
    *,
    limit: int,
    after: str,
) -> dict[str, Any]:
    """Return the first answer with the names of the following ones, up to about ``limit``."""
    asked = {**request, "limit": min(limit, PAGE), **({"after": after} if after else {})}
    whole: dict[str, Any] = call(settings, procedure, asked)
    while whole["next"] and len(whole[field]) < limit:
        rest = min(limit - len(whole[field]), PAGE)
        page = call(settings, procedure, {**asked, "limit": rest, "after": whole["next"]})
        whole = {
            **page,
            field: whole[field] + page[field],
            "leftOut": whole["leftOut"] + page["leftOut"],
        }
    return whole


def _describe(found: dict[str, Any]) -> Iterator[str]:
    yield f"image: {found['reference']}"
    yield f"digest: {found['digest']}"
    yield f"media type: {found['artifactType'] or found['mediaType']}"
    yield f"size: {show_bytes(found['sizeBytes'])}"
    yield f"created: {found['createdAt'] or '-'}"
    for one in found["platforms"]:
        yield f"platform {one['platform']}: {one['digest']}, {show_bytes(one['sizeBytes'])}"
    for one in found["attachments"]:
        yield f"{one['kind']}: {one['digest']}{', ' + one['tag'] if one['tag'] else ''}"
    for one in found["running"]:
        yield f"runs: {one['applicationName']} on {one['serverName']} since {one['since'] or '-'}"
    for gap in found["gaps"]:
        yield f"not read: {gap}"


def _on(settings: ClientSettings, server: str | None) -> dict[str, str]:
    return {"serverId": find_id(settings, SERVER, server)} if server else {}
