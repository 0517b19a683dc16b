"""The stable codes of errors, with status and remedy.

The remedies of faults are those of the diagnosis table. The rest belongs to errors whose remedy
depends on the request: here is the general one. If a fault has the same code, it covers both.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from api.http.status import INTERNAL, STATUSES, Status
from shared.errors import FailedJobError, UnmetConditionError, WharfError
from shared.faults import FAULTS

REFUSALS = {
    "address_refused": (
        "Use an address of the networks, or let an administrator add this one. "
        "`organization.settings`, `user.all` and `apiKey.all` show them."
    ),
    "already_ended": "Nothing is left to cancel.",
    "already_joined": "Remove the server and create it again to join it anew.",
    "bad_input": "Correct the fields that `issues` names.",
    "busy": "Send the request again in a moment.",
    "certificate_invalid": "Give whole, valid certificates in PEM, and the key that fits.",
    "changed_meanwhile": "Look at the changes, and send the form again.",
    "checksum_mismatch": "Send the upload again.",
    "code_needed": "Enter the code that the authenticator app shows.",
    "compose_invalid": "Correct the compose file as the message says.",
    "conflict": (
        "If it already exists, use it or choose another name. Otherwise repeat the request "
        "when its state allows it."
    ),
    "database_disk_full": "Free space on PostgreSQL's disk.",
    "database_unavailable": "Send the request again in a moment.",
    "deployment_changed": "Look at deployment.all, and request the rollback again.",
    "disk_full": (
        "Free space on the disk that the message names. On a server, remove unused images "
        "with `docker image prune -a`, which also removes builds that were not pushed."
    ),
    "forbidden": (
        "Use a key with the role that the message names, or let an administrator add this key to "
        "`allowedKeys` of the application."
    ),
    "hook_signature_invalid": "Sign the request with the secret of the deploy hook.",
    "idempotency_mismatch": "Use another `Idempotency-Key` for another request.",
    "in_use": (
        "Change or remove the applications that use it first. A registry is changed or removed "
        "all the same with `force: true`."
    ),
    "internal": "Report the `x-request-id` of the response to the operator.",
    "last_admin_key": "Create another key with the role `admin` first.",
    "would_lock_out": "Add your address to the networks, or send `force: true` to exclude it.",
    "last_owner": "Make another member an owner first.",
    "name_taken": (
        "Choose another name. If a container or service on the server has the name, rename "
        "or remove it, or change `appName`."
    ),
    "network_refused": (
        "Ask the operator to add the address to `WHARF_REGISTRY_NETWORKS`, or for a "
        "webhook to `WHARF_WEBHOOK_NETWORKS`."
    ),
    "no_context": "Upload one with `application.uploadContext`.",
    "no_effect": "Leave the field out.",
    "no_former_login": "Store the login again with `registry.update` or `registry.rotate`.",
    "no_procedure": "Check the path and the method.",
    "not_found": "Check the id, and that the key belongs to the same organization.",
    "not_offered": "Use what the message names, if it names something.",
    "not_repeatable": "Request the work anew, as the message says.",
    "password_needed": "Give the password, token or key again, with the new host or username.",
    "quota_exceeded": (
        "`organization.quotas` shows what the organization has and may have. Remove what is no "
        "longer needed, or ask the operator to raise the quota (`WHARF_QUOTA_APPLICATIONS`, "
        "`WHARF_QUOTA_WEBHOOKS`, `WHARF_CONTEXT_QUOTA_BYTES`). If the registry has no space "
        "left, delete images of the project or account there, raise its quota, or give the "
        "registry a larger disk."
    ),
    "queue_full": (
        "Send the request again after `Retry-After` seconds, cancel jobs with `job.cancel`, or ask "
        "the operator to raise `WHARF_QUOTA_QUEUED_JOBS`."
    ),
    "rate_limited": (
        "If the API answers so, send the request again after `Retry-After` seconds. If the "
        "registry does, wait; where it limits pulls, pull with a login, or copy the image to a "
        "registry of your own."
    ),
    "ref_invalid": "Use host[:port] for a registry and lower-case repository names.",
    "request_timeout": "Send the whole body faster.",
    "rotation_running": "Wait for its end, or cancel it with `registry.cancelRotation`.",
    "sign_in_provider_away": "Try again; check that the provider answers at WHARF_OIDC_ISSUER.",
    "sign_in_failed": "Check address, password and code. A code is accepted once.",
    "source_invalid": "Correct the file, link, setting or URL that the message names.",
    "still_running": "The job continues. Follow it with `job.one`.",
    "too_large": "Send a smaller body.",
    "too_many_at_once": "Send the request again after `Retry-After` seconds.",
    "too_many_failures": "Correct the key or the password, then wait `Retry-After` seconds.",
    "unauthenticated": "Send a valid API key as `x-api-key`.",
    "unreadable_input": "Send UTF-8 and valid JSON.",
    "upload_incomplete": "Send the upload again.",
    "url_invalid": "Give an https URL that the API may reach.",
    "wrong_media_type": "Send the media type that the operation names.",
    "wrong_method": "Use the method that `Allow` names.",
}
"""Codes of error classes that a request can be answered with."""

CONDITIONS = {
    "app_name_unusable": "Choose another `appName`.",
    "build_not_pushed": "Set `buildRegistryId` with `application.update`, then build again.",
    "build_not_succeeded": (
        "Choose another build from `build.all`, or leave the build out so that a new one is made."
    ),
    "cannot_sign": "Choose a key that `canSign`, or create one.",
    "digest_unknown": "Build again.",
    "health_check_too_slow": "Lower the intervals, timeouts or retries of the health check.",
    "host_path_not_allowed": (
        "Mount a named volume, or list the directory in `WHARF_HOST_PATHS` of the server's worker."
    ),
    "image_deleted": "Build again, or choose another build.",
    "no_build": "Use `application.deploy`, which builds the application.",
    "no_data_dir": "Set WHARF_DATA_DIR for the API, or build from git.",
    "no_server": (
        "Start, approve or resume the server that the message names. If you have none, "
        "create one and start its worker."
    ),
    "no_server_address": "Set WHARF_SERVER_DATABASE_URL for the API.",
    "no_target_server": "Set `serverIds` with `application.update`.",
    "not_deployed": "Use `application.deploy` first.",
    "registry_not_allowed": "Choose another registry, or change its allowed list.",
    "registry_removed": "Choose another rollback point, or deploy a build.",
    "scan_missing": "Scan the image with scan.run, or build again.",
    "server_not_approved": "Run `wharf server approve` where `wharf control` runs.",
    "server_offline": "Start the server's worker, or choose another server.",
    "server_paused": "Resume the server with `server.resume`, or choose another one.",
    "source_not_docker": "Save a repository or a ready image first.",
    "too_many_replicas": "Set `replicas` to 1, or `runtime` to `service`.",
    "too_many_signing_keys": "Remove a signing key.",
    "vulnerabilities_found": "Update the packages and build again, or add an exception.",
    "webhook_disabled": "Enable the webhook with `webhook.update`.",
}
"""Codes of `UnmetConditionError`."""

ENDINGS = {
    "cancelled": "Submit the job again.",
    "command_unreadable": "Update `wharf control` to the version of the API, and submit it again.",
    "deadline_passed": (
        "Check that the server is online and not at its limit of jobs. Then submit the job again."
    ),
    "digest_unreadable": "Update the worker of the server, then build again.",
    "document_unreadable": "Read the worker's log on the server, and update the worker.",
    "need_not_met": "Read the error of the job that this one needs.",
    "result_unreadable": "Update the worker of the server.",
    "returned_too_often": (
        "Read the worker's log on the server: something stops or restarts the worker. If "
        "the job has failed, submit it again."
    ),
    "server_removed": "Choose another server, and submit the job again.",
    "superseded": "Use the newer build or deployment.",
    "worker_lost": (
        "Check that the server and its worker run. If the job has failed, submit it again."
    ),
}
"""Codes of jobs that ended without a fault of a registry, an Engine or a source."""


@dataclass(frozen=True)
class ErrorCode:
    """A stable code; one code may come with several statuses."""

    code: str
    statuses: tuple[int, ...]
    remedy: str


def list_codes() -> list[ErrorCode]:
    """Return all codes that an answer can hold, in alphabetical order."""
    statuses: dict[str, set[int]] = defaultdict(set)
    for kind in _classes(WharfError):
        if "code" in vars(kind) and (_status_of(kind) is not INTERNAL or kind is WharfError):
            statuses[kind.code].add(_status_of(kind).http)
    for codes, kind in ((CONDITIONS, UnmetConditionError), (ENDINGS, FailedJobError)):
        for code in codes:
            statuses[code].add(STATUSES[kind].http)
    for fault in FAULTS:
        statuses[fault.value].add(STATUSES[FailedJobError].http)
    return [
        ErrorCode(code, tuple(sorted(statuses[code])), _remedy(code)) for code in sorted(statuses)
    ]


def show_codes() -> str:
    """Return the codes as a Markdown table."""
    rows = [
        f"| `{each.code}` | {', '.join(map(str, each.statuses))} | {each.remedy} |"
        for each in list_codes()
    ]
    return "\n".join(["| Code | Status | Remedy |", "|---|---|---|", *rows])


def _remedy(code: str) -> str:
    """Return the remedy of a code; the one here also covers a fault that has the same code."""
    faults = {fault.value: verdict.remedy for fault, verdict in FAULTS.items()}
    return (faults | REFUSALS | CONDITIONS | ENDINGS).get(code, "")


def _classes(kind: type[WharfError]) -> Iterator[type[WharfError]]:
    """The class and its subclasses, without those whose code each error brings along."""
    if kind not in (FailedJobError, UnmetConditionError):
        yield kind
        for each in kind.__subclasses__():
            yield from _classes(each)


def _status_of(kind: type[WharfError]) -> Status:
    return next(STATUSES[each] for each in kind.__mro__ if each in STATUSES)
