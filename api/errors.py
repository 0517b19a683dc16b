"""Errors of the API only, in the tree of `shared.errors`.

```text
WharfError
├── InvalidInputError
│   ├── InvalidFieldsError      the input does not have the procedure's shape; holds the issues
│   ├── UnreadableInputError    not UTF-8, or not JSON
│   ├── NoEffectError           a field cannot take effect
│   ├── InvalidSourceError      not a usable source of an application
│   ├── InvalidUrlError         not a usable URL of a webhook
│   ├── InvalidCertificateError not a usable certificate or key of a registry
│   ├── NoContextError          no context was uploaded for the build
│   ├── ChecksumError           an upload's checksum differs from the declared one
│   ├── IncompleteUploadError   an upload broke off
│   └── PasswordNeededError     a new host or username needs the password again
├── ConflictError
│   ├── NameTakenError
│   ├── QuotaUsedError          the organization has as many as its quota allows
│   ├── InUseError              an application uses it, so it cannot be removed
│   ├── IdempotencyMismatchError    the key was used for another request
│   ├── AlreadyEndedError       the job, build or deployment has already ended
│   ├── AlreadyJoinedError      a server that has joined gets no join token
│   ├── RotationRunningError    the registry's new login is being tested
│   ├── NoFormerLoginError      the registry's former login is not kept
│   ├── WouldLockOutError       the change excludes the caller's own address
│   ├── LastOwnerError          an organization keeps an owner
│   └── LastAdminKeyError
├── AddressRefusedError         403, outside the source networks
├── SignatureError              401, a deploy hook's request has no valid signature
├── WrongSignInError            401, the address, the password or the code is wrong
├── CodeNeededError             401, the password is right, and a one-time password is needed
├── NoProcedureError            404, in tRPC's format
├── NotOfferedError             501, a procedure of Dokploy for what is not done here
├── WrongMethodError            405, ``allowed`` is the right method
├── WrongMediaTypeError         415
├── TooLargeError               413
│   └── QuotaExceededError      the organization has used its quota
├── RequestTimeoutError         408, the body did not arrive in time
├── TooManyError                429, retry after ``retry_after_seconds``
│   ├── RateLimitedError        the key, organization or address sent too many requests
│   ├── TooManyAtOnceError      the key or its organization has too many open
│   └── TooManyFailuresError    too many wrong keys or passwords of an address or an account
├── UnavailableError            503, the database does not answer
│   ├── DatabaseFullError       503, its disk is full
│   ├── BusyError               503, this process is at its limit
│   └── DiskFullError           503, the disk for uploads is full
└── InternalError               500, does not reveal the cause
```
"""

from collections.abc import Sequence
from typing import Any

from shared.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    UnauthenticatedError,
    WharfError,
)

Issue = dict[str, Any]
"""One issue in the format of zod 4, which Dokploy's clients parse."""


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


class InvalidCertificateError(InvalidInputError):
    code = "certificate_invalid"


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


class QuotaUsedError(ConflictError):
    code = "quota_exceeded"


class InUseError(ConflictError):
    code = "in_use"


class IdempotencyMismatchError(ConflictError):
    code = "idempotency_mismatch"


class AlreadyEndedError(ConflictError):
    code = "already_ended"


class ChangedMeanwhileError(ConflictError):
    code = "changed_meanwhile"


class NotRepeatableError(ConflictError):
    code = "not_repeatable"


class DeploymentChangedError(ConflictError):
    code = "deployment_changed"


class AlreadyJoinedError(ConflictError):
    code = "already_joined"


class RotationRunningError(ConflictError):
    code = "rotation_running"


class NoFormerLoginError(ConflictError):
    code = "no_former_login"


class WouldLockOutError(ConflictError):
    code = "would_lock_out"


class LastOwnerError(ConflictError):
    code = "last_owner"


class LastAdminKeyError(ConflictError):
    code = "last_admin_key"


class AddressRefusedError(ForbiddenError):
    code = "address_refused"


class SignatureError(UnauthenticatedError):
    code = "hook_signature_invalid"


class WrongSignInError(UnauthenticatedError):
    code = "sign_in_failed"

    def __init__(self) -> None:
        super().__init__(
            "the e-mail address, the password or the code is wrong",
            remedy="Check all of them. A code of the second factor is accepted once.",
        )


class CodeNeededError(UnauthenticatedError):
    code = "code_needed"

    def __init__(self) -> None:
        super().__init__(
            "this account has a second factor",
            remedy="Enter the code that the authenticator app shows.",
        )


class NoProcedureError(WharfError):
    code = "no_procedure"


class NotOfferedError(WharfError):
    code = "not_offered"


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
        super().__init__(message, remedy=f"Try again in {retry_after_seconds} s.")
        self.retry_after_seconds = retry_after_seconds


class RateLimitedError(TooManyError):
    code = "rate_limited"

    def __init__(
        self, per_minute: int, *, retry_after_seconds: int, subject: str = "this API key"
    ) -> None:
        super().__init__(
            f"{subject} has sent more than {per_minute} requests in a minute",
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
            "too many wrong API keys, tokens or passwords came from this IP address, or for this "
            "account",
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
            "the database's disk is full, so nothing can be stored",
            remedy="Free space on PostgreSQL's disk. Stored data can still be read.",
        )


class ProviderAwayError(UnavailableError):
    code = "sign_in_provider_away"

    def __init__(self, message: str = "the sign-in provider does not answer") -> None:
        super().__init__(
            message, remedy="Try again in a moment, or sign in with a password if you have one."
        )


class BusyError(UnavailableError):
    code = "busy"


class DiskFullError(UnavailableError):
    code = "disk_full"
    retry_after_seconds = 60


class InternalError(WharfError):
    def __init__(self) -> None:
        super().__init__("internal error; see the API's log")
