"""Plan the steps for one image of an application: pure, from its row and its registries."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from shared.errors import InvalidInputError
from shared.jobs.accesses import accesses
from shared.jobs.commands import (
    GitSource,
    ImageBuild,
    ImageCopy,
    ImagePull,
    ImagePush,
    UploadSource,
)
from shared.jobs.permissions import require_allowed
from shared.models import Application, Registry
from shared.reference import Reference, make_reference, parse_reference

COMMIT_CHARACTERS = 12


@dataclass(frozen=True)
class BuildOptions:
    """The caller's options for one build; they take precedence over the application's.

    ``upload`` is the context that it is built from, if it is from one. The tag of a ready image is
    the one that is pulled.
    """

    tag: str | None = None
    branch: str | None = None
    commit: str | None = None
    upload: UploadSource | None = None
    allow_missing: bool = False


@dataclass(frozen=True)
class BuildRegistries:
    """The registries of an application: its images are pulled from, pushed to and retained in."""

    pull: Registry | None = None
    build: Registry | None = None
    rollback: Registry | None = None

    def __iter__(self) -> Iterator[Registry | None]:
        return iter((self.pull, self.build, self.rollback))


@dataclass(frozen=True)
class Plan:
    """The commands of one build, in their order. ``reference`` is what the image is called."""

    reference: Reference
    make: ImageBuild | ImagePull
    push: ImagePush | None = None
    retain: ImageCopy | None = None

    @property
    def retained(self) -> str | None:
        return self.retain.reference if self.retain else None


def make_plan(
    application: Application, registries: BuildRegistries, options: BuildOptions, version: int
) -> Plan:
    """The plan of the build with this number.

    Pushed to the build registry, and copied from there to the rollback registry where that is
    active; where there is only the latter, it is pushed there. Never as ``latest`` alone: the tag
    is the caller's, else the commit's first characters, else ``v`` and the version. A ready image
    that is pushed nowhere is called what it is pulled by.

    Raises:
        InvalidInputError: there is nothing to build from.
        InvalidReferenceError: the application's name and a registry's prefix make no reference.
    """
    commit = None if options.upload else _commit(application, options)
    tag = options.tag or (commit or "")[:COMMIT_CHARACTERS] or f"v{version}"
    first, second = _destinations(application, registries)
    reference = _name(application, first, tag)
    make = _make(application, registries.pull, reference, options, commit)
    if first is None:
        return Plan(replace(make.target, digest=None), make)
    source = make.reference if isinstance(make, ImagePull) else str(reference)
    push = ImagePush(source=source, reference=str(reference), registry_id=first.registry_id)
    if second is None:
        return Plan(reference, make, push)
    retain = ImageCopy(
        source=str(reference),
        reference=str(_name(application, second, tag)),
        source_registry_id=first.registry_id,
        registry_id=second.registry_id,
    )
    return Plan(reference, make, push, retain)


def require_plan_allowed(
    application: Application, registries: BuildRegistries, plan: Plan, server_id: str
) -> None:
    """Raises `UnmetConditionError` (``registry_not_allowed``) for the logins of a build."""
    known = {one.registry_id: one for one in registries if one is not None}
    for command in (plan.make, plan.push, plan.retain):
        for access in accesses(command) if command else ():
            if registry := known.get(access.registry_id or ""):
                require_allowed(registry, server_id, application.application_id)


def _commit(application: Application, options: BuildOptions) -> str | None:
    return options.commit or (None if options.branch else application.git_commit)


def _destinations(
    application: Application, registries: BuildRegistries
) -> tuple[Registry | None, Registry | None]:
    """Where it is pushed, and where it is copied to from there."""
    rollback = registries.rollback if application.rollback_active else None
    if registries.build is None:
        return rollback, None
    is_same = rollback is not None and rollback.registry_id == registries.build.registry_id
    return registries.build, None if is_same else rollback


def _name(application: Application, registry: Registry | None, tag: str) -> Reference:
    name = application.app_name.lower()
    if registry is None:
        return parse_reference(f"{name}:{tag}")
    return make_reference(
        registry.registry_url,
        registry.image_prefix,
        name,
        username=registry.username,
        tag=tag,
    )


def _make(
    application: Application,
    bases: Registry | None,
    reference: Reference,
    options: BuildOptions,
    commit: str | None,
) -> ImageBuild | ImagePull:
    if application.source_type == "docker" and options.upload is None:
        return _pull(application, bases, options.tag)
    return ImageBuild(
        application_id=application.application_id,
        reference=str(reference),
        source=options.upload or _git(application, options, commit),
        dockerfile=application.dockerfile,
        context_path=application.docker_context_path,
        stage=application.docker_build_stage,
        build_args=application.build_args,
        platform=application.platform,
        base_host=bases.host if bases else None,
        registry_id=bases.registry_id if bases else None,
        allow_missing=options.allow_missing,
    )


def _git(application: Application, options: BuildOptions, commit: str | None) -> GitSource:
    if application.source_type != "git":
        raise InvalidInputError(
            f"the application {application.name} has nothing to be built from",
            remedy="Use application.saveGitProvider or application.saveDockerProvider, or upload "
            "a context and give its contextId.",
        )
    return GitSource(
        url=application.git_url or "",
        branch=options.branch or application.git_branch,
        commit=commit,
        path=application.git_build_path.strip("/"),
        username=application.git_username or "",
    )


def _pull(application: Application, registry: Registry | None, tag: str | None) -> ImagePull:
    image = parse_reference(application.docker_image or "")
    image = replace(image, tag=tag, digest=None) if tag else image
    is_theirs = registry is not None and registry.host == image.registry
    registry_id = registry.registry_id if registry and is_theirs else None
    named = image if image.tag or image.digest else parse_reference(f"{image}:latest")
    return ImagePull(reference=str(named), registry_id=registry_id, platform=application.platform)
