"""Registries that refuse what a login asks for, or require one of a job that has none."""

from aiohttp import web

from shared.faults import FaultCode as Code
from tests.faults.fault import Expected, Fault, Stage, Token, everywhere, reading, writing
from tests.faults.responses import page, refuses
from tests.faults.server import Respond
from tests.faults.table.statuses import RETRIED_SECONDS
from tests.faults.verdicts import Operation

EXPIRED = "Your authorization token has expired. Reauthenticate and try again."
HARBOR_QUOTA = (
    "adding 5.0 MiB of storage resource, which when updated to current usage of 1.0 GiB will "
    "exceed the configured upper limit of 1.0 GiB."
)


async def _open_ping(request: web.Request) -> web.StreamResponse | None:
    if request.path == "/v2/" and "Authorization" not in request.headers:
        headers = {"Docker-Distribution-Api-Version": "registry/2.0"}
        return web.json_response({}, headers=headers)
    return None


def refuses_uploads(name: str, respond: Respond, *codes: Code) -> Fault:
    """Return a fault that a push meets before it sends anything, and a test likewise."""
    return Fault(name, writing(*codes, test=codes), Stage.UPLOAD_START, respond)


NO_RIGHT = refuses(403, "DENIED", "requested access to the resource is denied")
UNASKED = (Code.AUTH_NOT_CHECKED, Code.AUTH_MISSING)

