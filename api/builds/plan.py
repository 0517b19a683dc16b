"""Plan the steps of one build: pure, from its application and what is requested."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from api.applications.loading import ApplicationRegistries, LoadedApplication
from api.applications.repositories import destinations_of, name_image
from shared.errors import InvalidInputError
from shared.ids import make_id
from shared.jobs.accesses import registries_of
from shared.jobs.commands import (
    BaseRegistry,
    ImageBuild,
    ImageCopy,
    ImagePull,
    ImagePush,
    ImageScan,
)
from shared.jobs.permissions import require_allowed
from shared.jobs.sources import GitSource, UploadSource
from shared.models import Application, Registry
from shared.reference import Reference, parse_prefix, parse_reference, parse_registry
from shared.scans.policy import ScanPolicy
from shared.ssh.address import SshAddress, is_ssh

COMMIT_CHARACTERS = 12

BuildCommand = ImageBuild | ImagePull | ImagePush | ImageCopy | ImageScan


@dataclass(frozen=True)
class BuildRequest:
    """The request for one build; its options take precedence over the application's.

    ``upload`` is the context to build from, if there is one. The tag of a ready image is the tag to
    pull.
    """

    build_id: str
    server_id: str
    requested_by: str | None = None
    title: str = ""
    tag: str | None = None
    branch: str | None = None
    commit: str | None = None
    upload: UploadSource | None = None
    allow_missing: bool = False


@dataclass(frozen=True)
class Step:
    """A command of a build, and the id of the job that carries it out."""

    command: BuildCommand
    job_id: str = field(default_factory=make_id)


@dataclass(frozen=True)
class BuildPlan:
    """Everything that is stored for one build. ``reference`` is the name of the image.

    ``make``, ``push`` and ``retain`` are its steps; each one needs the step before it. The first
    job has the id of the build. The push of a ready image is a copy between registries. ``scan``
    needs the step that makes the digest known; it is a part of the build only if its policy is
    enforced, and then ``retain`` needs it.
    """

    request: BuildRequest
    application: Application
    version: int
    reference: Reference
    make: Step
    push: Step | None = None
    retain: Step | None = None
    scan: Step | None = None

    @property
    def steps(self) -> Sequence[Step]:
        """Return its steps, each after those that it needs."""
        steps = (self.make, self.push, self.scan, self.retain)
        return [step for step in steps if step is not None]

    @property
    def published(self) -> Step:
        """Return the step whose result has the digest."""
        return self.push or self.make

    @property
    def enforced_scan(self) -> Step | None:
        """Return the scan that decides whether the image is used; ``None`` if there is none."""
        scan = self.scan
        is_enforced = scan and isinstance(scan.command, ImageScan) and scan.command.is_enforced
        return scan if is_enforced else None

    @property
    def awaited(self) -> tuple[Step, Step | None]:
        """Return the steps that a deployment waits for: the published one, an enforced scan."""
        return self.published, self.enforced_scan

    @property
    def needs(self) -> Sequence[tuple[Step, Sequence[str]]]:
        """Return the steps, each with the ids of the jobs that it needs."""
        published, scan = self.published.job_id, self.enforced_scan
        accepted = scan.job_id if scan else published
        needed: tuple[tuple[Step | None, Sequence[str]], ...] = (
            (self.make, ()),
            (self.push, (self.make.job_id,)),
            (self.scan, (published,)),
            (self.retain, (accepted,)),
        )
        return [(step, needs) for step, needs in needed if step is not None]


def make_build_plan(loaded: LoadedApplication, request: BuildRequest) -> BuildPlan:
    """Plan the application's next build.

    The image is pushed to the build registry and copied from there to an active rollback registry;
    if there is only the latter, it is pushed there. A ready image is copied from its own registry
    unchanged: its digest, its platforms and its signatures stay. The tag is the caller's, or the
    commit's first characters, or ``v`` and the version; never ``latest`` by default. A ready image
    that is not pushed keeps the name by which it is pulled.

    Raises:
        InvalidInputError: there is no source, or both an upload and a git revision are given.
        InvalidReferenceError: a registry's prefix and the application's name are no reference.
        UnmetConditionError: ``registry_not_allowed``.
    """
    if request.upload and (request.branch or request.commit):
        raise InvalidInputError(
            "contextId cannot be combined with branch or commit",
            remedy="Give contextId, or branch and commit. A tag can be given with both.",
        )
    plan = _add_scan(_plan(loaded.row, loaded.registries, request), loaded.scan_policy)
    used = registries_of(step.command for step in plan.steps)
    registries = [each for each in loaded.registries if each.registry_id in used]
    require_allowed(registries, [request.server_id], loaded.row.application_id)
    return plan


def _plan(
    application: Application, registries: ApplicationRegistries, request: BuildRequest
) -> BuildPlan:
    version = application.last_version + 1
    commit = None if request.upload else _commit(application, request)
    tag = request.tag or (commit or "")[:COMMIT_CHARACTERS] or f"v{version}"
    first, second = destinations_of(application, registries)
    reference = name_image(application, first, tag)
    bases = _Bases(registries.pull, _other_bases(registries.pull, (first, second)))
    command = _make(application, bases, reference, request, commit)
    make = Step(command, request.build_id)
    if first is None:
        unpushed = replace(command.target, digest=None)
        return BuildPlan(request, application, version, unpushed, make)
    push = _push(command, reference, first)
    plan = BuildPlan(request, application, version, reference, make, Step(push))
    if second is None:
        return plan
    retain = ImageCopy(
        source=str(reference),
        reference=str(name_image(application, second, tag)),
        source_registry_id=first.registry_id,
        registry_id=second.registry_id,
    )
    return replace(plan, retain=Step(retain))


def _push(
    made: ImageBuild | ImagePull, reference: Reference, registry: Registry
) -> ImagePush | ImageCopy:
    if isinstance(made, ImageBuild):
        name = str(reference)
        return ImagePush(source=name, reference=name, registry_id=registry.registry_id)
    return ImageCopy(
        source=made.reference,
        reference=str(reference),
        source_registry_id=made.registry_id,
        registry_id=registry.registry_id,
    )


def _add_scan(plan: BuildPlan, policy: ScanPolicy) -> BuildPlan:
    """Return the plan with a scan of the image, if the policy asks for one and it gets a digest."""
    published = plan.published.command
    if not policy.is_active or isinstance(published, ImageBuild):
        return plan
    scan = ImageScan(
        reference=published.reference,
        registry_id=published.registry_id,
        made_by=plan.published.job_id,
        policy=policy,
        scan=policy.mode != "off",
        attach=plan.push is not None,
        platform=plan.application.platform,
    )
    return replace(plan, scan=Step(scan))


def _other_bases(
    named: Registry | None, destinations: Iterable[Registry | None]
) -> tuple[BaseRegistry, ...]:
    """Return the registries that the build is pushed to, for bases below their prefixes."""
    return tuple(
        BaseRegistry(
            registry_id=each.registry_id,
            host=each.host,
            prefix=parse_prefix(parse_registry(each.registry_url), each.image_prefix),
        )
        for each in destinations
        if each is not None and (named is None or each.registry_id != named.registry_id)
    )


def _commit(application: Application, request: BuildRequest) -> str | None:
    return request.commit or (None if request.branch else application.git_commit)


@dataclass(frozen=True)
class _Bases:
    """The registries of a build's bases: that of any, and those of images below a prefix."""

    named: Registry | None
    others: tuple[BaseRegistry, ...]


