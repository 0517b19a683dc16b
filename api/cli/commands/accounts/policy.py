"""``wharf policy``: show and set what has to be signed before it runs."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from api.cli.client import call
from api.cli.command import command
from api.cli.completion import names_of
from api.cli.names import APPLICATION, SIGNING_KEY, find_id, find_ids
from api.cli.output.answer import Answer, lines
from api.cli.settings import ClientSettings
from shared.errors import SetupError

app = typer.Typer(help="Signature policies: show, set.", no_args_is_help=True)


class Mode(StrEnum):
    """What happens to an image that does not satisfy a policy."""

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"


Of = Annotated[
    str | None,
    typer.Option(
        "--app",
        metavar="APP",
        help="The policy of this application; by default the organization's.",
        autocompletion=names_of(APPLICATION),
    ),
]


@command(app, example="wharf policy show --app web", shows="signaturePolicy.one")
def show(settings: ClientSettings, application: Of = None) -> Answer:
    """Show the policy that holds for an application, or the organization's."""
    return _show(settings, call(settings, "signaturePolicy.one", _chosen(settings, application)))


@command(
    app,
    "set",
    example="wharf policy set --mode enforce --signing-key release",
    shows="signaturePolicy.set",
)
def change(
    settings: ClientSettings,
    *,
    application: Of = None,
    mode: Annotated[Mode | None, typer.Option(help="`enforce` refuses what is missing.")] = None,
    signing_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="A key, one of which has to have signed; '' for none.",
            autocompletion=names_of(SIGNING_KEY),
        ),
    ] = None,
    predicate_type: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help="An attestation that is required; '' for none."),
    ] = None,
    base_registry: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PREFIX", help="A registry from which bases of builds may be; '' for all."
        ),
    ] = None,
    publisher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PREFIX=KEY", help="Images below the prefix need this key; '' for none."
        ),
    ] = None,
    inherit: Annotated[
        bool, typer.Option("--inherit", help="Give the application the organization's policy.")
    ] = False,
) -> Answer:
    """Set what has to be signed. What is not given stays as it is."""
    chosen = _chosen(settings, application)
    if inherit:
        return _show(settings, call(settings, "signaturePolicy.set", {**chosen, "inherit": True}))
    policy = call(settings, "signaturePolicy.one", chosen)
    del policy["source"]
    if mode is not None:
        policy["mode"] = mode.value
    if signing_key is not None:
        policy["signingKeyIds"] = find_ids(settings, SIGNING_KEY, signing_key)
    if publisher is not None:
        policy["publishers"] = _publishers(settings, publisher)
    for name, values in (("predicateTypes", predicate_type), ("baseRegistries", base_registry)):
        if values is not None:
            policy[name] = [each for each in values if each]
    return _show(settings, call(settings, "signaturePolicy.set", {**chosen, **policy}))


def _chosen(settings: ClientSettings, application: str | None) -> dict[str, Any]:
    return {"applicationId": find_id(settings, APPLICATION, application)} if application else {}


def _publishers(settings: ClientSettings, words: list[str]) -> list[dict[str, Any]]:
    """Return the publishers; a prefix that is given twice has two keys."""
    found: dict[str, list[str]] = {}
    for word in filter(None, words):
        prefix, _, key = word.partition("=")
        if not key:
            raise SetupError(
                f"--publisher {word} names no key", remedy="Give PREFIX=KEY: docker.io/library=them"
            )
        found.setdefault(prefix, []).append(find_id(settings, SIGNING_KEY, key))
    return [{"prefix": prefix, "signingKeyIds": keys} for prefix, keys in found.items()]


def _show(settings: ClientSettings, policy: dict[str, Any]) -> Answer:
    names = {key["signingKeyId"]: key["name"] for key in call(settings, "signingKey.all")}
    texts = [
        f"mode: {policy['mode']} (of the {policy['source']})",
        *(f"key: {names.get(one, one)}" for one in policy["signingKeyIds"]),
        *(f"attestation: {one}" for one in policy["predicateTypes"]),
        *(f"base registry: {one}" for one in policy["baseRegistries"]),
    ]
    for one in policy["publishers"]:
        keys = ", ".join(names.get(key_id, key_id) for key_id in one["signingKeyIds"])
        texts.append(f"publisher: {one['prefix']} by {keys}")
    return lines(policy, [policy["mode"]], texts)
