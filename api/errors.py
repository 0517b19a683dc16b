"""Errors that only the API knows, hung into the tree of `shared.errors`.

```text
WharfError
├── InvalidInputError
│   ├── InvalidFieldsError      input that is not of the procedure's shape; holds the issues
│   ├── UnreadableInputError    not UTF-8, or not JSON
│   ├── NoEffectError           a field that cannot do what it asks for
│   ├── InvalidSourceError      nothing that an application could be built from
│   ├── InvalidUrlError         not where messages could be sent to
│   ├── NoContextError          nothing was uploaded for it to be built from
│   ├── ChecksumError           an upload that is not what its sender says
│   ├── IncompleteUploadError   an upload that does not come to its end
│   └── PasswordNeededError     another host or username needs the password again
├── ConflictError
│   ├── NameTakenError
│   ├── InUseError              applications use what was to be removed
│   ├── IdempotencyMismatchError    the key stands for another request
│   ├── AlreadyEndedError       the job, the build or the deployment
│   ├── AlreadyJoinedError      a server that has a key needs no join token
│   └── LastAdminKeyError
├── SignatureError              401, a deploy hook's caller does not prove to be who may call it
├── NoProcedureError            404, said as tRPC says it
├── WrongMethodError            405, ``allowed`` is the method that would do
├── WrongMediaTypeError         415
├── TooLargeError               413
│   └── QuotaExceededError      the organization keeps as much as it may
├── RequestTimeoutError         408, the body did not come in time
├── TooManyError                429, ``retry_after_seconds`` says when to come back
│   ├── RateLimitedError        the key asked too often
│   ├── TooManyAtOnceError      the key or its organization has its share of what lasts
│   └── TooManyFailuresError    the address sent too many wrong keys
├── UnavailableError            503, the database does not answer
│   ├── DatabaseFullError       503, it answers, and has no room to store anything
│   ├── BusyError               503, it does, and this process has no more room
│   └── DiskFullError           503, there is no room to keep an upload
└── InternalError               500, says nothing of the cause
```
"""

from collections.abc import Sequence
from typing import Any

from shared.errors import ConflictError, InvalidInputError, UnauthenticatedError, WharfError

Issue = dict[str, Any]
"""One finding in the shape of zod 4, which is what clients of Dokploy parse."""


class InvalidFieldsError(InvalidInputError):
    def __init__(self, issues: Sequence[Issue]) -> None:
        super().__init__("Input validation failed")
        self.issues = list(issues)


class UnreadableInputError(InvalidInputError):
    code = "unreadable_input"


class NoEffectError(InvalidInputError):
    code = "no_effect"


class InvalidSourceError(InvalidInputError):
    code = "source_invalid"


class InvalidUrlError(InvalidInputError):
    code = "url_invalid"


class NoContextError(InvalidInputError):
    code = "no_context"


class ChecksumError(InvalidInputError):
    code = "checksum_mismatch"


class IncompleteUploadError(InvalidInputError):
    code = "upload_incomplete"


class PasswordNeededError(InvalidInputError):
    code = "password_needed"


class NameTakenError(ConflictError):
    code = "name_taken"


class InUseError(ConflictError):
    code = "in_use"


class IdempotencyMismatchError(ConflictError):
    code = "idempotency_mismatch"


class AlreadyEndedError(ConflictError):
    code = "already_ended"


class AlreadyJoinedError(ConflictError):
    code = "already_joined"


class LastAdminKeyError(ConflictError):
    code = "last_admin_key"


class SignatureError(UnauthenticatedError):
    code = "signature_invalid"


class NoProcedureError(WharfError):
    code = "no_procedure"


class WrongMethodError(WharfError):
    code = "wrong_method"

    def __init__(self, message: str, *, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed


class WrongMediaTypeError(WharfError):
    code = "wrong_media_type"


class TooLargeError(WharfError):
    code = "too_large"


class QuotaExceededError(TooLargeError):
    code = "quota_exceeded"


class RequestTimeoutError(WharfError):
    code = "request_timeout"
    retryable = True


class TooManyError(WharfError):
    retryable = True

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        super().__init__(message, remedy=f"Ask again in {retry_after_seconds} s.")
        self.retry_after_seconds = retry_after_seconds


class RateLimitedError(TooManyError):
    code = "rate_limited"

    def __init__(self, per_minute: int, *, retry_after_seconds: int) -> None:
        super().__init__(
            f"this API key may ask {per_minute} times a minute",
            retry_after_seconds=retry_after_seconds,
        )


class TooManyAtOnceError(TooManyError):
    code = "too_many_at_once"

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_seconds=5)


class TooManyFailuresError(TooManyError):
    code = "too_many_failures"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(
            "too many wrong keys or tokens came from this address",
            retry_after_seconds=retry_after_seconds,
        )


class UnavailableError(WharfError):
    code = "database_unavailable"
    retryable = True
    retry_after_seconds = 1

    def __init__(
        self,
        message: str = "the database does not answer",
        *,
        remedy: str = "Try again in a moment.",
    ) -> None:
        super().__init__(message, remedy=remedy)


class DatabaseFullError(UnavailableError):
    code = "database_disk_full"
    retry_after_seconds = 60

    def __init__(self) -> None:
        super().__init__(
            "the database's disk is full: nothing can be stored",
            remedy="Free space on PostgreSQL's disk. What is stored can still be read.",
        )


class BusyError(UnavailableError):
    code = "busy"


class DiskFullError(UnavailableError):
    code = "disk_full"
    retry_after_seconds = 60


class InternalError(WharfError):
    def __init__(self) -> None:
        super().__init__("an error of ours; the API's log says which")
