"""The peer of a job's way to its server: a stock Celery whose task says when it was begun."""

import os
import sys
import time

from celery import Celery

from worker.broker import broker_settings


def make_app(broker_url: str | None, process: str) -> Celery:
    """``process`` names who uses it at the broker: ``control`` sends, a server's id receives."""
    app = Celery("bare_celery", broker=broker_url, set_as_current=False)
    app.conf.update(broker_settings())
    return app


app = make_app(os.environ.get("BENCH_BROKER_URL"), "bare")


@app.task(name="begin")
def begin(sent: float) -> None:
    """Write the seconds since it was sent, by this machine's clock; Celery puts it into its log."""
    sys.stdout.write(f"began {time.time() - sent}\n")
