"""Measure the coverage of a program that a journey starts, and not of the API and control.

Python imports this at its start, in each process that has this folder in ``PYTHONPATH``: coverage
doubles the time of a process, and other tests measure the servers.
"""

import os
import sys

PROGRAMS = {"api.cli.main", "worker.local.demo", "worker.local.up", "celery"}
"""The modules behind ``wharf demo`` and ``wharf up``, and workers, measured nowhere else."""

if PROGRAMS.isdisjoint(sys.orig_argv) and os.environ.pop("COVERAGE_PROCESS_CONFIG", ""):
    from coverage import Coverage

    if running := Coverage.current():
        running.stop()
