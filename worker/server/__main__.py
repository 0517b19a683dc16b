"""``wharf worker``: enrol where that is still to do, then become a stock Celery worker."""

import os
import sys
from pathlib import Path

from shared.errors import SetupError
from shared.settings import WorkerSettings, load
from worker.broker_users import server_user
from worker.server.enrolment import enrol, hash_token, is_removed
from worker.server.identity import Enrolled, StateDirectory

SLOTS = 16 + 4 + 2
"""Quick, transfer and build jobs of one server (`Server.quick_slots` and so on)."""
SPARE_THREADS = 16


def main() -> None:
    try:
        settings = load(WorkerSettings, os.environ)
        enrolled, broker_url_file = join(settings)
    except SetupError as error:
        sys.exit(f"wharf worker: {error.message}. {error.remedy}".strip())
    server_id = enrolled.server_id
    # The environment of a process is easily read: no password and no token stays in it.
    for name in ("WHARF_JOIN_TOKEN", "WHARF_JOIN_TOKEN_FILE", "WHARF_BROKER_URL"):
        os.environ.pop(name, None)
    os.environ.update(WHARF_SERVER_ID=server_id, WHARF_BROKER_URL_FILE=str(broker_url_file))
    os.environ.update({"WHARF_URL": enrolled.api_url} if enrolled.api_url else {})
    argv = (
        *("celery", "-A", "worker.server.app", "worker", "--pool", "threads"),
        *("--concurrency", str(SLOTS + SPARE_THREADS)),
        *("--queues", f"server.{server_id}", "--hostname", f"server@{server_id}"),
        *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
    )
    os.execv(sys.executable, (sys.executable, "-m", *argv))  # noqa: S606 - argv is ours


def join(settings: WorkerSettings) -> tuple[Enrolled, Path]:
    """Return who this server is, and the file with its broker's URL.

    Raises:
        SetupError: it cannot join, or its join token is not that of its state directory.
    """
    state = StateDirectory.open(settings.state_dir)
    try:
        enrolled = _enrolled(state, settings) or _enrol(state, settings)
        if settings.url not in {None, enrolled.api_url}:
            # The API has moved, or the server joined before its address was kept.
            enrolled = enrolled.model_copy(update={"api_url": settings.url})
            state.keep_enrolled(enrolled)
        return enrolled, state.keep_broker_url(_broker_url(settings, state, enrolled))
    finally:
        state.close()


def _enrolled(state: StateDirectory, settings: WorkerSettings) -> Enrolled | None:
    """Return who the state directory says this server is; ``None`` if it has to join.

    A token that it did not join with is for another server. The directory of a server that was
    removed is free for that one.
    """
    enrolled = state.enrolled
    if enrolled is None or settings.join_token is None:
        return enrolled
    given = hash_token(settings.join_token.get_secret_value())
    if given == enrolled.token_hash:
        return enrolled
    if is_removed(enrolled):
        state.set_aside(enrolled.server_id)
        return None
    if enrolled.token_hash is None:
        # It joined before tokens were remembered: this may be the one.
        return enrolled
    raise SetupError(
        f"the state directory {state.path} belongs to the server {enrolled.server_id}, "
        "and WHARF_JOIN_TOKEN is for another one",
        remedy="Unset WHARF_JOIN_TOKEN to go on as that server, or set another WHARF_STATE_DIR.",
    )


def _enrol(state: StateDirectory, settings: WorkerSettings) -> Enrolled:
    if settings.url is None or settings.join_token is None:
        raise SetupError(
            "this server is not enrolled yet",
            remedy="Set WHARF_URL and WHARF_JOIN_TOKEN as `server.create` answered them.",
        )
    enrolled = enrol(state, settings.url, settings.join_token.get_secret_value())
    # Who approves this server can see that it is this one.
    sys.stderr.write(f"wharf worker: joined, with the key {state.public_key().key_id}\n")
    return enrolled


def _broker_url(settings: WorkerSettings, state: StateDirectory, enrolled: Enrolled) -> str:
    """That of a user which servers share, where one is set; else that of this server's own user."""
    if settings.broker_url is not None:
        return settings.broker_url.get_secret_value()
    if enrolled.broker_url is None:
        raise SetupError(
            "the control plane did not say where its broker is",
            remedy="Set WHARF_SERVER_BROKER_URL for the API and enrol again, or WHARF_BROKER_URL.",
        )
    user, password = server_user(enrolled.server_id), state.broker_password().get_secret_value()
    scheme, _, place = enrolled.broker_url.partition("://")
    return f"{scheme}://{user}:{password}@{place.rpartition('@')[2]}"


if __name__ == "__main__":
    main()
