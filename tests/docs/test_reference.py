"""The generated pages are what the code says now."""

import re

from api.docs.contents import read_pages
from api.http.openapi.codes import list_codes
from tests.docs.meanings import MEANINGS
from tests.docs.reference import DIRECTORY, make_pages, setting_names
from tests.docs.words import SETTINGS


async def test_the_generated_pages_are_up_to_date() -> None:
    wrong = [
        name
        for name, text in (await make_pages()).items()
        if (DIRECTORY / name).read_text(encoding="utf-8") != text
    ]

    assert not wrong, f"run make docs: {wrong}"


def test_every_setting_is_explained_and_nothing_else_is() -> None:
    of_commands = {"WHARF_API_KEY", "WHARF_PROFILE", "DOCKER_HOST"}

    assert set(SETTINGS) == setting_names() | of_commands


def test_every_code_has_its_cause_and_a_remedy() -> None:
    assert set(MEANINGS) == {one.code for one in list_codes()}
    assert all(one.remedy for one in list_codes())


def test_every_code_setting_and_procedure_that_a_page_names_exists() -> None:
    pages = read_pages()
    known = "".join(pages[f"reference/{name}"].text for name in ("settings", "procedures"))
    named = {
        word
        for page in pages.values()
        for word in re.findall(r"`(WHARF_[A-Z_]+|[a-z]+[A-Za-z]*\.[a-z][A-Za-z]+)`", page.text)
        if word.partition(".")[0] in ROUTERS or word.startswith("WHARF_")
    }

    assert not {word for word in named if word not in known} - OTHERS


ROUTERS = {
    *("registry", "server", "application", "build", "deployment", "rollback", "deployHook"),
    *("image", "compose", "job", "webhook", "apiKey", "restore", "user", "organization"),
}
OTHERS = {
    *("organization.refuseAddress", "server.refuseAddress"),
    *(
        "application.control",
        "build.create",
        "deployment.create",
        "job.submit",
        "application.logs",
        "image.delete",
        "image.prove",
        "image.verify",
        "service.login",
        "deployment.ended",
        "build.ended",
        "job.ended",
        "certificate.due",
        "certificate.expired",
        "credential.due",
        "credential.expired",
        "credential.refused",
        "credential.rolled_back",
        "credential.rotated",
        "credential.rotation_refused",
    ),
    *("WHARF_ADDRESS", "WHARF_NAME", "registry.password"),
}
"""Kinds of jobs, events of webhooks, entries of the audit log, and what only compose.yaml knows."""
