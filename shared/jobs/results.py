"""Results of jobs, by kind, as the API shows them; without secrets."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from shared.jobs.deletion import Outcome
from shared.scans.report import Sbom, Vulnerabilities

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
ListedName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,255}$")]
"""A tag or a repository: a worker that reports other text is not believed."""

AttachmentKind = Literal["signature", "attestation", "sbom", "other"]


class _Result(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        defer_build=True,
    )


class ServerCheckResult(_Result):
    """The version of the server's Engine, and the time of its answer."""

    engine_version: str
    milliseconds: float = Field(ge=0)


class BaseImage(_Result):
    """A base image of a build; without ``image_id`` the builder pulled it by its name.

    ``digest`` is the one that it was pinned to; an image that no registry has may have none.
    """

    reference: str
    digest: str | None = None
    image_id: str | None = None


class ImageResult(_Result):
    """The image's reference and digest; ``verified_by`` names the process that verified the digest.

    ``revision`` is the commit from which it was built, ``bases`` are the images that it was built
    on. ``warnings`` name missing sources.
    """

    reference: str
    digest: str | None = None
    image_id: str | None = None
    size_bytes: int | None = Field(default=None, ge=0)
    verified_by: str | None = None
    revision: str | None = None
    bases: tuple[BaseImage, ...] = ()
    warnings: tuple[str, ...] = ()


class ContainerResult(_Result):
    """The running container; no published port answered for ``gap_seconds``."""

    reference: str
    digest: str
    image_id: str
    container_id: str
    gap_seconds: float = Field(ge=0)


class PinnedImage(_Result):
    """The pinned image of a service; ``reference`` includes the digest."""

    service: str
    reference: str
    digest: str


class SkippedService(_Result):
    """A service whose image was not pulled, and the reason."""

    service: str
    reason: str


class ComposeResult(_Result):
    """The pinned file; ``without_image`` lists the services that have no image.

    ``skipped`` services did not change either. ``warnings`` name files that were not read, and
    variables whose default was used.
    """

    compose_file: str
    images: tuple[PinnedImage, ...]
    without_image: tuple[str, ...]
    skipped: tuple[SkippedService, ...] = ()
    warnings: tuple[str, ...] = ()


class VerificationResult(_Result):
    """An image that is complete at its registry; ``size_bytes`` is the sum of its blobs."""

    reference: str
    digest: str
    blobs: int = Field(ge=0)
    size_bytes: int = Field(ge=0)


class PlatformImage(_Result):
    """The image of one platform: ``os/architecture[/variant]``; the size is that of its blobs."""

    platform: str
    digest: Digest
    size_bytes: int = Field(ge=0)


class Attachment(_Result):
    """A signature, an attestation or an SBOM of an image; ``tag`` is that of cosign, if it has one.

    ``artifact_type`` is empty if it says none.
    """

    kind: AttachmentKind
    digest: Digest
    tag: str | None = None
    artifact_type: str = ""


class InspectionResult(_Result):
    """An image at its registry; ``size_bytes`` is the sum of its blobs, each counted once.

    ``created_at`` and ``labels`` are those of one platform. ``artifact_type`` is set if it is not
    an image. ``warnings`` say what could not be read.
    """

    reference: str
    digest: Digest
    media_type: str
    artifact_type: str = ""
    size_bytes: int = Field(ge=0)
    created_at: datetime | None = None
    labels: dict[str, str] = {}
    platforms: tuple[PlatformImage, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    warnings: tuple[str, ...] = ()


class ListResult(_Result):
    """Names of tags or repositories, in the registry's order; ``next`` is empty at the end.

    ``invalid`` counts the names that were left out because they are none. ``refusal`` is why the
    registry does not list its repositories.
    """

    names: tuple[ListedName, ...]
    next: str = ""
    invalid: int = Field(default=0, ge=0)
    refusal: str = ""


class ScanResult(_Result):
    """What was found in an image: its SBOM, its vulnerabilities, or both.

    ``packages`` are ``name@version``, by type; the database moves them and the findings into tables
    of their own. ``violations`` are what the policy does not accept; ``warnings`` say what could
    not be done.
    """

    reference: str
    digest: str
    sbom: Sbom | None = None
    packages: dict[str, tuple[str, ...]] = {}
    vulnerabilities: Vulnerabilities | None = None
    violations: int = Field(default=0, ge=0)
    warnings: tuple[str, ...] = ()


class SignResult(_Result):
    """The stored signature of an image; ``attached`` are the digests of its manifests."""

    reference: str
    digest: str
    fingerprint: str
    attached: tuple[str, ...] = ()


class SignatureProof(_Result):
    """A document about the image that a key of the policy has signed."""

    predicate_type: str
    fingerprint: str
    form: str


class PolicyViolation(_Result):
    """A requirement of the policy that is not met."""

    code: str
    message: str


class SignatureResult(_Result):
    """What the documents beside an image prove; without ``violations`` the policy is satisfied.

    ``gaps`` say what could not be read.
    """

    reference: str
    digest: str
    proofs: tuple[SignatureProof, ...] = ()
    violations: tuple[PolicyViolation, ...] = ()
    gaps: tuple[str, ...] = ()


class DeleteResult(_Result):
    """The outcome of deleting an image that nothing needs.

    ``was_there``: it was deleted just now. ``tags`` were deleted alone; ``reasons`` are why its
    bytes stay. ``attached`` are the signatures, SBOMs and attestations that went with it.
    """

    reference: str
    digest: str
    was_there: bool
    outcome: Outcome
    tags: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    attached: tuple[str, ...] = ()


class ServiceResult(_Result):
    """The Swarm service that runs on all of its ``replicas``; ``service_id`` is the Engine's."""

    reference: str
    digest: str
    service_id: str
    replicas: int = Field(ge=0)
    gap_seconds: float = Field(ge=0)


class ServiceLoginResult(_Result):
    """The result: a service that runs another image by now does not get the new login."""

    changed: bool


class ControlResult(_Result):
    """The state of what runs of an application on the server, after it was stopped or started.

    ``changed`` is false if it was in this state already.
    """

    runtime: Literal["container", "service"]
    state: Literal["running", "stopped"]
    changed: bool


class LogsResult(_Result):
    """The newest lines of an application's output, each with its time, without its secrets.

    ``is_cut``: earlier lines were left out, because of their size.
    """

    lines: tuple[str, ...]
    is_cut: bool = False
