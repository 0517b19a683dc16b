"""One request to the console: its member, its form, and the procedures that it calls."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api.accounts.sessions import SignedIn
from api.console.rendering import render
from api.http.calls import Call, Failure, find_procedure
from api.http.perform import perform
from api.http.status import status_of
from api.procedure.auth import has_role
from api.procedure.context import Caller, Resources, Role
from api.procedure.procedure import Procedure
from api.procedure.versions import Noun, RowVersion, read_version
from shared.errors import InvalidInputError, WharfError

if TYPE_CHECKING:
    from api.accounts.oidc import Provider

ROOT = "/console"
NOTICE_COOKIE = "wharf_notice"
NOTICE_SECONDS = 60
MAX_NOTICE = 500
MAX_FIELDS = 5_000
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # A form that is sent without its origin could not be told from that of another site.
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}

Procedures = Mapping[str, Procedure[Any, Any]]
Handler = Callable[["Page"], Awaitable[Response]]


@dataclass(frozen=True)
class PageRoute:
    """An address below ``/console`` and its handler; a public one needs no session.

    The body of a POST is a form. With ``has_file`` it is a file, which the handler reads, and the
    token of the form is in a header. ``is_from_anywhere``: it is open to a member outside of the
    source networks.
    """

    path: str
    handler: Handler
    method: str = "GET"
    is_public: bool = False
    is_from_anywhere: bool = False
    has_file: bool = False


@dataclass(frozen=True)
class Visitor:
    """The member who signed in, and the token of the forms."""

    session: SignedIn
    csrf: str

    @property
    def caller(self) -> Caller:
        return self.session.caller


@dataclass(frozen=True)
class Page:
    """A request; ``form`` holds the fields of a POST, each with its last value.

    ``warnings`` are those of the procedures that were called.
    """

    request: Request
    resources: Resources
    procedures: Procedures
    visitor: Visitor | None = None
    provider: "Provider | None" = None
    form: Mapping[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def caller(self) -> Caller:
        assert self.visitor is not None, "a public page has no caller"  # noqa: S101
        return self.visitor.caller

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def is_fragment(self) -> bool:
        """Return whether a script loads a region of the page anew."""
        return "hx-request" in self.request.headers

    def param(self, name: str) -> str:
        """Return a part of the path."""
        return str(self.request.path_params[name])

    async def call(self, name: str, /, **fields: Any) -> Any:
        """Call a procedure as the member; its answer as JSON. Fields are in camelCase.

        Raises:
            WharfError: as the API answers it; so is a lack of rights.
        """
        return await self._perform(name, fields)

    async def read_version(self, noun: Noun, object_id: str) -> RowVersion:
        """Return the version of a row, which is to be read after that and compared."""
        async with self.resources.sessions.begin() as session:
            return await read_version(session, noun, object_id)

    async def call_if_unchanged(self, version: RowVersion, name: str, /, **fields: Any) -> Any:
        """Call a procedure that changes a row, if the row still has this version.

        Raises:
            ChangedMeanwhileError: it has another one.
            WharfError: as `call`.
        """
        return await self._perform(name, fields, expected=version)

    async def start(self, name: str, /, **fields: Any) -> Any:
        """Call a procedure without waiting for its jobs, as with ``Prefer: respond-async``.

        Raises:
            WharfError: as the API answers it; so is a lack of rights.
        """
        return await self._perform(name, fields, respond_async=True)

    async def _perform(
        self,
        name: str,
        fields: Mapping[str, Any],
        *,
        respond_async: bool = False,
        expected: RowVersion | None = None,
    ) -> Any:
        procedure = find_procedure(self.procedures, name)
        call = Call(name, procedure, lambda: fields, respond_async=respond_async, expected=expected)
        [answer] = await perform(self.resources, self.request, [call], self.caller)
        if isinstance(answer, Failure):
            raise answer.error
        self.warnings.extend(each.message for each in answer.warnings)
        return json.loads(answer.shown)

    def may(self, role: Role) -> bool:
        """Return whether the member has at least this role."""
        return has_role(self.caller, role)

    def render(
        self,
        template: str,
        *,
        status: int | None = None,
        error: WharfError | None = None,
        fault: WharfError | None = None,
        **values: Any,
    ) -> Response:
        """Render a page; ``error`` is shown above its content, ``fault`` where the template says.

        Without a ``status`` it is that of the error.
        """
        cause = error or fault
        shown_status = status or (status_of(cause).http if cause else 200)
        notice = unquote(self.request.cookies.get(NOTICE_COOKIE, ""))[:MAX_NOTICE]
        text = render(
            template,
            {
                "page": self,
                "path": self.request.url.path,
                "form": self.form,
                "visitor": self.visitor,
                "notice": notice,
                "error": error,
                "fault": fault,
                **values,
            },
        )
        response = Response(text, shown_status, media_type="text/html", headers=HEADERS)
        if notice:
            response.delete_cookie(NOTICE_COOKIE, path=ROOT)
        return response

    def redirect(self, path: str, notice: str = "") -> Response:
        """Send the browser to another page of the console, which shows the notice once."""
        response = RedirectResponse(path, 303, headers=HEADERS)
        if notice:
            response.set_cookie(
                NOTICE_COOKIE,
                quote(notice[:MAX_NOTICE]),
                max_age=NOTICE_SECONDS,
                path=ROOT,
                httponly=True,
                samesite="lax",
            )
        return response

    def with_warnings(self, text: str) -> str:
        """Return a notice with the warnings of the procedures that were called."""
        return " ".join([text, *(f"{each}." for each in dict.fromkeys(self.warnings))])

    def address(self, **changes: str | None) -> str:
        """Return the page's own address with other query parameters; ``None`` removes one."""
        merged = {**self.query, **changes}
        query = urlencode({name: value for name, value in merged.items() if value})
        return f"{self.request.url.path}?{query}" if query else self.request.url.path


def read_form(body: bytes) -> dict[str, str]:
    """Parse ``application/x-www-form-urlencoded``; of a repeated field the last value counts.

    Raises:
        InvalidInputError: it has a NUL character or too many fields.
    """
    try:
        fields = parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise InvalidInputError("the form has too many fields") from None
    if any("\0" in text for field in fields for text in field):
        raise InvalidInputError("the form has a NUL character, which no text may have")
    return dict(fields)
