"""``wharf deploy-key`` and ``wharf host-key``: what a repository behind SSH needs."""

import sys
from typing import Annotated

import typer

from api.cli.arguments import Application
from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.names import APPLICATION, find
from api.cli.output.answer import Answer, lines
from api.cli.output.text import write_note
from api.cli.settings import ClientSettings
from shared.errors import SetupError

app = typer.Typer()


@command(
    app,
    "deploy-key",
    example="wharf deploy-key my-app",
    shows=Shown("application.generateDeployKey", instead="application.one", option="--show"),
)
def deploy_key(
    settings: ClientSettings,
    application: Application,
    *,
    show_only: Annotated[
        bool, typer.Option("--show", help="Only show the public key that is stored.")
    ] = False,
) -> Answer:
    """Make a deploy key for an application's repository behind SSH, and print its public key.

    It takes the place of a former key. The private key is stored sealed and is never shown.
    """
    chosen = {"applicationId": find(settings, APPLICATION, application)["applicationId"]}
    if show_only:
        found = call(settings, "application.one", chosen)
        public_key, text = found["customGitSSHPublicKey"], found["customGitSSHFingerprint"]
        if public_key is None:
            raise SetupError(
                f"{application} has no deploy key", remedy=f"Run: wharf deploy-key {application}"
            )
    else:
        found = call(settings, "application.generateDeployKey", chosen)
        public_key, text = found["publicKey"], f"{found['fingerprint']}, for {found['host']}"
    write_note(text)
    return lines(found, [chosen["applicationId"]], [public_key])


@command(
    app,
    "host-key",
    example="ssh-keyscan git.example.com | wharf host-key my-app -",
    shows="application.one",
)
def host_key(
    settings: ClientSettings,
    application: Application,
    keys: Annotated[
        str,
        typer.Argument(help="Fingerprints (SHA256:...) or lines of known_hosts; - reads input."),
    ],
) -> Answer:
    """Store the host keys by which the git host of an application is recognized."""
    text = sys.stdin.read() if keys == "-" else keys
    chosen = {"applicationId": find(settings, APPLICATION, application)["applicationId"]}
    call(settings, "application.update", {**chosen, "customGitHostKey": text})
    stored = call(settings, "application.one", chosen)
    return lines(stored, [chosen["applicationId"]], str(stored["customGitHostKey"]).splitlines())
