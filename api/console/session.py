"""The cookie of a session, and the token by which a form shows that it is one of ours."""

import base64
import hashlib
import hmac
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from shared.errors import ForbiddenError

COOKIE = "wharf_session"
PATH = "/console"
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf"


def read_cookie(request: Request) -> str | None:
    return request.cookies.get(COOKIE)


def set_cookie(request: Request, response: Response, token: str) -> None:
    """Give the browser the token of its session; it is gone when the browser is closed."""
    response.set_cookie(
        COOKIE,
        token,
        path=PATH,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def clear_cookie(response: Response) -> None:
    response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="lax")


def csrf_token(token: str, organization_id: str) -> str:
    """Return the token for the forms of a session while it is in an organization."""
    digest = hmac.new(token.encode(), organization_id.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def require_same_origin(request: Request) -> None:
    """Raise `ForbiddenError` for a form that another site sent."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    is_ours = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not is_ours or site not in {"same-origin", "none"}:
        raise ForbiddenError(
            "this form was sent by another site", remedy="Open the console and send it there."
        )


def require_csrf(expected: str, given: str) -> None:
    """Raise `ForbiddenError` for a form without the token of the session and its organization."""
    if not hmac.compare_digest(expected.encode(), given.encode()):
        raise ForbiddenError(
            "this form belongs to another session or organization",
            remedy="Load the page again, and send it then.",
        )
