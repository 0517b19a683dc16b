"""Registries that refuse what a login asks for."""

from shared.faults import FaultCode as Code
from tests.faults.fault import Fault, Stage, everywhere, reading, writing
from tests.faults.responses import page, refuses

EXPIRED = "Your authorization token has expired. Reauthenticate and try again."
HARBOR_QUOTA = (
    "adding 5.0 MiB of storage resource, which when updated to current usage of 1.0 GiB will "
    "exceed the configured upper limit of 1.0 GiB."
)

ACCESS = (
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
        refuses(403, "DENIED", "requested access to the resource is denied"),
    ),
    Fault(
        "no right to pull: 401 (Quay)",
        reading(Code.PULL_DENIED),
        Stage.MANIFEST,
        refuses(401, "UNAUTHORIZED", "access to the requested resource is not authorized"),
    ),
    Fault(
        "no right to push: 403 DENIED",
        writing(Code.PUSH_DENIED, test=(Code.PUSH_DENIED,)),
        Stage.UPLOAD_START,
        refuses(403, "DENIED", "requested access to the resource is denied"),
    ),
    Fault(
        "no right to push: 401",
        writing(Code.PUSH_DENIED, test=(Code.PUSH_DENIED,)),
        Stage.UPLOAD_START,
        refuses(401, "UNAUTHORIZED", "authentication required"),
    ),
    Fault(
        "no right to write the tag",
        writing(Code.PUSH_DENIED),
        Stage.MANIFEST_PUT,
        refuses(403, "DENIED", "requested access to the resource is denied"),
    ),
    Fault(
        "the repository does not exist",
        writing(Code.REPO_MISSING, test=(Code.REPO_MISSING,)),
        Stage.UPLOAD_START,
        refuses(404, "NAME_UNKNOWN", "The repository does not exist in the registry"),
    ),
    Fault(
        "read-only",
        writing(Code.REGISTRY_READ_ONLY, test=(Code.REGISTRY_READ_ONLY,)),
        Stage.UPLOAD_START,
        refuses(405, "UNSUPPORTED", "The operation is unsupported."),
    ),
    Fault(
        "quota at the start of the upload",
        writing(Code.QUOTA_EXCEEDED, test=(Code.QUOTA_EXCEEDED,)),
        Stage.UPLOAD_START,
        refuses(403, "DENIED", HARBOR_QUOTA),
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
    ),
)
