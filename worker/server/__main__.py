"""``wharf worker``: enrol where that is still to do, then become a stock Celery worker."""

import os
import sys

from shared.errors import SetupError
from shared.settings import WorkerSettings, load
from worker.server.enrolment import enrol
from worker.server.identity import Enrolled, StateDirectory

SLOTS = 16 + 4 + 2
"""Quick, transfer and build jobs of one server (`Server.quick_slots` and so on)."""
SPARE_THREADS = 16


def main() -> None:
    try:
        settings = load(WorkerSettings, os.environ)
        enrolled = _enrolled(settings)
        broker_url = _broker_url(settings, enrolled)
    except SetupError as error:
        sys.exit(f"wharf worker: {error.message} {error.remedy}".strip())
    os.environ.update(WHARF_SERVER_ID=enrolled.server_id, WHARF_BROKER_URL=broker_url)
    argv = (
        *("celery", "-A", "worker.server.app", "worker", "--pool", "threads"),
        *("--concurrency", str(SLOTS + SPARE_THREADS)),
        *("--queues", f"server.{enrolled.server_id}", "--hostname", f"server@{enrolled.server_id}"),
        *("--without-gossip", "--without-mingle", "--loglevel", "WARNING"),
    )
    os.execv(sys.executable, (sys.executable, "-m", *argv))  # noqa: S606 - argv is ours


def _enrolled(settings: WorkerSettings) -> Enrolled:
    state = StateDirectory.open(settings.state_dir)
    try:
        if state.enrolled is not None:
            return state.enrolled
        if settings.url is None or settings.join_token is None:
            raise SetupError(
                "this server is not enrolled yet",
                remedy="Set WHARF_URL and WHARF_JOIN_TOKEN as `server.create` answered them.",
            )
        return enrol(state, settings.url, settings.join_token.get_secret_value())
    finally:
        state.close()


def _broker_url(settings: WorkerSettings, enrolled: Enrolled) -> str:
    if settings.broker_url is not None:
        return settings.broker_url.get_secret_value()
    if enrolled.broker_url is None:
        raise SetupError("no broker is known", remedy="Set WHARF_BROKER_URL.")
    return enrolled.broker_url


if __name__ == "__main__":
    main()
