"""Statistics of ended jobs, which stay when the jobs are deleted."""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint
from sqlmodel import Field, SQLModel

from shared.jobs.durations import PHASES
from shared.jobs.states import FINAL
from shared.models.columns import one_of


def _number() -> Any:
    return Field(sa_type=BigInteger)


class EndedJob(SQLModel, table=True):
    """A job that has ended and is not counted yet. A trigger adds the row, and control deletes it.

    Jobs that end at the same time would wait for one another if each changed a counter.
    ``waited_seconds`` and ``ran_seconds`` are those of the last attempt, if the job was running.
    """

    __tablename__ = "job_ended"
    __table_args__ = (one_of("state", sorted(FINAL)),)

    job_id: str = Field(primary_key=True)
    kind: str
    state: str
    code: str
    waited_seconds: float | None = None
    ran_seconds: float | None = None
    moved_bytes: int = _number()


class JobCount(SQLModel, table=True):
    """The number of jobs that have ended; ``code`` is empty for those without an error."""

    __tablename__ = "job_count"
    __table_args__ = (one_of("state", sorted(FINAL)),)

    kind: str = Field(primary_key=True)
    state: str = Field(primary_key=True)
    code: str = Field(primary_key=True)
    jobs: int = _number()
    moved_bytes: int = _number()


class JobDuration(SQLModel, table=True):
    """The number of jobs whose phase took at most ``up_to`` seconds, and more than the next less.

    ``seconds`` is the sum of their durations.
    """

    __tablename__ = "job_duration"
    __table_args__ = (
        one_of("phase", PHASES),
        CheckConstraint("up_to > 0", name="bound_positive"),
    )

    kind: str = Field(primary_key=True)
    phase: str = Field(primary_key=True)
    up_to: float = Field(primary_key=True)
    jobs: int = _number()
    seconds: float
