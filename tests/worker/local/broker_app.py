"""The smallest Celery app with the product's broker settings, to prove the rules of the broker."""

import os
import threading

from celery import Celery

from worker.broker import broker_settings
from worker.server.consumer import reading_settings


def make_app(broker_url: str | None, process: str) -> Celery:
    """``process`` is ``control``, ``flower`` or a server's id."""
    app = Celery("broker_app", broker=broker_url, set_as_current=False)
    app.conf.update(broker_settings())
    if process not in {"control", "flower"}:
        app.conf.update(reading_settings(process))
    app.conf.update(worker_send_task_events=True)
    return app


app = make_app(os.environ.get("TEST_BROKER_URL"), os.environ.get("TEST_PROCESS", "control"))


@app.task(name="run_job")
def run_job(job_id: str, attempt: int) -> None:
    """Do nothing, or hold a slot for ever; that it ran is seen in its events."""
    if job_id == "endless":
        threading.Event().wait()
