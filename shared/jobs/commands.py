"""Commands of jobs, by kind: stored, without secrets.

A command is JSON in snake_case. Older workers ignore unknown fields, so a job states the version of
a worker that ignores none of its fields; no other one gets it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.jobs.containers import HealthProbe, Mounted, PublishedPort
from shared.jobs.deletion import Known
from shared.jobs.sources import GitSource, Source
from shared.reference import Reference, parse_reference
from shared.scans.policy import ScanPolicy
from shared.signatures.policy import BasePolicy, SignatureForm, SignaturePolicy
from shared.ssh.address import is_ssh

ANY_REPOSITORY = "*"
"""The repository of a build's login: its base images are known only with its sources."""


class Kind(StrEnum):
    """The kinds of jobs, which are also the names of the Celery tasks."""

    SERVER_CHECK = "server.check"
    REGISTRY_TEST = "registry.test"
    IMAGE_PULL = "image.pull"
    IMAGE_PUSH = "image.push"
    IMAGE_TAG = "image.tag"
    IMAGE_BUILD = "image.build"
    IMAGE_COPY = "image.copy"
    IMAGE_VERIFY = "image.verify"
    IMAGE_DELETE = "image.delete"
    IMAGE_INSPECT = "image.inspect"
    IMAGE_TAGS = "image.tags"
    IMAGE_REPOSITORIES = "image.repositories"
    IMAGE_SCAN = "image.scan"
    SIGNATURE_SIGN = "signature.sign"
    SIGNATURE_VERIFY = "signature.verify"
    COMPOSE_PULL = "compose.pull"
    CONTAINER_REPLACE = "container.replace"
    SERVICE_REPLACE = "service.replace"
    SERVICE_LOGIN = "service.login"
    APPLICATION_CONTROL = "application.control"
    APPLICATION_LOGS = "application.logs"


class JobClass(StrEnum):
    """Slots are counted for each class, so that a long transfer never delays a test."""

    QUICK = "quick"
    TRANSFER = "transfer"
    BUILD = "build"


class DedupeUntil(StrEnum):
    """The time for which a repeated request gets the same job.

    ``BEGUN`` is for work whose result depends on its start, for example a pull by tag.
    """

    BEGUN = "begun"
    ENDED = "ended"


class Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    kind: ClassVar[Kind]

    @property
    def version(self) -> int:
        """Return the oldest version of a worker that ignores no part of the command."""
        return 1


class ImageCommand(Command):
    """A command for the image ``reference``, or one that makes it."""

    reference: str

    @property
    def target(self) -> Reference:
        return parse_reference(self.reference)


class ServerCheck(Command):
    """Read the version of the server's Engine, to test the path to it and back."""

    kind: ClassVar[Kind] = Kind.SERVER_CHECK


class RegistryTest(Command):
    """Test a login from a server; ``repository`` is the one whose permissions are tested.

    ``credential`` is the kind of the source that was given in place of a password. It is cleared
    when control has got the login from the provider; until then the job waits. Certificates in
    PEM and the permission for plain HTTP are those of a registry that is not stored.
    With ``rotation_id`` the login is the new one of the registry, which this rotation stages.
    """

    kind: ClassVar[Kind] = Kind.REGISTRY_TEST

    host: str
    username: str
    repository: str
    registry_id: str | None = None
    credential: str | None = None
    rotation_id: str | None = None
    warnings: tuple[str, ...] = ()
    ca_certificate: str = ""
    client_certificate: str = ""
    plain_http: bool = False


class ImagePull(ImageCommand):
    """Pull an image: of an index the one for ``platform``, by default the server's.

    ``preflight``: check first that the pull can succeed, and that the image is missing. ``made_by``
    is the job whose result holds the image's digest; the release of this job puts the digest into
    ``reference`` and clears ``made_by``. ``policy`` is checked before anything is pulled: by
    control, then by the server. Until ``control_check`` is no longer ``due`` the job waits;
    ``not_reached``: control could not ask the registry.
    """

    kind: ClassVar[Kind] = Kind.IMAGE_PULL

    registry_id: str | None = None
    made_by: str | None = None
    preflight: bool = False
    platform: str | None = None
    policy: SignaturePolicy | None = None
    control_check: Literal["due", "done", "not_reached"] | None = None

    @property
    def version(self) -> int:
        return 1 if self.policy is None else 2  # an older worker checks no signature


