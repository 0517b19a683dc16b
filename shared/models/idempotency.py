"""A request with an ``Idempotency-Key``, and its answer once there is one."""

from typing import Any

from sqlalchemy import LargeBinary
from sqlmodel import Field, SQLModel

from shared.models.columns import Moment, document, moment


class Idempotency(SQLModel, table=True):
    """``position`` is the call's position in its batch; ``job_id`` is the job of the request.

    ``request_hash`` is keyed with the API key, which is not stored: a request may contain a
    password, which could be guessed from a plain hash.
    """

    actor_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.organization_id")
    request_hash: bytes = Field(sa_type=LargeBinary)
    job_id: str
    answer: dict[str, Any] | None = document()
    created_at: Moment = moment(default_now=True, index=True)
