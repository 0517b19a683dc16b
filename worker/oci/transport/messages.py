"""Classify a registry's own words where its status and codes do not tell the cause.

Registries use ``DENIED`` and ``UNAUTHORIZED`` for expired tokens, quotas, address lists and missing
projects alike. Each rule has a recorded message as its example. The words themselves are never
shown: they may contain anything.
"""

import re
from dataclasses import dataclass

from yarl import URL

from shared.faults import FaultCode

MAX_READ_CHARACTERS = 8192
PROTOCOL_WORDS = frozenset(
    {"v2", "blobs", "manifests", "uploads", "tags", "list", "token", "repository", "auth"}
)


@dataclass(frozen=True)
class MessageRule:
    """A pattern of a registry's words, the code that it decides on, and an example."""

    pattern: str
    code: FaultCode
    example: str


MESSAGE_RULES = (
    MessageRule(
        r"No required SSL certificate was sent|The SSL certificate error",
        FaultCode.TLS_CLIENT_CERT,
        "<title>400 No required SSL certificate was sent</title>",  # nginx
    ),
    MessageRule(
        r"(?:authorization|security|access|authentication)[ _]token\b[^.]{0,60}\bexpired"
        r"|ExpiredToken|token (?:has|is) expired|expired token|credentials? (?:has|have) expired",
        FaultCode.AUTH_EXPIRED,
        "Your authorization token has expired. Reauthenticate and try again.",  # ECR
    ),
    MessageRule(
        r"client with IP\b[^.]{0,60}\.?.{0,60}\bis not allowed access|aka\.ms/acr/firewall"
        r"|\bIP (?:address )?\S{0,60} ?is not (?:allowed|authorized|whitelisted)"
        r"|not in (?:the )?(?:IP )?allow ?list|network policy",
        FaultCode.BLOCKED_BY_PROXY,
        "client with IP '198.51.100.7' is not allowed access. Refer "
        "https://aka.ms/acr/firewall to grant access.",  # Azure
    ),
    MessageRule(
        r"read[- ]?only (?:mode|state)|\bis read[- ]?only\b|maintenance mode",
        FaultCode.REGISTRY_READ_ONLY,
        "The system is in read only mode. Any modification is prohibited.",  # Harbor
    ),
    MessageRule(
        r"\bquota\b|exceed(?:s|ed)? the configured upper limit"
        r"|storage (?:limit|space|capacity)[^.]{0,40}(?:exceed|reach|full|insufficient)"
        r"|(?:exceed|reach)\w*[^.]{0,40}storage (?:limit|space|capacity)"
        r"|insufficient storage|no space left on device|\"Err\":28\b|plan limit",
        FaultCode.QUOTA_EXCEEDED,
        "adding 24.0 MiB of storage resource, which when updated to current usage of 1.0 GiB will "
        "exceed the configured upper limit of 1.0 GiB.",  # Harbor
    ),
    MessageRule(
        r"\bproject\b[^.]{0,80}\bnot found|\bproject\b[^.]{0,80}\bdoes not exist",
        FaultCode.REPO_MISSING,
        "project library2 not found",  # Harbor
    ),
    MessageRule(
        r"\brepo does not exist|Creating on push requires",
        FaultCode.REPO_MISSING,
        "gcr.io repo does not exist. Creating on push requires the "
        "artifactregistry.repositories.createOnPush permission",  # Google
    ),
    MessageRule(
        r"account[^.]{0,60}\b(?:is|has been) (?:temporarily )?(?:locked|suspended|disabled)"
        r"|user[^.]{0,60}\b(?:is|has been) (?:locked|disabled|blocked)",
        FaultCode.AUTH_BAD_CREDENTIALS,
        "account is locked",
    ),
)


def classify(body: bytes, url: URL, *, is_page: bool) -> FaultCode | None:
    """Return the code that the words of a refusal decide on, if any.

    The names in the request are removed first: a repository called ``quota`` decides nothing.
    """
    text = _without_names(body[:MAX_READ_CHARACTERS].decode(errors="replace"), url)
    # Web servers have fixed titles for their own errors; any other page may be about anything.
    rules = MESSAGE_RULES[:1] if is_page else MESSAGE_RULES
    found = (rule.code for rule in rules if re.search(rule.pattern, text, re.IGNORECASE))
    return next(found, None)


def _without_names(text: str, url: URL) -> str:
    scopes = " ".join(url.query.getall("scope", ()))
    names = set(re.split(r"[/:, ]", f"{url.path} {scopes}")) - PROTOCOL_WORDS
    for name in sorted(names, key=len, reverse=True):
        if len(name) > 1:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "…", text)
    return text
