"""Every command and request of the README and the pages is run, and answers what is shown."""

import os
from pathlib import Path

import pytest

from tests.docs.blocks import Block, documents, read_blocks
from tests.docs.scene import open_scene, programs_missing
from worker.local.engines import engines_possible

TESTS = Path(__file__).parent.parent
ELSEWHERE = {
    "make demo": "journeys/test_demo.py",
    "make test": "conftest.py",
    "make up": "worker/local/test_up.py",
    "docker-compose": "compose/conftest.py",
    "mkdir -p .data/secrets": "compose/conftest.py",
    "docker run --rm --user": "compose/conftest.py",
    'echo "DOCKER_GID': "compose/conftest.py",
    "export WHARF_URL=https:": "compose/conftest.py",
    'export WHARF_API_KEY="$(cat': "compose/conftest.py",
    "printf %s": "compose/conftest.py",
    "wharf migrate": "shared/migrations/test_schema.py",
    "wharf api": "api/test_main.py",
    "WHARF_TLS_CERTIFICATE=": "api/sockets/test_encryption.py",
    "WHARF_ALLOW_PLAIN_HTTP=": "api/sockets/test_encryption.py",
    "wharf backup": "worker/backup/test_commands.py",
    "wharf restore": "worker/backup/test_commands.py",
    "wharf up --data-dir": "journeys/test_restore.py",
    "wharf ca": "worker/local/tls/test_commands.py",
    "wharf up --listen": "worker/local/test_up.py",
    "wharf vault": "worker/vault/test_rotate.py",
    "WHARF_DATABASE_URL_FILE=": "worker/backup/test_commands.py",
    "wharf control": "worker/control/test_main.py",
    "wharf server approve": "api/cli/commands/servers/test_server.py",
    "wharf user recover": "api/cli/commands/accounts/test_user.py",
    "openapi-python-client": "api/test_generated_client.py",
    "openapi-typescript": "journeys/test_clients.py",
    "CELERY_BROKER_URL=": "journeys/test_flower.py",
}
"""Commands that other tests run, by how they begin: they start or stop all of it."""


def is_elsewhere(block: Block) -> bool:
    found = [command.startswith(tuple(ELSEWHERE)) for command in block.commands]
    assert all(found) or not any(found), f"{block.place} mixes what is run here and elsewhere"
    return bool(found) and all(found)


def all_blocks() -> list[Block]:
    return [block for name, text in documents().items() for block in read_blocks(name, text)]


def test_each_example_that_is_run_elsewhere_names_a_test_that_exists() -> None:
    assert not [name for name in ELSEWHERE.values() if not (TESTS / name).exists()]


def test_no_example_for_elsewhere_is_named_in_vain() -> None:
    commands = [one for block in all_blocks() if block.language == "sh" for one in block.commands]

    unused = [start for start in ELSEWHERE if not any(one.startswith(start) for one in commands)]
    assert not unused


def test_every_answer_follows_a_command() -> None:
    blocks = all_blocks()

    assert not [block.place for block in blocks if block.is_answer and block.language == "json"]


@pytest.mark.timeout(900)
def test_every_example_does_what_is_shown() -> None:
    if why_not := engines_possible() or ", ".join(programs_missing()):
        if os.environ.get("CI"):
            pytest.fail(why_not)
        pytest.skip(f"the examples need an Engine of their own and some programs: {why_not}")
    wrong: list[str] = []

    with open_scene() as scene:
        for name, text in documents().items():
            for block in read_blocks(name, text):
                if block.language != "sh" or not is_elsewhere(block):
                    wrong += scene.run(block)
            scene.tidy()

    assert not wrong, "\n\n".join(wrong)
