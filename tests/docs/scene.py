"""One stack for the examples of all pages: one Engine, two registries, a git repository."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from tests.docs.answers import ID, compare, compare_lines, replace_ids
from tests.docs.blocks import Block
from tests.worker.engine.contexts import BUSYBOX
from worker.local.fleet import Fleet, start_fleet
from worker.local.images import make_image
from worker.local.postgres import OWNER
from worker.local.registry import LocalRegistry
from worker.local.repository import LocalRepository
from worker.local.stack import Stack
from worker.local.up import SERVER_NAME

USERNAME, PASSWORD = "builder", "s3cret-example"
PATIENCE_SECONDS = 60.0
BLOCK_SECONDS = 120.0
DOCKERFILE = b"""\
FROM busybox:1.37
COPY index.html /www/index.html
CMD ["busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
"""


PERMIT = b"""
CREATE FUNCTION permit() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN NEW.plain_http = true; RETURN NEW; END $$;
CREATE TRIGGER permit BEFORE INSERT ON registry FOR EACH ROW EXECUTE FUNCTION permit();
"""


@dataclass
class Scene:
    """The running parts, what the words of the pages stand for, and the ids learned so far."""

    stack: Stack
    directory: Path
    words: dict[str, str]
    ids: dict[str, str] = field(default_factory=dict)

    def run(self, block: Block) -> list[str]:
        """Run a block; says what is wrong with it."""
        try:
            return [f"{block.place}: {message}" for message in self._run(block)]
        except (subprocess.TimeoutExpired, json.JSONDecodeError, psycopg.Error) as error:
            return [f"{block.place}: {type(error).__name__}: {error}"]

    def tidy(self) -> None:
        """Remove servers that a page added and that nobody let join.

        Registries with a credential too: no provider is in reach, so `wharf doctor` finds them bad.
        """
        for server in self.stack.call("server.all"):
            if not server["online"]:
                self.stack.call("server.remove", {"serverId": server["serverId"]})
        for registry in self.stack.call("registry.all"):
            if registry["credential"]:
                chosen = {"registryId": registry["registryId"], "force": True}
                self.stack.call("registry.remove", chosen)

    def _run(self, block: Block) -> Iterator[str]:
        if block.name:
            path = self.directory / block.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._real(block.text))
        elif block.language == "sql":
            self._execute(block)
        elif block.language == "sh":
            yield from self._run_until_it_fits(block)

    def _execute(self, block: Block) -> None:
        assert self.stack.postgres
        with psycopg.connect(self.stack.postgres.url(OWNER)) as connection:
            connection.execute(self._real(block.text).encode())

    def _run_until_it_fits(self, block: Block) -> Iterator[str]:
        """A query may be asked before what it shows has happened."""
        text = self._real(block.text)
        if missing := sorted(set(ID.findall(text))):
            yield f"no answer before says what {', '.join(missing)} is"
            return
        end = time.monotonic() + PATIENCE_SECONDS
        while wrong := self._try(block, text):
            if not _is_query(block) or time.monotonic() > end:
                yield from wrong
                return
            time.sleep(0.3)

    def _try(self, block: Block, text: str) -> list[str]:
        as_on_a_terminal = block.answer is not None and block.answer.language == "text"
        ran = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", text],
            cwd=self.directory,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if as_on_a_terminal else subprocess.PIPE,
            text=True,
            timeout=BLOCK_SECONDS,
            check=False,
        )
        message, errors = self._shown(ran.stdout), self._shown(ran.stderr or "")
        if ran.returncode != 0:
            return [f"ended with {ran.returncode}: {message[-1500:]} {errors[-1500:]}"]
        if block.answer is None:
            return [f"was refused: {message}"] if '"httpStatus"' in message else []
        if block.answer.language == "text":
            wrong = list(compare_lines(block.answer.text, message))
        else:
            wrong = list(compare(json.loads(block.answer.text), json.loads(message), self.ids))
        return [f"{each}; all of it: {message[-3000:]}{errors[-1000:]}" for each in wrong]

    def _environment(self) -> dict[str, str]:
        programs = str(Path(sys.executable).parent)
        return {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(self.directory),
            "COLUMNS": "200",
            "PYTHONDONTWRITEBYTECODE": "1",
            "WHARF_URL": self.stack.url,
            "WHARF_API_KEY": self.stack.admin_key,
        }

    def _real(self, text: str) -> str:
        for shown, real in self.words.items():
            text = text.replace(shown, real)
        return replace_ids(text, self.ids)

    def _shown(self, text: str) -> str:
        for shown, real in self.words.items():
            text = text.replace(real, shown)
        return text


@contextmanager
def open_scene() -> Iterator[Scene]:
    """Start all parts."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="wharf-docs-")))
        fleet = start_fleet(stack, directory, (SERVER_NAME,))
        yield _start(stack, directory, fleet)


def _start(stack: ExitStack, directory: Path, fleet: Fleet) -> Scene:
    [host] = fleet.hosts
    users = {USERNAME: PASSWORD}
    registry, keep = (
        LocalRegistry.start(directory / name, address=fleet.address, users=users)
        for name in ("registry", "keep")
    )
    stack.callback(registry.stop)
    stack.callback(keep.stop)
    (directory / "git").mkdir()
    files = {"Dockerfile": DOCKERFILE, "index.html": b"Hello from git\n"}
    repository = LocalRepository.start(directory / "git", address=fleet.address, files=files)
    stack.callback(repository.stop)
    plane = Stack.start(directory / "wharf", address=fleet.address, durable=False)
    stack.callback(plane.stop)
    _permit_plain_http(plane)
    plane.add_server(host.name, host.docker_host, wrapper=host.wrapper)
    programs = {"bin/sh": BUSYBOX, "bin/busybox": BUSYBOX}
    make_image(host.docker_host, "busybox:1.37", files=programs, command=["/bin/sh"])
    work = directory / "work"
    work.mkdir()
    (work / ".curlrc").write_text("silent\nshow-error\n")
    words = {
        "http://127.0.0.1:4747": plane.url,
        "http://127.0.0.1:8080": f"http://{host.address}:8080",
        "registry.example.com": registry.host,
        "keep.example.com": keep.host,
        "https://github.com/myorg/my-app.git": repository.url,
        "0f3c6d1e5b7a9c2d4e6f8091a2b3c4d5e6f70819": repository.commit,
    }
    return Scene(plane, work, words)


def _permit_plain_http(plane: Stack) -> None:
    """Permit it for all registries: the scene's have no TLS."""
    assert plane.postgres
    with psycopg.connect(plane.postgres.url(OWNER)) as connection:
        connection.execute(PERMIT)


def _is_query(block: Block) -> bool:
    text = block.text
    return re.search(r"-X (POST|PUT)|-d |-T ", text) is None and ("curl" in text or "list" in text)


def programs_missing() -> list[str]:
    """Programs that the examples call and that are not here."""
    needed = ("curl", "jq", "git", "bash", "tar", "openssl")
    return [name for name in needed if shutil.which(name) is None]
