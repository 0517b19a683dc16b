"""A git server: real repositories behind git's own ``http-backend``, in a small web server.

It speaks as the large ones do: a commit is given by its id, a private repository says 401, one that
does not exist 404. It keeps LFS files, too, and gives them at ``files``, which may be another host.
"""

import asyncio
import base64
import hashlib
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tests.fakes.web import Fake, open_fake

USER, TOKEN = "robot", "glpat-s3cret-token-77"


@dataclass
class GitServer:
    """Repositories by name; those in ``private`` want `TOKEN`."""

    root: Path
    fake: Fake = field(default_factory=Fake)
    private: set[str] = field(default_factory=set)
    moved: dict[str, str] = field(default_factory=dict)
    lfs: dict[str, bytes] = field(default_factory=dict)
    files: str = ""
    given: dict[str, str] = field(default_factory=dict)
    gives_single_commits: bool = True

    def keep(self, content: bytes) -> bytes:
        """Keep an LFS file; gives the pointer to it."""
        oid = hashlib.sha256(content).hexdigest()
        self.lfs[oid] = content
        return make_pointer(oid, len(content))

    def url(self, name: str) -> str:
        return f"http://{self.fake.host}/{name}"

    def create(
        self, name: str, *, is_private: bool = False, object_format: str = "sha1"
    ) -> "Repository":
        repository = Repository(self.root / name, self.root / f"{name}.work")
        repository.create(object_format)
        if is_private:
            self.private.add(name)
        return repository


@dataclass(frozen=True)
class Repository:
    bare: Path
    work: Path

    def create(self, object_format: str) -> None:
        options = ("--quiet", f"--object-format={object_format}", "--initial-branch=main")
        git("init", "--bare", *options, str(self.bare))
        git("init", *options, str(self.work))

    def commit(
        self,
        files: Mapping[str, bytes],
        *,
        branch: str = "main",
        links: Mapping[str, str] | None = None,
        submodules: Mapping[str, tuple[str, str]] | None = None,
    ) -> str:
        """Write files, commit them on a branch, push it; gives the commit.

        ``submodules`` are URL and commit by path.
        """
        git("checkout", "--quiet", "-B", branch, cwd=self.work)
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for name, target in (links or {}).items():
            (self.work / name).symlink_to(target)
        modules = [
            f'[submodule "{place}"]\n\tpath = {place}\n\turl = {url}\n'
            for place, (url, _) in (submodules or {}).items()
        ]
        if modules:
            (self.work / ".gitmodules").write_text("".join(modules))
        git("add", "--all", "--force", cwd=self.work)
        for place, (_, pinned) in (submodules or {}).items():
            link = f"160000,{pinned},{place}"
            git("update-index", "--add", "--cacheinfo", link, cwd=self.work)
        git("commit", "--quiet", "--message=change", cwd=self.work)
        git("push", "--quiet", "--force", str(self.bare), branch, cwd=self.work)
        return git("rev-parse", "HEAD", cwd=self.work)

    def commit_tree(self, *entries: tuple[str, str, str]) -> str:
        """Commit a tree that git itself would not write: mode, name and id of each entry."""
        tree = b"".join(
            f"{mode} {name}\0".encode() + bytes.fromhex(id_) for mode, name, id_ in entries
        )
        commit = git("commit-tree", self.keep(tree, "tree"), "-m", "change", cwd=self.bare)
        git("update-ref", "refs/heads/main", commit, cwd=self.bare)
        return commit

    def keep(self, content: bytes, type_: str = "blob") -> str:
        """Keep an object without a check; gives its id."""
        file = self.work / ".git/object"
        file.write_bytes(content)
        options = ("-w", "--literally", "-t", type_)
        return git("hash-object", *options, str(file), cwd=self.bare)

    def tag(self, name: str) -> None:
        git("tag", "--annotate", "--message=tag", name, cwd=self.work)
        git("push", "--quiet", str(self.bare), name, cwd=self.work)


def make_pointer(oid: str, size: int) -> bytes:
    """The text of an LFS pointer."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()


def git(*arguments: str, cwd: Path | None = None) -> str:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    done = subprocess.run(
        ["git", *who, *arguments],
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "HOME": "/nowhere"},
    )
    return done.stdout.strip()


@asynccontextmanager
async def open_git_server(root: Path) -> AsyncIterator[GitServer]:
    """Serve until the block is left."""
    server = GitServer(root)

    async def answer(request: web.Request) -> web.StreamResponse:
        name, _, rest = request.path.lstrip("/").partition("/")
        if rest == "info/lfs/objects/batch":
            return await _batch(server, name.removesuffix(".git"), request)
        if name == "lfs":
            return _give(server, rest)
        if name in server.moved:
            return web.Response(status=301, headers={"Location": f"{server.moved[name]}/{rest}?x"})
        if not (root / name).is_dir():
            return web.Response(status=404)
        if name in server.private and not _has_token(request):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        # Protocol 2 gives any commit; without it only the ends of branches are given.
        protocol = request.headers.get("Git-Protocol", "") if server.gives_single_commits else ""
        return await _backend(root, request, protocol)

    async with open_fake(answer) as fake:
        server.fake = fake
        yield server


async def _batch(server: GitServer, name: str, request: web.Request) -> web.StreamResponse:
    if not (server.root / name).is_dir():
        return web.Response(status=404)
    if name in server.private and not _has_token(request):
        return web.Response(status=401)
    where = server.files or f"http://{server.fake.host}/lfs"
    objects = [
        {**one, "actions": {"download": {"href": f"{where}/{one['oid']}", "header": server.given}}}
        if one["oid"] in server.lfs
        else {**one, "error": {"code": 404, "message": "Object does not exist"}}
        for one in (await request.json())["objects"]
    ]
    return web.json_response({"transfer": "basic", "objects": objects})


def _give(server: GitServer, oid: str) -> web.StreamResponse:
    if oid not in server.lfs:
        return web.Response(status=404)
    return web.Response(body=server.lfs[oid])


def _has_token(request: web.Request) -> bool:
    kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
    return kind == "Basic" and base64.b64decode(encoded).decode().partition(":")[2] == TOKEN


async def _backend(root: Path, request: web.Request, protocol: str) -> web.StreamResponse:
    """The CGI of git-http-backend(1)."""
    body = await request.read()
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": protocol,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": "",
            "REMOTE_ADDR": "127.0.0.1",
        },
    )
    message, _ = await process.communicate(body)
    head, _, content = message.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
    status = int(headers.pop("Status", "200").split()[0])
    return web.Response(status=status, headers=headers, body=content)