class ImagePush(ImageCommand):
    """Push the Engine's image ``source`` as ``reference``; both may be the same."""

    kind: ClassVar[Kind] = Kind.IMAGE_PUSH

    source: str
    registry_id: str | None = None


class ImageTag(ImageCommand):
    kind: ClassVar[Kind] = Kind.IMAGE_TAG

    source: str


class BaseRegistry(BaseModel):
    """A registry whose login may be used for base images below its prefix."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    registry_id: str
    host: str
    prefix: str = ""


class ImageBuild(ImageCommand):
    """Build an application's image from its sources, tagged as ``reference``.

    ``base_host`` is the registry (``registry_id``) whose login is for private base images;
    ``bases`` are others of the application, each for its own. An older worker ignores their
    prefixes.
    ``dockerfile`` and ``context_path`` are relative to the root of the sources.
    ``allow_missing``: build without submodules and LFS files that cannot be fetched.
    ``base_policy`` says from where bases may be, and who has to have signed them.
    """

    kind: ClassVar[Kind] = Kind.IMAGE_BUILD

    application_id: str
    source: Source
    dockerfile: str = "Dockerfile"
    context_path: str = "."
    stage: str | None = None
    build_args: dict[str, str] = {}
    platform: str | None = None
    base_host: str | None = None
    bases: tuple[BaseRegistry, ...] = ()
    registry_id: str | None = None
    allow_missing: bool = False
    base_policy: BasePolicy | None = None

    @property
    def version(self) -> int:
        if self.base_policy is not None:
            return 3  # an older worker builds on any base
        return 2 if isinstance(self.source, GitSource) and is_ssh(self.source.url) else 1


class ImageCopy(ImageCommand):
    """Copy an image from registry to registry unchanged, with all its platforms."""

    kind: ClassVar[Kind] = Kind.IMAGE_COPY

    source: str
    source_registry_id: str | None = None
    registry_id: str | None = None

    @property
    def origin(self) -> Reference:
        return parse_reference(self.source)


class ImageVerify(ImageCommand):
    """Verify that an image is complete at its registry; ``reference`` has a digest."""

    kind: ClassVar[Kind] = Kind.IMAGE_VERIFY

    registry_id: str | None = None


class ImageDelete(ImageCommand):
    """Delete an image from its registry if nothing else needs it: ``reference`` has a digest.

    ``known`` is the database's knowledge when the job is released.
    """

    kind: ClassVar[Kind] = Kind.IMAGE_DELETE

    registry_id: str
    known: Known = Known()

    @property
    def version(self) -> int:
        return 2  # before, images were deleted that others need


class ImageInspect(ImageCommand):
    """Describe an image at its registry: digest, platforms, sizes, signatures; change nothing."""

    kind: ClassVar[Kind] = Kind.IMAGE_INSPECT

    registry_id: str | None = None


class ImageTags(Command):
    """List at most ``limit`` tags of a repository, from where the cursor ``after`` ended."""

    kind: ClassVar[Kind] = Kind.IMAGE_TAGS

    host: str
    repository: str
    registry_id: str
    limit: int
    after: str = ""


class ImageRepositories(Command):
    """List at most ``limit`` repositories at ``prefix`` or below, from where ``after`` ended."""

    kind: ClassVar[Kind] = Kind.IMAGE_REPOSITORIES

    host: str
    prefix: str
    registry_id: str
    limit: int
    after: str = ""


class ImageScan(ImageCommand):
    """Make an SBOM of an image, and scan it for vulnerabilities, as ``policy`` says.

    ``reference`` has a digest once the job is released (see `ImagePull`). An image that the server
    lacks is pulled. ``attach``: store the SBOM beside the image, which takes the right to push.
    ``scan``: also without a policy, if the server has a scanner.
    """

    kind: ClassVar[Kind] = Kind.IMAGE_SCAN

    registry_id: str | None = None
    made_by: str | None = None
    policy: ScanPolicy
    scan: bool = True
    attach: bool = False
    platform: str | None = None

    @property
    def is_enforced(self) -> bool:
        """Return whether the job fails if the policy is violated."""
        return self.policy.mode == "enforce"


class SignatureSign(ImageCommand):
    """Store a signature beside the image, whose reference has its digest.

    Control makes the signature with the key ``signing_key_id``; the server stores it, in each of
    ``forms``.
    """

    kind: ClassVar[Kind] = Kind.SIGNATURE_SIGN

    registry_id: str
    signing_key_id: str
    fingerprint: str
    forms: tuple[SignatureForm, ...]


class SignatureVerify(ImageCommand):
    """Compare the signatures beside an image with a policy; change nothing."""

    kind: ClassVar[Kind] = Kind.SIGNATURE_VERIFY

    registry_id: str | None = None
    policy: SignaturePolicy


class ComposeImage(BaseModel):
    """An image of a compose file, and the services that run it.

    ``only_if_missing``: an image that the server has is not pulled. ``can_be_built``: it may be
    missing at its registry.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    services: tuple[str, ...]
    reference: str
    registry_id: str | None = None
    only_if_missing: bool = False
    can_be_built: bool = False

    @property
    def target(self) -> Reference:
        return parse_reference(self.reference)


