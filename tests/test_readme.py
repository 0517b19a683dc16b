"""The README stays short, and what it and the security page say is what is there."""

import re
from pathlib import Path

from api.builds.context_upload import UPLOAD
from api.docs.contents import read_pages
from api.jobs.event_access import EVENTS
from api.procedure.context import Role
from api.routers import PROCEDURES
from tests.docs.blocks import documents, read_blocks

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAX_LINES = 180


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MAX_LINES


def test_the_two_commands_stand_before_everything_else() -> None:
    assert README.index("make demo") < README.index("curl -X")
    assert README.index("make test") < README.index("curl -X")


def test_ci_runs_the_command_that_the_readme_names_for_the_tests() -> None:
    section = README.split("## Run the tests")[1].split("\n## ")[0]

    assert "\nmake test\n" in section
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)

    assert links
    assert not [link for link in links if not (ROOT / link).is_file()]


def test_the_table_of_roles_is_the_one_of_the_procedures() -> None:
    section = read_pages()["security"].text.split("## Who may do what")[1].split("\n## ")[0]
    columns: tuple[Role | None, ...] = ("viewer", "member", "admin", None)
    documented = {
        f"{router.strip(' `')}.{name}": role
        for line in section.splitlines()
        if line.startswith("| `")
        for router, *cells in [line.strip("|").split("|")]
        for role, cell in zip(columns, cells, strict=True)
        for name in re.findall("`(.+?)`", cell)
    }

    assert documented == {one.name: one.role for one in (*PROCEDURES.values(), EVENTS, UPLOAD)}


def test_no_two_requests_share_an_idempotency_key() -> None:
    blocks = [block for name, text in documents().items() for block in read_blocks(name, text)]
    keys = [key for block in blocks for key in re.findall(r"Idempotency-Key: ([^\"]+)", block.text)]
    keys += [key for block in blocks for key in re.findall(r"--key (\S+)", block.text)]

    assert len(keys) >= 3
    assert len(set(keys)) == len(keys)
