"""Pull the images of a compose file one after the other, and return the file pinned."""

from dataclasses import dataclass, field, replace

from shared.compose.images import read_compose
from shared.errors import EngineError, RegistryError
from shared.jobs.commands import ComposeImage, ComposePull
from shared.jobs.results import ComposeResult, PinnedImage, SkippedService
from shared.reference import Reference
from worker.engine import images
from worker.engine.transfer import OnProgress
from worker.jobs import transfers
from worker.jobs.attempt import Attempt
from worker.jobs.logins import find_login
from worker.jobs.second_opinion import Transfer, find_engine_login
from worker.jobs.tools import Tools, progress_recorder
from worker.login import Grants
from worker.progress import LayerProgress, LayerState, TransferProgress


async def pull(
    command: ComposePull, grants: Grants, attempt: Attempt, tools: Tools
) -> ComposeResult:
    """Pull all images and return the file with their digests; one failure fails everything.

    An image that can be built is skipped if it cannot be pulled, as in ``docker compose pull``.

    Raises:
        EngineError, RegistryError: an image could not be pulled; the message names its services.
    """
    file = read_compose(command.compose, command.variables, command.profiles)
    lines = _ImageLines.of(command.images, progress_recorder(attempt))
    digests: dict[Reference, str] = {}
    skipped = [SkippedService(service=name, reason=reason) for name, reason in file.skipped]
    for image in command.images:
        try:
            digests[image.target] = await _pull(image, grants, tools, lines)
        except (EngineError, RegistryError) as error:
            if error.retryable or not image.can_be_built:
                raise
            reason = f"it has to be built: {error.message}"
            skipped += [SkippedService(service=name, reason=reason) for name in image.services]
    pinned = tuple(
        PinnedImage(
            service=image.service,
            reference=str(image.reference.with_digest(digests[image.reference])),
            digest=digests[image.reference],
        )
        for image in file.images
        if image.reference in digests
    )
    return ComposeResult(
        compose_file=file.pinned(digests),
        images=pinned,
        without_image=file.without_image,
        skipped=tuple(skipped),
        warnings=file.warnings,
    )


async def _pull(image: ComposeImage, grants: Grants, tools: Tools, lines: "_ImageLines") -> str:
    """Pull one image and return its digest."""
    name = lines.name_of(image)
    if image.only_if_missing and (digest := await _find(tools, image.target)):
        lines.end(name)
        return digest
    try:
        given = await find_login(grants, image.target, "pull", tools) if image.registry_id else None
        login = await find_engine_login(Transfer("pull", image.target, given), tools)
        pulled = await transfers.pull(
            tools,
            image.target,
            login,
            lambda progress: lines.set(progress.as_layer(name)),
        )
    except (EngineError, RegistryError) as error:
        error.registry_id = image.registry_id
        raise error.within(", ".join(image.services)) from error
    lines.end(name)
    return pulled.digest


async def _find(tools: Tools, target: Reference) -> str | None:
    """Return the digest by which the server has this image; ``None`` without a known one."""
    local = await images.find(tools.engine, str(target))
    digests = local.repo_digests if local else ()
    return next((one.digest for one in digests if one.name == target.name), None)


@dataclass
class _ImageLines:
    """The progress of all images: one transfer with a line per image, named by its first service.

    Lines per layer would be too many, and images share layers.
    """

    report: OnProgress
    lines: dict[str, LayerProgress] = field(default_factory=dict)

    @classmethod
    def of(cls, compose: tuple[ComposeImage, ...], report: OnProgress) -> "_ImageLines":
        names = [cls.name_of(image) for image in compose]
        return cls(report, {name: LayerProgress(name, LayerState.WAITING) for name in names})

    @staticmethod
    def name_of(image: ComposeImage) -> str:
        return image.services[0]

    def set(self, line: LayerProgress) -> None:
        self.lines[line.id] = line
        self.report(TransferProgress.of(self.lines.values()))

    def end(self, name: str) -> None:
        self.set(replace(self.lines[name], state=LayerState.DONE))