class ComposePull(Command):
    """Pull the images of a compose file and pin them; ``compose`` is its text.

    ``variables`` are those that its images use, ``profiles`` the active ones.
    """

    kind: ClassVar[Kind] = Kind.COMPOSE_PULL

    compose: str
    images: tuple[ComposeImage, ...]
    variables: Mapping[str, str] = Field(default_factory=dict)
    profiles: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        return 2 if self.variables or self.profiles else 1


class Replace(ImageCommand):
    """Run an image in place of the application's previous one, if it becomes healthy.

    ``reference`` has a digest once the job is released (see `ImagePull`).
    The environment is sent sealed. It stops by ``stop_signal``, by default its image's.
    """

    application_id: str
    deployment_id: str
    name: str
    platform: str | None = None
    health_check: HealthProbe | None = None
    ports: tuple[PublishedPort, ...] = ()
    mounts: tuple[Mounted, ...] = ()
    stop_signal: str | None = None
    stop_grace_seconds: int | None = None
    made_by: str | None = None

    @property
    def version(self) -> int:
        # An older worker stops by the image's signal, and within Docker's ten seconds.
        is_usual = self.stop_signal is None and self.stop_grace_seconds in (None, 10)
        return 1 if is_usual else 2


class ContainerReplace(Replace):
    """Run it as one container of the server, which has already pulled the image."""

    kind: ClassVar[Kind] = Kind.CONTAINER_REPLACE


class ServiceReplace(Replace):
    """Run it as a Swarm service with ``replicas``.

    The Swarm's nodes pull the image, with the login of ``registry_id``.
    """

    kind: ClassVar[Kind] = Kind.SERVICE_REPLACE

    registry_id: str | None = None
    replicas: int = 1


class ServiceLogin(ImageCommand):
    """Give an application's Swarm service the new login of ``registry_id`` for its image."""

    kind: ClassVar[Kind] = Kind.SERVICE_LOGIN

    application_id: str
    registry_id: str


class ApplicationControl(Command):
    """Stop, start or reload what runs of an application on the server; ``name`` is for messages.

    A service whose number of replicas is not known starts with ``replicas``.
    """

    kind: ClassVar[Kind] = Kind.APPLICATION_CONTROL

    application_id: str
    name: str
    action: Literal["stop", "start", "reload"]
    replicas: int = 1


class ApplicationLogs(Command):
    """Read the newest ``tail`` lines that what runs of an application wrote on the server.

    Without ``since_seconds`` of any age; with ``search`` those of them that contain it.
    """

    kind: ClassVar[Kind] = Kind.APPLICATION_LOGS

    application_id: str
    name: str
    tail: int
    since_seconds: int | None = None
    search: str = ""