def _make(
    application: Application,
    bases: _Bases,
    reference: Reference,
    request: BuildRequest,
    commit: str | None,
) -> ImageBuild | ImagePull:
    if application.source_type == "docker" and request.upload is None:
        return _pull(application, bases.named, request.tag)
    return ImageBuild(
        application_id=application.application_id,
        reference=str(reference),
        source=request.upload or _git(application, request, commit),
        dockerfile=application.dockerfile,
        context_path=application.docker_context_path,
        stage=application.docker_build_stage,
        build_args=application.build_args,
        platform=application.platform,
        base_host=bases.named.host if bases.named else None,
        bases=bases.others,
        registry_id=bases.named.registry_id if bases.named else None,
        allow_missing=request.allow_missing,
    )


def _git(application: Application, request: BuildRequest, commit: str | None) -> GitSource:
    if application.source_type != "git":
        raise InvalidInputError(
            f"the application {application.name} has nothing to be built from",
            remedy="Use application.saveGitProvider or application.saveDockerProvider, or upload "
            "a context and give its contextId.",
        )
    url, username, host_keys = application.git_url or "", application.git_username or "", ""
    if is_ssh(url):
        _require_deploy_key(application)
        username, host_keys = SshAddress.parse(url).user, application.git_host_key or ""
    return GitSource(
        url=url,
        branch=request.branch or application.git_branch,
        commit=commit,
        path=application.git_build_path.strip("/"),
        username=username,
        host_keys=tuple(host_keys.split()),
    )


def _require_deploy_key(application: Application) -> None:
    if application.git_ssh_key is None:
        raise InvalidInputError(
            f"the application {application.name} has no deploy key for its repository",
            remedy="Make one with application.generateDeployKey, and add it to the repository.",
        )


def _pull(application: Application, registry: Registry | None, tag: str | None) -> ImagePull:
    image = parse_reference(application.docker_image or "")
    image = replace(image, tag=tag, digest=None) if tag else image
    is_theirs = registry is not None and registry.host == image.registry
    registry_id = registry.registry_id if registry and is_theirs else None
    named = image if image.tag or image.digest else parse_reference(f"{image}:latest")
    return ImagePull(reference=str(named), registry_id=registry_id, platform=application.platform)
