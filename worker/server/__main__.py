"""``wharf worker``: enrol this server if necessary, then become a stock Celery worker."""

import os
import sys
from pathlib import Path

from shared.errors import SetupError, in_sentences
from shared.settings import WorkerSettings, load
from worker.broker_users import server_user
from worker.server.enrolment import enrol, hash_token, is_removed
from worker.server.identity import Enrolment, StateDirectory, make_not_joined_error
from worker.server.trust import require_authority, secure, verified_broker_url

SLOTS = 16 + 4 + 2
"""Quick, transfer and build jobs of one server (`Server.quick_limit` and so on)."""
SPARE_THREADS = 16


def main() -> None:
    try:
        settings = load(WorkerSettings, os.environ)
        enrolment, broker_url_file = join(settings)
    except SetupError as error:
        sys.exit(f"wharf worker: {in_sentences(error.message, error.remedy)}")
    server_id = enrolment.server_id
    # The environment of a process is easily read: no password and no token stays in it.
    for name in ("WHARF_JOIN_TOKEN", "WHARF_JOIN_TOKEN_FILE", "WHARF_BROKER_URL"):
        os.environ.pop(name, None)
    os.environ.update(WHARF_SERVER_ID=server_id, WHARF_BROKER_URL_FILE=str(broker_url_file))
    os.environ.update({"WHARF_URL": enrolment.api_url} if enrolment.api_url else {})
    argv = (
        *("celery", "-A", "worker.server.app", "worker", "--pool", "threads"),
        *("--concurrency", str(SLOTS + SPARE_THREADS)),
        *("--queues", f"server.{server_id}", "--hostname", f"server@{server_id}"),
        *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
    )
    os.execv(sys.executable, (sys.executable, "-m", *argv))  # noqa: S606 - argv is ours


def join(settings: WorkerSettings) -> tuple[Enrolment, Path]:
    """Return the enrolment of this server, and the file with its broker's URL.

    Raises:
        SetupError: it cannot join, or its join token does not match its state directory.
    """
    state = StateDirectory.open(settings.state_dir)
    try:
        enrolment = _find_enrolment(state, settings) or _enrol(state, settings)
        known = enrolment
        if settings.url not in {None, enrolment.api_url}:
            # The API has moved, or the server joined before its address was kept.
            enrolment = enrolment.model_copy(update={"api_url": settings.url})
        if require_authority(state, enrolment.api_url, settings.ca_sha256) is not None:
            # It may have joined before there was a CA.
            enrolment = secure(enrolment)
        if enrolment != known:
            state.save_enrolment(enrolment)
        return enrolment, state.save_broker_url(_broker_url(settings, state, enrolment))
    finally:
        state.close()


def _find_enrolment(state: StateDirectory, settings: WorkerSettings) -> Enrolment | None:
    """Return the enrolment in the state directory; ``None`` if this server has to join.

    A token other than the one that was used belongs to another server. That server may reuse the
    directory if the former one was removed.
    """
    enrolment = state.enrolment
    if enrolment is None or settings.join_token is None:
        return enrolment
    given = hash_token(settings.join_token.get_secret_value())
    if given == enrolment.token_hash:
        return enrolment
    if is_removed(enrolment, state.ca_file):
        state.set_aside(enrolment.server_id)
        return None
    if enrolment.token_hash is None:
        # It joined before token hashes were stored: this may be its token.
        return enrolment
    raise SetupError(
        f"the state directory {state.path} belongs to the server {enrolment.server_id}, "
        "and WHARF_JOIN_TOKEN is for another server",
        remedy="Unset WHARF_JOIN_TOKEN to continue as that server, or set another WHARF_STATE_DIR.",
    )


def _enrol(state: StateDirectory, settings: WorkerSettings) -> Enrolment:
    if settings.url is None or settings.join_token is None:
        raise make_not_joined_error()
    require_authority(state, settings.url, settings.ca_sha256)
    enrolment = enrol(state, settings.url, settings.join_token.get_secret_value())
    # The key id lets the person who approves this server recognize it.
    sys.stderr.write(f"wharf worker: joined, with the key {state.public_key().key_id}\n")
    return enrolment


def _broker_url(settings: WorkerSettings, state: StateDirectory, enrolment: Enrolment) -> str:
    """Return the URL of the shared broker user if one is set, else of this server's own user."""
    if settings.broker_url is not None:
        return verified_broker_url(settings.broker_url.get_secret_value(), state.ca_file)
    if enrolment.broker_url is None:
        raise SetupError(
            "the API did not report the address of the broker",
            remedy="Set WHARF_SERVER_BROKER_URL for the API and enrol again, or WHARF_BROKER_URL.",
        )
    user, password = server_user(enrolment.server_id), state.broker_password().get_secret_value()
    scheme, _, address = enrolment.broker_url.partition("://")
    url = f"{scheme}://{user}:{password}@{address.rpartition('@')[2]}"
    return verified_broker_url(url, state.ca_file)


if __name__ == "__main__":
    main()
