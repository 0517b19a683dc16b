"""Token servers that fail."""

from shared.faults import FaultCode as Code
from tests.faults.fault import Fault, Tls, Token, everywhere, split, writing
from tests.faults.responses import page, redirect, refuses, says
from tests.faults.verdicts import ENGINES

BUSY = {"Retry-After": "7"}
TOKEN_UNREACHABLE = everywhere(Code.AUTH_SERVER_UNREACHABLE)
TOKENS = (
    Fault("token: good", {}, token=Token()),
    Fault(
        "token: wrong password",
        everywhere(Code.AUTH_BAD_CREDENTIALS),
        token=Token(),
        password="wrong",
    ),
    Fault(
        "token: a CA in certs.d alone, where the containerd store does not look",
        dict.fromkeys(ENGINES, (Code.AUTH_SERVER_UNREACHABLE,)),
        token=Token(),
        tls=Tls.CA_IN_CERTS_D,
        may_succeed=True,
    ),
    Fault("token: nothing listens", TOKEN_UNREACHABLE, token=Token(is_listening=False)),
    Fault("token: 404 page", TOKEN_UNREACHABLE, token=Token(page(404, "Not Found"))),
    Fault("token: 404 text", TOKEN_UNREACHABLE, token=Token(says(404, "not found"))),
    Fault("token: 500", TOKEN_UNREACHABLE, token=Token(says(500, "oops"))),
    Fault("token: 502 page", TOKEN_UNREACHABLE, token=Token(page(502, "Bad Gateway"))),
    Fault("token: 503", TOKEN_UNREACHABLE, token=Token(says(503))),
    Fault("token: a page", TOKEN_UNREACHABLE, token=Token(page(200, "Sign in"))),
    Fault(
        "token: JSON without a token",
        TOKEN_UNREACHABLE,
        token=Token(says(200, '{"status": "ok"}', "application/json")),
    ),
    Fault(
        "token: 429",
        everywhere(Code.RATE_LIMITED),
        token=Token(refuses(429, "TOOMANYREQUESTS", "slow down", BUSY)),
    ),
    Fault(
        "token: the account is locked (423)",
        everywhere(Code.AUTH_BAD_CREDENTIALS),
        token=Token(says(423, "locked")),
    ),
    Fault(
        "token: 403 DENIED (GHCR)",
        split(Code.PULL_DENIED, Code.PUSH_DENIED, Code.PULL_DENIED),
        token=Token(refuses(403, "DENIED", "requested access to the resource is denied")),
    ),
    Fault(
        "token: a firewall's page",
        everywhere(Code.BLOCKED_BY_PROXY, Code.AUTH_SERVER_UNREACHABLE),
        token=Token(page(403, "Access blocked by policy")),
    ),
    Fault("token: 405 page", TOKEN_UNREACHABLE, token=Token(page(405, "Method Not Allowed"))),
    Fault(
        "token: a redirect to a login page",
        TOKEN_UNREACHABLE,
        token=Token(redirect("/login")),
    ),
    Fault(
        "token: pull only",
        writing(Code.PUSH_DENIED, test=(Code.PUSH_DENIED,)),
        token=Token(rights=("pull",)),
    ),
    Fault(
        "token: no rights",
        split(Code.PULL_DENIED, Code.PUSH_DENIED, Code.PULL_DENIED),
        token=Token(rights=()),
    ),
)
