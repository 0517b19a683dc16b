"""Every error of the product, as one tree.

```text
WharfError                 code, message, remedy, retryable
├── InvalidInputError      input that is refused before anything happens        400
│   ├── InvalidReferenceError    an image reference, host, prefix or tag
│   ├── InvalidComposeError      a compose file
│   └── RefusedNetworkError      an address that registries may not have here
├── UnauthenticatedError   no key, or not a good one                            401
├── ForbiddenError         a good key without the right                         403
├── NotFoundError          no such thing in the caller's organization           404
├── ConflictError          a thing of that name or in that state already        409
├── UnmetConditionError    the world is not ready: no server, server away       412
├── OverdueError           still under way; the job goes on                     504
├── FailedJobError         the job that was waited for ended badly              400
├── RegistryError          a registry refused, or could not be reached
├── EngineError            a Docker Engine refused, or could not be reached
├── SourceError            sources of a build that cannot be fetched or may not be built
├── CredentialError        a sealed secret does not open, or is for another place
├── LeaseLostError         the attempt is no longer ours: stop, write nothing
└── SetupError             this process cannot start as it is set up
```

A message says what failed on what, the remedy what to do about it. Neither ever holds a secret.
"""

from typing import Self

from shared.faults import FAULTS, Fault, FaultCode


class WharfError(Exception):
    """An error with a stable public ``code`` and a ``remedy``; the tree stands in this module."""

    code: str = "internal"
    retryable: bool = False

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def fault(self) -> Fault:
        """The error as it is stored with a job and shown to a caller."""
        return Fault(
            code=self.code, message=self.message, remedy=self.remedy, retryable=self.retryable
        )


class InvalidInputError(WharfError, ValueError):
    """Input refused before anything happened; a ``ValueError`` so that pydantic keeps its path."""

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
    """Something outside the input is missing; ``code`` says what, as ``no_server``."""

    def __init__(self, code: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class OverdueError(WharfError):
    """A wait that ran out; the job goes on under ``job_id``."""

    code = "still_running"

    def __init__(self, message: str, *, job_id: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.job_id = job_id


class FailedJobError(WharfError):
    """A job that was waited for ended without success; ``ended`` says with what."""

    def __init__(self, ended: Fault, *, job_id: str) -> None:
        super().__init__(ended.message, remedy=ended.remedy)
        self.code = ended.code
        self.ended = ended
        self.job_id = job_id


class _DiagnosedError(WharfError):
    """An error whose retry verdict and default remedy come from the diagnosis table."""

    def __init__(
        self,
        code: FaultCode,
        message: str,
        *,
        remedy: str = "",
        evidence: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy or FAULTS[code].remedy)
        self.code = code
        self.retryable = FAULTS[code].retryable
        self.evidence = evidence
        self.retry_after_seconds = retry_after_seconds

    def within(self, whole: str) -> Self:
        """The same error as a part of ``whole``, which its message then begins with."""
        return type(self)(
            FaultCode(self.code),
            f"{whole}: {self.message}",
            remedy=self.remedy,
            evidence=self.evidence,
            retry_after_seconds=self.retry_after_seconds,
        )

    def fault(self) -> Fault:
        return (
            super()
            .fault()
            .model_copy(
                update={
                    "evidence": self.evidence,
                    "retry_after_seconds": self.retry_after_seconds,
                }
            )
        )


class RegistryError(_DiagnosedError):
    """A registry refused or could not be reached; ``code`` is one of `FaultCode`."""


class EngineError(_DiagnosedError):
    """A Docker Engine refused or could not be reached; ``code`` is one of `FaultCode`."""


class SourceError(_DiagnosedError):
    """Sources that cannot be fetched or may not be built; ``code`` is one of `FaultCode`."""


class CredentialError(WharfError):
    code = "credential_unreadable"


class LeaseLostError(WharfError):
    code = "lease_lost"


class SetupError(WharfError):
    code = "setup"
