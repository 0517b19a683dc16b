"""What a job of each kind is asked and answers: stored commands and results, without secrets.

Commands are JSON in snake_case and carry a version; results are JSON as the API shows it. A peer
ignores fields that it does not know.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from shared.reference import Reference, parse_reference


class Kind(StrEnum):
    """The kinds are also the names of the Celery tasks, so that Flower reads well."""

    REGISTRY_TEST = "registry.test"
    IMAGE_PULL = "image.pull"
    IMAGE_PUSH = "image.push"
    IMAGE_TAG = "image.tag"


class JobClass(StrEnum):
    """Slots are counted per class, so that a long transfer never keeps a test waiting."""

    QUICK = "quick"
    TRANSFER = "transfer"


class DedupeUntil(StrEnum):
    """How long who asks for the same again gets the same job.

    Until it has begun, where its work depends on the moment: what a tag means is looked up then.
    """

    BEGUN = "begun"
    ENDED = "ended"


class Command(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: ClassVar[Kind]


class RegistryTest(Command):
    """Test a login from a server; ``repository`` is the one whose rights are tried."""

    kind: ClassVar[Kind] = Kind.REGISTRY_TEST

    host: str
    username: str
    repository: str
    registry_id: str | None = None
    warnings: tuple[str, ...] = ()


class ImagePull(Command):
    kind: ClassVar[Kind] = Kind.IMAGE_PULL

    reference: str
    registry_id: str | None = None

    @property
    def target(self) -> Reference:
        return parse_reference(self.reference)


class ImagePush(Command):
    """Push what the Engine calls ``source`` as ``reference``; the two may be the same."""

    kind: ClassVar[Kind] = Kind.IMAGE_PUSH

    source: str
    reference: str
    registry_id: str | None = None

    @property
    def target(self) -> Reference:
        return parse_reference(self.reference)


class ImageTag(Command):
    kind: ClassVar[Kind] = Kind.IMAGE_TAG

    source: str
    reference: str

    @property
    def target(self) -> Reference:
        return parse_reference(self.reference)


class ImageResult(BaseModel):
    """Where the image is now; ``verified_by`` says who asked the registry for the digest."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore"
    )

    reference: str
    digest: str | None = None
    image_id: str | None = None
    size_bytes: int | None = Field(default=None, ge=0)
    verified_by: str | None = None


@dataclass(frozen=True)
class Rule:
    """How a kind is run: ``timeout`` bounds one attempt, ``max_failures`` all of them.

    Of one class, the higher ``priority`` goes first: tests before tags, pulls before pushes.
    """

    command: type[Command]
    version: int
    job_class: JobClass
    timeout: timedelta
    max_failures: int
    priority: int


# A caller waits 30 s for a quick job: 10 s until it begins, 18 s for its one attempt.
RULES: dict[Kind, Rule] = {
    Kind.REGISTRY_TEST: Rule(RegistryTest, 1, JobClass.QUICK, timedelta(seconds=18), 1, 1),
    Kind.IMAGE_TAG: Rule(ImageTag, 1, JobClass.QUICK, timedelta(seconds=18), 3, 0),
    Kind.IMAGE_PULL: Rule(ImagePull, 1, JobClass.TRANSFER, timedelta(hours=2), 3, 2),
    Kind.IMAGE_PUSH: Rule(ImagePush, 1, JobClass.TRANSFER, timedelta(hours=2), 3, 1),
}


def registry_host(command: Command) -> str:
    """The canonical host of the registry that a command is about."""
    match command:
        case RegistryTest(host=host):
            return host
        case ImagePull() | ImagePush() | ImageTag():
            return command.target.registry
        case _:
            raise ValueError(f"no registry in {command.kind}")


def parse_command(kind: str, document: object) -> Command:
    """The typed command of a stored row.

    Raises:
        ValueError: an unknown kind or a document of another shape.
    """
    return RULES[Kind(kind)].command.model_validate(document)