ACCESS = (
    Fault(
        "a ping that asks for no login, so that Docker sends none",
        {
            Operation.TEST: (Code.AUTH_NOT_CHECKED,),
            Operation.PULL: (*UNASKED, Code.PULL_DENIED),
            Operation.DEPLOY: (*UNASKED, Code.PULL_DENIED),
            Operation.COMPOSE: (*UNASKED, Code.PULL_DENIED),
            Operation.BUILD: (*UNASKED, Code.PULL_DENIED),
            Operation.PUSH: (*UNASKED, Code.PUSH_DENIED),
        },
        respond=_open_ping,
        may_succeed=True,
    ),
    Fault(
        "a wrong password",
        everywhere(Code.AUTH_BAD_CREDENTIALS),
        password="wrong",
    ),
    Fault(
        "a token that has expired (ECR)",
        everywhere(Code.AUTH_EXPIRED),
        respond=refuses(403, "DENIED", EXPIRED),
    ),
    Fault(
        "no right to pull: 403 DENIED",
        reading(Code.PULL_DENIED),
        Stage.MANIFEST,
        NO_RIGHT,
    ),
    Fault(
        "no right to pull: 401 (Quay)",
        reading(Code.PULL_DENIED),
        Stage.MANIFEST,
        refuses(401, "UNAUTHORIZED", "access to the requested resource is not authorized"),
    ),
    refuses_uploads(
        "no right to push: 403 DENIED",
        NO_RIGHT,
        Code.PUSH_DENIED,
    ),
    refuses_uploads(
        "no right to push: 401",
        refuses(401, "UNAUTHORIZED", "authentication required"),
        Code.PUSH_DENIED,
    ),
    Fault(
        "no right to write the tag",
        writing(Code.PUSH_DENIED),
        Stage.MANIFEST_PUT,
        NO_RIGHT,
    ),
    refuses_uploads(
        "the repository does not exist",
        refuses(404, "NAME_UNKNOWN", "The repository does not exist in the registry"),
        Code.REPO_MISSING,
    ),
    refuses_uploads(
        "a page with 404 at the upload (Artifact Registry)",
        page(404, "Error 404 (Not Found)"),
        Code.REPO_MISSING,
    ),
    refuses_uploads(
        "no right to push: a permission of AWS is missing (ECR)",
        refuses(
            403,
            "DENIED",
            "User: arn:aws:iam::123456789012:user/ci is not authorized to perform: "
            "ecr:InitiateLayerUpload on resource: arn:aws:ecr:eu-central-1:123456789012:repository",
        ),
        Code.PUSH_DENIED,
    ),
    refuses_uploads(
        "no right to push: write_package (GitHub)",
        refuses(403, "DENIED", "permission_denied: write_package"),
        Code.PUSH_DENIED,
    ),
    refuses_uploads(
        "the repository of gcr.io is missing (Google)",
        refuses(
            403,
            "DENIED",
            "gcr.io repo does not exist. Creating on push requires the "
            "artifactregistry.repositories.createOnPush permission",
        ),
        Code.REPO_MISSING,
    ),
    Fault(
        "the client's address is not allowed (Azure)",
        everywhere(Code.BLOCKED_BY_PROXY),
        respond=refuses(
            403,
            "DENIED",
            "client with IP '203.0.113.7' is not allowed access. Refer https://aka.ms/acr/firewall "
            "to grant access.",
        ),
    ),
    Fault(
        "no right to pull: 404 for all that is private",
        reading(Code.IMAGE_NOT_FOUND, Code.REPO_MISSING),
        Stage.MANIFEST,
        refuses(404, "NOT_FOUND", "not found"),
    ),
    refuses_uploads(
        "the project does not exist: 401 with a right login (Harbor)",
        refuses(401, "UNAUTHORIZED", "project write not found"),
        Code.REPO_MISSING,
        Code.PUSH_DENIED,
    ),
    Fault(
        "429 with a date at the manifest",
        reading(Code.RATE_LIMITED),
        Stage.MANIFEST,
        refuses(
            429,
            "TOOMANYREQUESTS",
            "too many requests",
            {"Retry-After": "Wed, 30 Dec 2099 12:00:00 GMT"},
        ),
    ),
    Fault(
        "the storage is full: 507",
        writing(Code.QUOTA_EXCEEDED, Code.REGISTRY_ERROR),
        Stage.UPLOAD_END,
        refuses(507, "UNKNOWN", "insufficient storage"),
        within_seconds=120.0,
    ),
    refuses_uploads(
        "read-only",
        refuses(405, "UNSUPPORTED", "The operation is unsupported."),
        Code.REGISTRY_READ_ONLY,
    ),
    refuses_uploads(
        "quota at the start of the upload",
        refuses(403, "DENIED", HARBOR_QUOTA),
        Code.QUOTA_EXCEEDED,
    ),
    Fault(
        "quota at the manifest (Harbor)",
        writing(Code.QUOTA_EXCEEDED),
        Stage.MANIFEST_PUT,
        refuses(403, "DENIED", HARBOR_QUOTA),
    ),
    Fault(
        "the tag is immutable: 409",
        writing(Code.TAG_IMMUTABLE),
        Stage.MANIFEST_PUT,
        refuses(409, "DENIED", "the tag is immutable"),
    ),
    Fault(
        "the tag is immutable (ECR)",
        writing(Code.TAG_IMMUTABLE),
        Stage.MANIFEST_PUT,
        refuses(400, "TAG_INVALID", "cannot be overwritten because the repository is immutable."),
    ),
    Fault(
        "413 page at the layer",
        writing(Code.LAYER_TOO_LARGE),
        Stage.UPLOAD_SEND,
        page(413, "Request Entity Too Large"),
    ),
    Fault(
        "the layer did not arrive whole",
        writing(Code.UPLOAD_CORRUPT),
        Stage.UPLOAD_END,
        refuses(400, "DIGEST_INVALID", "provided digest did not match uploaded content"),
        within_seconds=RETRIED_SECONDS,
    ),
)

REQUIRED = everywhere(Code.AUTH_MISSING)


def _without_login(name: str, expected: Expected = REQUIRED, token: Token | None = None) -> Fault:
    return Fault(f"no login: {name}", expected, token=token, is_anonymous=True, retryable=False)


ANONYMOUS = (
    _without_login("the registry requires one"),
    _without_login("a token without rights", token=Token(rights=())),
    _without_login(
        "the token server answers 401",
        token=Token(refuses(401, "UNAUTHORIZED", "authentication required")),
    ),
    _without_login(
        "the token server answers 403 (GHCR)",
        token=Token(refuses(403, "DENIED", "requested access to the resource is denied")),
    ),
    _without_login(
        "a public image, which nobody else may push to",
        writing(Code.AUTH_MISSING, test=(Code.AUTH_MISSING,)),
        Token(rights=("pull",)),
    ),
)
