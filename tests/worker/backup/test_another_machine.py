"""The whole product on real parts: backed up while it runs, lost, and restored elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from worker.local.stack import Stack

PASSPHRASE = "a passphrase of some length"
REGISTRY = {
    "registryName": "ours",
    "registryUrl": "registry.example",
    "username": "me",
    "password": "a password",
    "registryType": "selfHosted",
}


def wharf(*words: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WHARF_")}
    done = subprocess.run(
        (sys.executable, "-m", "api.cli.main", *words),
        env=environment,
        input=PASSPHRASE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_new_machine_has_what_the_lost_one_had(tmp_path: Path) -> None:
    lost, new, file = tmp_path / "lost", tmp_path / "new", tmp_path / "one.wharf"
    of_lost = ("--data-dir", str(lost))
    stack = Stack.start(lost, durable=False)
    try:
        registry = stack.call("registry.create", REGISTRY)["registryId"]
        key = stack.call("apiKey.create", {"name": "pipeline"})["apiKeyId"]
        rotated = wharf("vault", "rotate", *of_lost)
        # Control and API go on: the API seals to the new key.
        second = stack.call("registry.create", {**REGISTRY, "registryUrl": "other.example"})
        removed = wharf("vault", "remove-old", *of_lost)
        wharf("backup", str(file), *of_lost, "--passphrase-file", "-")
        admin_key = stack.admin_key
    finally:
        stack.stop()
    shutil.rmtree(lost)
    restored = wharf("restore", str(file), "--data-dir", str(new), "--passphrase-file", "-")
    stack = Stack.start(new, durable=False)
    try:
        registries = {one["registryId"] for one in stack.call("registry.all")}
        keys = {one["apiKeyId"] for one in stack.call("apiKey.all")}
        held = stack.call("restore.one")["heldAt"]
        stack.call("restore.resume")
        assert stack.admin_key == admin_key
    finally:
        stack.stop()

    assert "secrets are sealed to the new key" in rotated
    assert "is removed" in removed
    assert "wharf resume --list" in restored
    assert registries == {registry, second["registryId"]}
    assert key in keys
    assert held is not None
