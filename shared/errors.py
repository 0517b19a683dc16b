"""Every error of the product, as one tree.

```text
WharfError                 code, message, remedy, retryable
├── InvalidInputError      input that is refused before anything changes        400
│   ├── InvalidReferenceError    an image reference, host, prefix or tag
│   ├── InvalidComposeError      a compose file
│   └── RefusedNetworkError      an address outside the allowed networks
├── UnauthenticatedError   no valid key                                         401
├── ForbiddenError         a valid key without the permission                   403
├── NotFoundError          no such object in the caller's organization          404
├── ConflictError          the name or the state conflicts with the request     409
├── UnmetConditionError    a condition outside the input, e.g. server offline   412
├── QueueFullError         the organization has as many unended jobs as allowed   429
├── OverdueError           a wait timed out; the job continues                  504
├── FailedJobError         the awaited job did not succeed                      400
├── RegistryError          a registry refused, or could not be reached
├── EngineError            a Docker Engine refused, or could not be reached
├── SourceError            a build's sources cannot be fetched or may not be built
├── ScanError              an image cannot be scanned, or its scan violates a policy
├── CredentialError        a sealed secret does not open, or has another context
├── LeaseLostError         the lease of the attempt was lost: stop, write nothing
└── SetupError             this process cannot start with its settings
```

A message states what failed on what; the remedy states what to do. Neither contains a secret.
"""

from typing import Self

from shared.faults import FAULTS, Fault, FaultCode


class WharfError(Exception):
    """An error with a stable public ``code`` and a ``remedy``; this module shows the tree."""

    code: str = "internal"
    retryable: bool = False

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def fault(self) -> Fault:
        """Return the error in the form that is stored with a job and shown to a caller."""
        return Fault(
            code=self.code, message=self.message, remedy=self.remedy, retryable=self.retryable
        )


def in_sentences(message: str, remedy: str = "") -> str:
    """Return message and remedy as sentences, for example ``… is wrong. Set WHARF_API_KEY.``."""
    text = message.strip()
    if not text.endswith((".", "!", "?", "…")):
        text += "."
    return f"{text} {remedy}".strip()


class InvalidInputError(WharfError, ValueError):
    """Input that is refused; a ``ValueError`` so that pydantic reports the field's path."""

    code = "bad_input"


class InvalidReferenceError(InvalidInputError):
    code = "ref_invalid"


class InvalidComposeError(InvalidInputError):
    code = "compose_invalid"


class RefusedNetworkError(InvalidInputError):
    code = "network_refused"


class UnauthenticatedError(WharfError):
    code = "unauthenticated"


class ForbiddenError(WharfError):
    code = "forbidden"


class NotFoundError(WharfError):
    code = "not_found"


class ConflictError(WharfError):
    code = "conflict"


class UnmetConditionError(WharfError):
    """A condition outside the input is not met; ``code`` names it, for example ``no_server``."""

    def __init__(self, code: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class QueueFullError(WharfError):
    """The organization has ``quota`` jobs, or more, that have not ended."""

    code = "queue_full"
    retryable = True
    retry_after_seconds = 30

    def __init__(self, quota: int) -> None:
        super().__init__(
            f"{quota} or more jobs of the organization have not ended; its quota is {quota}",
            remedy="Try again when some have ended, cancel some with job.cancel, or ask the "
            "operator to raise WHARF_QUOTA_QUEUED_JOBS.",
        )


class OverdueError(WharfError):
    """A wait that timed out; the job ``job_id`` continues."""

    code = "still_running"

    def __init__(self, message: str, *, job_id: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.job_id = job_id


class FailedJobError(WharfError):
    """An awaited job ended without success; ``ended`` is its fault."""

    def __init__(self, ended: Fault, *, job_id: str) -> None:
        super().__init__(ended.message, remedy=ended.remedy)
        self.code = ended.code
        self.ended = ended
        self.job_id = job_id


class _DiagnosedError(WharfError):
    """An error whose retry verdict and default remedy come from the diagnosis table.

    ``stage`` is the stage of a connection test that failed, if it is known. ``is_certain`` is unset
    if other causes look the same; by default the table decides. ``registry_id`` is the stored
    registry whose login was refused, where a job has several.
    """

    registry_id: str | None = None

    def __init__(
        self,
        code: FaultCode,
        message: str,
        *,
        remedy: str = "",
        evidence: str = "",
        retry_after_seconds: float | None = None,
        stage: str | None = None,
        is_certain: bool | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy or FAULTS[code].remedy)
        self.code = code
        self.retryable = FAULTS[code].retryable
        self.evidence = evidence
        self.retry_after_seconds = retry_after_seconds
        self.stage = stage
        self.is_certain = FAULTS[code].certain if is_certain is None else is_certain

    def within(self, whole: str) -> Self:
        """Return the same error with a message that begins with ``whole``."""
        made = type(self)(
            FaultCode(self.code),
            f"{whole}: {self.message}",
            remedy=self.remedy,
            evidence=self.evidence,
            retry_after_seconds=self.retry_after_seconds,
            stage=self.stage,
            is_certain=self.is_certain,
        )
        made.registry_id = self.registry_id
        return made

    def fault(self) -> Fault:
        return (
            super()
            .fault()
            .model_copy(
                update={
                    "evidence": self.evidence,
                    "retry_after_seconds": self.retry_after_seconds,
                    "stage": self.stage,
                    "registry_id": self.registry_id,
                }
            )
        )


class RegistryError(_DiagnosedError):
    """A registry refused or could not be reached; ``code`` is one of `FaultCode`."""


class EngineError(_DiagnosedError):
    """A Docker Engine refused or could not be reached; ``code`` is one of `FaultCode`."""


class SourceError(_DiagnosedError):
    """Sources that cannot be fetched or may not be built; ``code`` is one of `FaultCode`."""


class ScanError(_DiagnosedError):
    """A scan that failed, or found too much; ``code`` is one of `FaultCode`."""


class CredentialError(WharfError):
    code = "credential_unreadable"


class LeaseLostError(WharfError):
    code = "lease_lost"


class SetupError(WharfError):
    code = "setup"
