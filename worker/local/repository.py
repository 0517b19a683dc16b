"""A git repository behind git's own ``http-backend``: what the demo builds from."""

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import parse_headers
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from shared.errors import SetupError

NAME = "app.git"
PLAIN = {"core.compression": "0", "core.bigFileThreshold": "1m"}
"""No compression: the content was made to be moved, and compressing it would only take time."""

SETTINGS = (
    *("user.name=Wharfinger", "user.email=demo@example.com"),
    *(f"{name}={value}" for name, value in PLAIN.items()),
)

ENVIRONMENT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


@dataclass
class LocalRepository:
    """One repository with one commit, for anybody who can reach the address."""

    directory: Path
    commit: str
    server: ThreadingHTTPServer

    @classmethod
    def start(cls, directory: Path, *, address: str, files: Mapping[str, bytes]) -> Self:
        """Commit the files to a new repository's ``main`` and serve it on a free port.

        Raises:
            SetupError: there is no git here.
        """
        bare = directory / NAME
        work = directory / "work"
        try:
            commit = _make(bare, work, files)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SetupError(
                f"cannot make a git repository: {type(error).__name__}", remedy="Install git."
            ) from error
        server = ThreadingHTTPServer((address, 0), _handler(directory))
        threading.Thread(target=server.serve_forever, name="git", daemon=True).start()
        return cls(directory, commit, server)

    @property
    def url(self) -> str:
        address, port = self.server.server_address[:2]
        return f"http://{address!s}:{port}/{NAME}"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _make(bare: Path, work: Path, files: Mapping[str, bytes]) -> str:
    _git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    for name, value in PLAIN.items():
        _git("config", name, value, cwd=bare)
    _git("init", "--quiet", "--initial-branch=main", str(work))
    for name, content in files.items():
        path = work / name
        path.write_bytes(content)
        path.chmod(0o755)
    _git("add", "--all", cwd=work)
    _git("commit", "--quiet", "--message=Begin", cwd=work)
    _git("push", "--quiet", str(bare), "main", cwd=work)
    return _git("rev-parse", "HEAD", cwd=work)


def _git(*words: str, cwd: Path | None = None) -> str:
    ran = subprocess.run(  # noqa: S603 - the words are ours
        ("git", *(part for setting in SETTINGS for part in ("-c", setting)), *words),  # noqa: S607 - as a person would
        cwd=cwd,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


def _handler(root: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """The web half of git-http-backend(1), a CGI program."""

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

        def log_message(self, *_: object) -> None:
            """Nobody asks."""

        def _answer(self, body: bytes) -> None:
            with subprocess.Popen(
                ("git", "http-backend"),  # noqa: S607 - as a person would
                env={**os.environ, **ENVIRONMENT, **self._request(root)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            ) as backend:
                assert backend.stdin  # noqa: S101 - piped
                assert backend.stdout  # noqa: S101 - likewise
                backend.stdin.write(body)
                backend.stdin.close()
                head = parse_headers(backend.stdout)
                self.send_response(int(head.get("Status", "200").split()[0]))
                del head["Status"]
                for name, value in head.items():
                    self.send_header(name, value)
                self.end_headers()
                shutil.copyfileobj(backend.stdout, self.wfile)  # its end ends the connection

        def _request(self, root: Path) -> dict[str, str]:
            asked = urlsplit(self.path)
            return {
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": asked.path,
                "QUERY_STRING": asked.query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_ADDR": self.client_address[0],
            }

    return Handler
