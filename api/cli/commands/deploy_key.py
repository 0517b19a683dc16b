"""``wharf deploy-key`` and ``wharf host-key``: what a repository behind SSH needs."""

from typing import Any

from api.cli.client import ClientSettings, call
from api.cli.commands.build import find_application
from api.cli.output.text import write_note
from shared.errors import SetupError


def generate(settings: ClientSettings, application: str) -> str:
    """Make a new deploy key; return the public key.

    Raises:
        SetupError: there is no such application, or the API refused the request.
    """
    found = find_application(call(settings, "application.all"), application)
    made = call(
        settings, "application.generateDeployKey", {"applicationId": found["applicationId"]}
    )
    write_note(f"{made['fingerprint']}, for {made['host']}")
    return str(made["publicKey"])


def show(settings: ClientSettings, application: str) -> str:
    """Return the public key that is stored.

    Raises:
        SetupError: there is no such application, or it has no deploy key.
    """
    found = find_application(call(settings, "application.all"), application)
    if found["customGitSSHPublicKey"] is None:
        raise SetupError(
            f"{application} has no deploy key", remedy=f"Run: wharf deploy-key {application}"
        )
    write_note(found["customGitSSHFingerprint"])
    return str(found["customGitSSHPublicKey"])


def pin(settings: ClientSettings, application: str, host_keys: str) -> list[str]:
    """Store the keys of the application's git host; return their fingerprints.

    Raises:
        SetupError: there is no such application, or the API refused the keys.
    """
    found: dict[str, Any] = find_application(call(settings, "application.all"), application)
    chosen = {"applicationId": found["applicationId"]}
    call(settings, "application.update", {**chosen, "customGitHostKey": host_keys})
    stored = call(settings, "application.one", chosen)
    return str(stored["customGitHostKey"]).splitlines()