@dataclass(frozen=True)
class Rule:
    """The limits of a kind: ``timeout`` bounds one attempt, ``max_failures`` all of them.

    ``version`` is the newest version of its command, and that of this program's workers.
    In one class, a higher ``priority`` goes first: tests before tags, pulls before pushes, and
    copies last, because no deployment waits for them.
    """

    command: type[Command]
    version: int
    job_class: JobClass
    timeout: timedelta
    max_failures: int
    priority: int


# A replacement is retried until an updated Engine is available again, because it may have to
# restore the previous container.
# A caller waits 30 s for a quick job: 10 s until it begins, 18 s for its one attempt. A program may
# have an hour to stop, so a caller gets the answer of ``application.control`` before its end.
RULES: dict[Kind, Rule] = {
    Kind.SERVER_CHECK: Rule(ServerCheck, 1, JobClass.QUICK, timedelta(seconds=18), 1, 1),
    Kind.REGISTRY_TEST: Rule(RegistryTest, 1, JobClass.QUICK, timedelta(seconds=18), 1, 1),
    Kind.IMAGE_TAG: Rule(ImageTag, 1, JobClass.QUICK, timedelta(seconds=18), 3, 0),
    Kind.IMAGE_PULL: Rule(ImagePull, 2, JobClass.TRANSFER, timedelta(hours=2), 3, 2),
    Kind.COMPOSE_PULL: Rule(ComposePull, 2, JobClass.TRANSFER, timedelta(hours=2), 3, 2),
    Kind.IMAGE_PUSH: Rule(ImagePush, 1, JobClass.TRANSFER, timedelta(hours=2), 3, 1),
    Kind.IMAGE_COPY: Rule(ImageCopy, 1, JobClass.TRANSFER, timedelta(hours=2), 3, 0),
    Kind.IMAGE_VERIFY: Rule(ImageVerify, 1, JobClass.QUICK, timedelta(seconds=18), 2, 0),
    Kind.IMAGE_DELETE: Rule(ImageDelete, 2, JobClass.TRANSFER, timedelta(minutes=5), 5, 0),
    Kind.IMAGE_INSPECT: Rule(ImageInspect, 1, JobClass.QUICK, timedelta(seconds=18), 1, 1),
    Kind.IMAGE_TAGS: Rule(ImageTags, 1, JobClass.QUICK, timedelta(seconds=18), 1, 1),
    Kind.IMAGE_REPOSITORIES: Rule(
        ImageRepositories, 1, JobClass.QUICK, timedelta(seconds=18), 1, 1
    ),
    Kind.IMAGE_SCAN: Rule(ImageScan, 1, JobClass.TRANSFER, timedelta(hours=1), 2, 0),
    Kind.SIGNATURE_SIGN: Rule(SignatureSign, 1, JobClass.TRANSFER, timedelta(minutes=5), 3, 0),
    Kind.SIGNATURE_VERIFY: Rule(SignatureVerify, 1, JobClass.QUICK, timedelta(seconds=18), 1, 1),
    Kind.SERVICE_REPLACE: Rule(ServiceReplace, 2, JobClass.TRANSFER, timedelta(minutes=90), 10, 2),
    Kind.CONTAINER_REPLACE: Rule(
        ContainerReplace, 2, JobClass.TRANSFER, timedelta(minutes=90), 10, 2
    ),
    Kind.SERVICE_LOGIN: Rule(ServiceLogin, 1, JobClass.QUICK, timedelta(seconds=18), 10, 0),
    Kind.APPLICATION_LOGS: Rule(ApplicationLogs, 1, JobClass.QUICK, timedelta(seconds=18), 1, 1),
    Kind.APPLICATION_CONTROL: Rule(
        ApplicationControl, 1, JobClass.QUICK, timedelta(minutes=75), 3, 1
    ),
    Kind.IMAGE_BUILD: Rule(ImageBuild, 3, JobClass.BUILD, timedelta(hours=2), 3, 0),
}


SUPPORTED = tuple(
    f"{kind}@{version}" for kind, rule in RULES.items() for version in range(1, rule.version + 1)
)
"""The kinds and versions of jobs that this program's workers can do."""


def parse_command(kind: str, document: object) -> Command:
    """Parse the command of a stored row.

    Raises:
        ValueError: an unknown kind or a document of another shape.
    """
    return RULES[Kind(kind)].command.model_validate(document)
