"""The statements that change a job, and the only ones: submit, release, sweep, cancel.

The rest is ``jobs/sql/worker``: what a server worker says about its own attempts.
"""
