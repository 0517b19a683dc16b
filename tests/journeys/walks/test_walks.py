"""The whole README is walked with the console alone, and with the command line alone."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium

from tests.docs.blocks import README, read_blocks
from tests.journeys.conftest import Port
from tests.journeys.console.browser import Tab
from tests.journeys.walks.command_line import CommandLineWalk
from tests.journeys.walks.console import ConsoleWalk
from tests.journeys.walks.table import EXAMPLES, PAGES, SECTIONS, all_entries
from tests.journeys.walks.walking import Place, walk
from worker.local.registry import LocalRegistry

TEXT = README.read_text()
ORDER = (
    *("sign_in", "find_the_servers", "refuse_a_wrong_password", "add_and_test_the_registries"),
    *("test_all_from_all", "limit_a_login", "rotate_a_login", "move_images", "cancel_a_job"),
    *("create_an_application", "upload_and_deploy", "build_only", "deploy_a_second_version"),
    *("roll_back", "stop_and_start", "read_the_logs", "make_a_deploy_hook", "receive_webhooks"),
    *("join_pause_and_remove_a_server", "make_and_remove_a_key", "invite_a_viewer"),
    *("read_the_audit_log", "look_after_it", "read_the_documentation", "complete_and_help"),
)
"""All steps, in the order in which a newcomer takes them."""


@pytest.fixture
def place(port: Port, kept: LocalRegistry, tmp_path: Path) -> Place:
    return Place(port, kept, tmp_path)


def steps_of(kind: type[ConsoleWalk] | type[CommandLineWalk]) -> list[str]:
    return [name for name in ORDER if hasattr(kind, name)]


@pytest.mark.timeout(900)
def test_the_readme_is_walked_in_the_console(place: Place, owner: Tab, chromium: Chromium) -> None:
    walk(ConsoleWalk(place, owner, chromium), steps_of(ConsoleWalk))

    assert owner.errors == []


@pytest.mark.timeout(900)
def test_the_readme_is_walked_on_the_command_line(place: Place) -> None:
    walk(CommandLineWalk(place), steps_of(CommandLineWalk))


def test_every_section_of_the_readme_is_in_the_table() -> None:
    assert re.findall(r"(?m)^## (.+)$", TEXT) == list(SECTIONS)


def test_every_example_of_the_readme_is_in_the_table() -> None:
    called = [
        re.sub(r"^curl .*/api/trpc/(\S+).*$", r"\1", command)
        for block in read_blocks("README.md", TEXT)
        if block.language == "sh"
        for command in block.commands[:1]
    ]

    assert sorted(set(called)) == sorted(EXAMPLES)


def test_every_page_that_the_readme_names_is_in_the_table() -> None:
    linked = set(re.findall(r"\(api/docs/([^)#]+)\.md", TEXT)) - {"index", "how-to/console"}

    assert linked == set(PAGES)


def test_every_entry_has_steps_of_both_walks_or_says_why_not() -> None:
    known = {"console": set(steps_of(ConsoleWalk)), "line": set(steps_of(CommandLineWalk))}
    for name, walked in all_entries().items():
        assert set(walked.console) <= known["console"], name
        assert set(walked.command_line) <= known["line"], name
        assert (walked.console and walked.command_line) or walked.because, name


def test_every_step_is_in_the_table() -> None:
    named = {
        step
        for walked in all_entries().values()
        for step in (*walked.console, *walked.command_line)
    }

    assert named == set(ORDER)
