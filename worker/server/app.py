"""The stock Celery worker of one server, with one task per kind; only this module uses Celery.

A message is ``(job id, attempt)``; only the job row decides what to do. A failed attempt raises,
so that Flower shows FAILURE; the message of the error holds the code and no secret.
"""

import os
import signal
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from celery import Celery, signals
from celery.exceptions import SecurityWarning

from shared.errors import SetupError, in_sentences
from shared.jobs.commands import Kind
from shared.jobs.states import Outcome
from shared.logs import configure_logs
from shared.settings import WorkerSettings, load
from shared.versions.broker import require_broker
from worker.broker import broker_settings
from worker.server.consumer import reading_settings
from worker.server.handlers import open_work
from worker.server.heartbeat import JOIN_AGAIN_REMEDY
from worker.server.identity import StateDirectory
from worker.server.runtime import Worker, start_worker

DEFAULT_DOCKER_HOST = "unix:///var/run/docker.sock"


class AttemptFailedError(Exception):
    """The error that shows a failed attempt in Flower, with its stable code and message."""


def make_app(settings: WorkerSettings) -> Celery:
    """Make a Celery app with a task for each kind; the worker starts together with Celery."""
    broker = settings.broker_url.get_secret_value() if settings.broker_url else None
    app = Celery("wharf.server", broker=broker, set_as_current=False)
    server_id = settings.server_id or "server"
    # Celery warns of root, as a message may be a program where pickle is allowed. Ours are JSON.
    warnings.filterwarnings("ignore", "You're running the worker with", SecurityWarning)
    app.conf.update(broker_settings())
    app.conf.update(reading_settings(server_id))
    app.conf.update(worker_send_task_events=True, worker_hijack_root_logger=False)
    worker: list[Worker] = []
    for kind in Kind:
        app.task(name=kind.value)(_run(worker))

    @signals.worker_init.connect(weak=False)
    def start(**_: Any) -> None:
        configure_logs("worker")
        docker_host = os.environ.get("DOCKER_HOST", DEFAULT_DOCKER_HOST)
        open_ours = partial(open_work, settings=settings, docker_host=docker_host)
        try:
            state = StateDirectory.open(settings.state_dir)
            worker.append(start_worker(state, open_ours, _leave, _leave_removed))
            if broker is not None:
                # After the start: control makes our user at the broker along with our role.
                worker[0].thread.run(require_broker(broker))
        except SetupError as error:
            # Celery only logs errors of a signal's receiver, and would continue without a worker.
            sys.stderr.write(f"wharf worker: {in_sentences(error.message, error.remedy)}\n")
            raise SystemExit(1) from None

    @signals.worker_shutting_down.connect(weak=False)
    def drain(**_: Any) -> None:
        for started in worker:
            started.drain(timedelta(seconds=settings.drain_seconds))

    @signals.worker_shutdown.connect(weak=False)
    def close(**_: Any) -> None:
        while worker:
            worker.pop().close()

    return app


def _run(worker: list[Worker]) -> Callable[[str, int], None]:
    def run(job_id: str, attempt: int) -> None:
        end = worker[0].run(job_id, attempt)
        if end is not None and end.outcome is Outcome.FAILED and end.fault is not None:
            raise AttemptFailedError(f"{end.fault.code}: {end.fault.message}")

    return run


def _leave() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _leave_removed() -> None:
    sys.stderr.write(f"wharf worker: this server was removed. {JOIN_AGAIN_REMEDY}\n")
    _leave()


app = make_app(load(WorkerSettings, os.environ))
