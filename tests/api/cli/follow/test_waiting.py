"""Reasons of waiting jobs, as commands show them."""

from dataclasses import dataclass, field

import pytest

from api.cli.follow.waiting import AGAIN_SECONDS, FIRST_SECONDS, Waits, describe

JOBS = {"alpha": "job-1", "beta": "job-2"}


@dataclass
class Reasons:
    """The reasons by job, the jobs that were asked about, and a clock."""

    texts: dict[str, str]
    asked: list[str] = field(default_factory=list)
    now: float = 0.0

    def find(self, job_id: str) -> str:
        self.asked.append(job_id)
        return self.texts.get(job_id, "")

    def waits(self) -> Waits:
        return Waits(self.find, lambda: self.now)


def test_a_job_that_has_just_been_queued_is_not_asked_about() -> None:
    reasons = Reasons({"job-1": "docker.io allows no more pulls now"})

    assert list(reasons.waits().lines(JOBS)) == []
    assert reasons.asked == []


def test_each_waiting_job_is_shown_once_with_its_reason() -> None:
    reasons = Reasons({"job-1": "the quota is used up", "job-2": "the server is full"})
    waits = reasons.waits()
    lines = list(waits.lines(JOBS))
    for _ in range(100):
        reasons.now += FIRST_SECONDS
        lines += waits.lines(JOBS)

    assert lines == ["alpha waits: the quota is used up", "beta waits: the server is full"]
    assert len(reasons.asked) <= 2 * (1 + reasons.now / AGAIN_SECONDS)


def test_a_new_reason_is_shown() -> None:
    reasons = Reasons({"job-1": "the server is full"})
    waits = reasons.waits()
    list(waits.lines(JOBS))
    reasons.now = FIRST_SECONDS
    first = list(waits.lines(JOBS))
    reasons.texts["job-1"] = "the quota is used up"
    reasons.now += AGAIN_SECONDS

    assert first == ["alpha waits: the server is full"]
    assert list(waits.lines(JOBS)) == ["alpha waits: the quota is used up"]


@pytest.mark.parametrize(
    ("until", "text"),
    [
        (None, "it waits"),
        ("2026-11-30T19:00:00.000Z", "it waits (until 2026-11-30T19:00:00.000Z)"),
    ],
)
def test_a_reason_says_until_when(until: str | None, text: str) -> None:
    assert describe({"code": "quota", "message": "it waits", "until": until}) == text


def test_a_job_that_does_not_wait_has_no_reason() -> None:
    assert describe(None) == ""
