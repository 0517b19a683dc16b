"""The only statements that change a job: submit, release, sweep, cancel.

The others are in ``jobs/sql/worker``: a worker's statements for its own attempts.
"""
