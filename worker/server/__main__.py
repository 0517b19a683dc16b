"""``wharf worker``: enrol where that is still to do, then become a stock Celery worker."""

import os
import sys

from shared.errors import SetupError
from shared.settings import WorkerSettings, load
from worker.broker_users import server_user
from worker.server.enrolment import enrol
from worker.server.identity import Enrolled, StateDirectory

SLOTS = 16 + 4 + 2
"""Quick, transfer and build jobs of one server (`Server.quick_slots` and so on)."""
SPARE_THREADS = 16


def main() -> None:
    try:
        settings = load(WorkerSettings, os.environ)
        enrolled, broker_url = join(settings)
    except SetupError as error:
        sys.exit(f"wharf worker: {error.message} {error.remedy}".strip())
    server_id = enrolled.server_id
    os.environ.update(WHARF_SERVER_ID=server_id, WHARF_BROKER_URL=broker_url)
    os.environ.update({"WHARF_URL": enrolled.api_url} if enrolled.api_url else {})
    argv = (
        *("celery", "-A", "worker.server.app", "worker", "--pool", "threads"),
        *("--concurrency", str(SLOTS + SPARE_THREADS)),
        *("--queues", f"server.{server_id}", "--hostname", f"server@{server_id}"),
        *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
    )
    os.execv(sys.executable, (sys.executable, "-m", *argv))  # noqa: S606 - argv is ours


def join(settings: WorkerSettings) -> tuple[Enrolled, str]:
    """Who this server is and its broker's URL, of this start or of the first one."""
    state = StateDirectory.open(settings.state_dir)
    try:
        enrolled = state.enrolled or _enrol(state, settings)
        if settings.url not in {None, enrolled.api_url}:
            # The API has moved, or the server joined before its address was kept.
            enrolled = enrolled.model_copy(update={"api_url": settings.url})
            state.keep_enrolled(enrolled)
        return enrolled, _broker_url(settings, state, enrolled)
    finally:
        state.close()


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
