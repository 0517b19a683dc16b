"""The pages of the documentation and their order. Each is a Markdown file in this package."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

ROOT = "/docs"
HOME = "index"


@dataclass(frozen=True)
class Section:
    """A heading of the contents list; ``paths`` name Markdown files without ``.md``."""

    title: str
    paths: tuple[str, ...]


CONTENTS = (
    Section("Start", ("index", "quickstart", "concepts")),
    Section(
        "How to",
        (
            "how-to/console",
            "how-to/registries",
            "how-to/credential-life",
            "how-to/providers",
            "how-to/google",
            "how-to/azure",
            "how-to/self-hosted",
            "how-to/build",
            "how-to/deploy",
            "how-to/stop-and-start",
            "how-to/roll-back",
            "how-to/pipelines",
            "how-to/images",
            "how-to/sign-images",
            "how-to/scan-images",
            "how-to/compose-files",
            "how-to/webhooks",
            "how-to/deploy-hooks",
            "how-to/follow-jobs",
            "how-to/command-line",
            "how-to/docker-compose",
            "how-to/many-servers",
            "how-to/tls",
            "how-to/back-up-and-restore",
            "how-to/vault-key",
            "how-to/audit",
            "how-to/upgrade",
        ),
    ),
    Section(
        "Reference",
        (
            "reference/protocols",
            "reference/procedures",
            "reference/dokploy",
            "reference/codes",
            "reference/engines",
            "reference/messages",
            "reference/faults",
            "reference/settings",
            "reference/commands",
            "reference/metrics",
        ),
    ),
    Section("Operate", ("operations", "security", "limits", "performance")),
    Section(
        "Understand",
        (
            "architecture",
            "decisions/database-is-the-truth",
            "decisions/authorized-changes",
            "decisions/five-functions",
            "decisions/sealed-secrets",
            "decisions/verified-success",
            "decisions/requests-are-columns",
            "decisions/plans-are-made-once",
            "decisions/embedded-parts",
            "add-a-job-kind",
            "glossary",
            "changelog",
        ),
    ),
)


@dataclass(frozen=True)
class Page:
    """A page as it is written; ``path`` is its address below ``/docs`` and its file's name."""

    path: str
    title: str
    text: str

    @property
    def url(self) -> str:
        return url_of(self.path)


def url_of(path: str) -> str:
    """Return the address of a page: ``how-to/build`` is at ``/docs/how-to/build``."""
    return ROOT if path == HOME else f"{ROOT}/{path}"


@cache
def read_pages() -> dict[str, Page]:
    """Read all pages, by path, in the order of the contents list."""
    return {path: _read(path) for section in CONTENTS for path in section.paths}


def read_asset(name: str) -> bytes:
    """Read a file of this package that is no page."""
    return files(__package__).joinpath(name).read_bytes()


def read_picture(name: str) -> bytes:
    """Read a picture of the pages.

    Raises:
        FileNotFoundError: there is none of this name.
    """
    folder = files(__package__).joinpath("screenshots")
    if name not in {entry.name for entry in folder.iterdir()}:
        raise FileNotFoundError(name)
    return folder.joinpath(name).read_bytes()


def _read(path: str) -> Page:
    text = files(__package__).joinpath(f"{path}.md").read_text(encoding="utf-8")
    return Page(path, next(_titles(text)), text)


def _titles(text: str) -> Iterator[str]:
    return (line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
