"""Refusals of a registry's login, as ``login_use.sql`` records them by server."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

CONTROL = "control"
"""The key of the refusals that control itself has met, among those of servers."""


class Refusal(BaseModel):
    """The refusals from one server since it was accepted there last.

    ``times`` is their number, ``at`` the moment of the newest one, and ``code`` its code.
    """

    model_config = ConfigDict(extra="ignore")

    times: int
    since: datetime
    at: datetime
    code: str | None
    job: str | None
