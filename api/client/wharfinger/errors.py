"""The one error of the client."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from pydantic import JsonValue


class ApiError(Exception):
    """A call failed: the API refused it, a job failed, or no answer arrived.

    ``code`` is stable. The reference of the API lists its codes; the client adds ``unreachable``,
    ``no_answer``, ``tls_failed``, ``not_the_api``, ``bad_url``, ``no_api_key``,
    ``answer_unreadable`` and ``wait_timeout``. ``status`` is that of the HTTP answer, `None`
    without one. ``request_id`` finds the request in the log of the API. ``issues`` names the
    invalid fields of an input. ``stage`` is the failed stage of a registry test. ``job_id`` is the
    job that failed, or that still runs.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        remedy: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        job_id: str | None = None,
        stage: str | None = None,
        issues: Sequence[Mapping[str, JsonValue]] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.remedy = remedy
        self.status = status
        self.request_id = request_id
        self.job_id = job_id
        self.stage = stage
        self.issues = tuple(issues)
        self.retry_after = retry_after

    @property
    def sentence(self) -> str:
        """Return the message, with the invalid fields of an input."""
        return "; ".join([self.message, *map(_describe, self.issues)])

    def __str__(self) -> str:
        """Return the code, the message with invalid fields, the remedy and the request id."""
        said = self.sentence
        ending = "" if said.endswith((".", "!", "?")) else "."
        remedy = f" {self.remedy}" if self.remedy else ""
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code}: {said}{ending if remedy else ''}{remedy}{request}"


def _describe(issue: Mapping[str, JsonValue]) -> str:
    path = issue.get("path")
    where = ".".join(str(part) for part in path) if isinstance(path, list) else ""
    return f"{where}: {issue.get('message', '')}" if where else str(issue.get("message", ""))
