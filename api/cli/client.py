"""Call the API by the Python client: one procedure, its answer as JSON, errors as sentences."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from api.cli.output.text import write_note
from api.cli.procedure_kinds import QUERIES, SUBMITTING
from api.cli.settings import ClientSettings
from shared.errors import SetupError
from shared.tls import tls_context
from wharfinger.caller import Caller
from wharfinger.calls import Call
from wharfinger.connection import BlockingConnection
from wharfinger.content import open_content
from wharfinger.errors import ApiError
from wharfinger.groups import complete
from wharfinger.options import Options, choose_url
from wharfinger.retries import Retries

if TYPE_CHECKING:
    from wharfinger.following import Event

PATIENCE = timedelta(seconds=40)
"""Longer than the API's own wait for a job."""

AT_ONCE = Retries(attempts=3)
WAITING = Retries(attempts=20)
"""A command that follows work outlives a restart of the API: it asks again for some minutes."""


def call(
    settings: ClientSettings,
    procedure: str,
    body: Mapping[str, object] | None = None,
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    retries: Retries = AT_ONCE,
    patience: timedelta = PATIENCE,
) -> Any:
    """Call a procedure and return its answer as JSON; its warnings go to standard error.

    A procedure that submits work has an ``Idempotency-Key`` also if none is given.

    Raises:
        SetupError: the API does not answer, or it refused, with its message and remedy.
    """
    with _errors_as_sentences(), _open_caller(settings, retries, patience) as caller:
        request = Call[Any](
            procedure,
            Any,
            "GET" if procedure in QUERIES else "POST",
            dict(body or {}),
            takes_key=procedure in SUBMITTING,
            idempotency_key=key,
            headers=dict(headers or {}),
        )
        return complete(caller.perform(request))


def ask(settings: ClientSettings, procedure: str, body: Mapping[str, object] | None = None) -> Any:
    """Call a procedure while work is followed, see `WAITING`.

    Raises:
        SetupError: as `call`.
    """
    return call(settings, procedure, body, retries=WAITING)


def upload(
    settings: ClientSettings, procedure: str, body: Mapping[str, str], source: bytes | Path
) -> Any:
    """Send bytes, a file or a directory to a procedure and return its answer.

    Raises:
        SetupError: the file cannot be read, or as `call`.
    """
    try:
        with (
            _errors_as_sentences(),
            open_content(source) as content,
            _open_caller(settings, AT_ONCE, PATIENCE) as caller,
        ):
            request = Call[Any](procedure, Any, "POST", dict(body), content=content)
            return complete(caller.perform(request))
    except OSError as error:
        raise SetupError(f"{source!s} cannot be read: {error.strerror}") from None


def listen(
    settings: ClientSettings, job_id: str, on_chunk: Callable[[], None]
) -> Iterator["Event"]:
    """Yield the events of a job until it has ended; no event is lost or given twice.

    ``on_chunk`` is called for each part of the stream that arrives, every 15 seconds at least.

    Raises:
        SetupError: as `call`.
    """
    # Its models take a while to import.
    from wharfinger.following import follow_events  # noqa: PLC0415
    from wharfinger.groups import iterate  # noqa: PLC0415

    class Noticing(Caller):
        def listen(self, job_id: str, last: int | None, check: Any, *silent: Any) -> Any:
            def check_and_notice() -> None:
                check()
                on_chunk()

            return super().listen(job_id, last, check_and_notice, *silent)

    with _errors_as_sentences(), _open_caller(settings, WAITING, PATIENCE, Noticing) as caller:
        yield from iterate(follow_events(caller, job_id))


def base_url(settings: ClientSettings) -> str:
    """Return the API's URL without ``/api`` at its end, which `wharf up` prints.

    Raises:
        SetupError: it is no URL of HTTP.
    """
    with _errors_as_sentences():
        return choose_url(settings.url)


def headers_of(settings: ClientSettings) -> dict[str, str]:
    """Return the headers that each request needs.

    Raises:
        SetupError: there is no key.
    """
    if settings.api_key is None:
        raise SetupError("there is no API key", remedy="Set WHARF_API_KEY, or run wharf login.")
    return {"x-api-key": settings.api_key.get_secret_value()}


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    try:
        yield
    except ApiError as error:
        raise SetupError(error.sentence, remedy=error.remedy or "") from error


@contextmanager
def _open_caller(
    settings: ClientSettings,
    retries: Retries,
    patience: timedelta,
    kind: type[Caller] = Caller,
) -> Iterator[Caller]:
    url = base_url(settings)
    options = Options(read_timeout=patience, retries=retries, on_warning=_warn)
    with httpx2.Client(
        base_url=url,
        headers=headers_of(settings),
        timeout=httpx2.Timeout(patience.total_seconds(), connect=min(10, patience.total_seconds())),
        verify=tls_context(),
    ) as client:
        yield kind(BlockingConnection(client, time.sleep, time.monotonic), url, options)


def _warn(text: str) -> None:
    write_note(f"warning: {text}")
