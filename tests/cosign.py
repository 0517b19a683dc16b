"""The real cosign, in the two versions whose formats differ."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engines import SCRIPT

PASSWORD = "a password of the tests"
VERSIONS = ("cosign-2.5", "cosign-3.1")
SECONDS = 60


@dataclass(frozen=True)
class Cosign:
    """One version of the program; its keys are in ``directory``."""

    program: Path
    directory: Path
    is_version_3: bool

    def make_keys(self, name: str = "cosign") -> Path:
        """Make a key pair; return the file of the public key."""
        self.run("generate-key-pair", "--output-key-prefix", name)
        return self.directory / f"{name}.pub"

    def sign(self, image: str, key: str = "cosign.key") -> None:
        self.run("sign", "--yes", "--key", key, *self._offline(), image)

    def attest(self, image: str, kind: str, predicate: Path, key: str = "cosign.key") -> None:
        options = ("--key", key, "--type", kind, "--predicate", str(predicate))
        self.run("attest", "--yes", *options, *self._offline(), image)

    def verifies(self, image: str, public_key: Path) -> bool:
        """Return whether cosign accepts the signature of an image."""
        return self._check("verify", image, public_key)

    def verifies_attestation(self, image: str, kind: str, public_key: Path) -> bool:
        return self._check("verify-attestation", image, public_key, "--type", kind)

    def _check(self, command: str, image: str, public_key: Path, *options: str) -> bool:
        done = self._start(
            command, "--key", str(public_key), "--insecure-ignore-tlog=true", *options, image
        )
        return done.returncode == 0

    def _offline(self) -> tuple[str, ...]:
        services = ("--use-signing-config=false",) if self.is_version_3 else ()
        return (*services, "--tlog-upload=false")

    def run(self, *arguments: str) -> None:
        done = self._start(*arguments)
        assert done.returncode == 0, done.stderr

    def _start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"COSIGN_PASSWORD": PASSWORD, "HOME": str(self.directory)}
        return subprocess.run(
            [self.program, *arguments],
            cwd=self.directory,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )


def find_cosign(version: str, directory: Path) -> Cosign:
    """Return a version of cosign, fetched once; skip without it at a desk, fail in CI."""
    done = subprocess.run([SCRIPT, version], check=False, capture_output=True, text=True)
    program = Path(done.stdout.strip()) / "cosign"
    if done.returncode != 0 or not program.exists():
        reason = f"NO SIGNATURE IS TESTED WITH {version}: .ci/engines could not fetch it"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{reason}: {done.stderr[-500:]}")
    return Cosign(program, directory, is_version_3=version == "cosign-3.1")
