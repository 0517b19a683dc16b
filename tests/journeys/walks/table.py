"""The README's sections, examples and pages, each with the steps of the two walks.

A step has the same name in both walks. Where one of them has no step, ``because`` says why.
curl walks all examples: `tests.docs.test_examples` runs them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Walked:
    """The steps of the console and of the command line, by their names."""

    console: tuple[str, ...] = ()
    command_line: tuple[str, ...] = ()
    because: str = ""


def both(*steps: str) -> Walked:
    return Walked(steps, steps)


READ = Walked(because="it is read, and nothing is done")

SECTIONS = {
    "Two commands": both("sign_in", "find_the_servers"),
    "The picture": READ,
    "The console": Walked(
        ("sign_in", "read_the_documentation", "invite_a_viewer", "read_the_audit_log"),
        because="it is about the console",
    ),
    "One example": both("refuse_a_wrong_password", "add_and_test_the_registries"),
    "Supported versions": READ,
    "Run the tests": READ,
    "Where to read on": both("read_the_documentation"),
}
"""By the headings of the README."""

EXAMPLES = {
    "make demo": Walked(because="it starts and stops all by itself: tests/journeys/test_demo.py"),
    "make up": both("sign_in"),
    "registry.create": both("add_and_test_the_registries"),
    "registry.testRegistry": both("refuse_a_wrong_password"),
    "registry.testRegistryById": both("add_and_test_the_registries"),
    "make test": Walked(because="it runs the tests, and so this one"),
}
"""By what each example of the README calls first."""

PAGES = {
    "quickstart": both(
        "sign_in",
        "find_the_servers",
        "add_and_test_the_registries",
        "create_an_application",
        "upload_and_deploy",
        "deploy_a_second_version",
        "roll_back",
    ),
    "concepts": READ,
    "how-to/registries": both(
        "add_and_test_the_registries", "test_all_from_all", "move_images", "limit_a_login"
    ),
    "how-to/credential-life": both("rotate_a_login"),
    "how-to/providers": Walked(
        because="it needs accounts of clouds: tests/worker/oci/providers stand for them"
    ),
    "how-to/build": both("build_only"),
    "how-to/deploy": both("upload_and_deploy", "stop_and_start", "read_the_logs"),
    "how-to/roll-back": both("roll_back"),
    "how-to/command-line": Walked(
        (), ("sign_in", "complete_and_help"), because="it is about the command line"
    ),
    "reference/commands": Walked(
        (), ("complete_and_help",), because="it is about the command line"
    ),
    "how-to/webhooks": both("receive_webhooks"),
    "how-to/deploy-hooks": both("make_a_deploy_hook"),
    "how-to/follow-jobs": both("move_images", "cancel_a_job"),
    "how-to/docker-compose": Walked(because="it installs: tests/compose runs it"),
    "how-to/many-servers": both("join_pause_and_remove_a_server"),
    "how-to/tls": Walked(because="it starts an API: tests/api/sockets/test_encryption.py"),
    "how-to/back-up-and-restore": Walked(because="it replaces all: tests/worker/backup"),
    "how-to/upgrade": Walked(because="it restarts all: tests/test_old_versions.py"),
    "reference/procedures": READ,
    "reference/codes": both("refuse_a_wrong_password"),
    "reference/settings": READ,
    "reference/metrics": READ,
    "operations": both("look_after_it"),
    "security": both("make_and_remove_a_key", "invite_a_viewer", "read_the_audit_log"),
    "limits": READ,
    "architecture": READ,
    "glossary": READ,
    "changelog": READ,
}
"""By the pages that the README sends its readers to."""


def all_entries() -> dict[str, Walked]:
    return {**SECTIONS, **EXAMPLES, **PAGES}
