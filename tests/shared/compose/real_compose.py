"""The real ``docker compose config`` over our files, to be run as a program.

It needs docker-compose 2.40 on ``PATH`` (`.ci/engines compose`), and writes ``expected.json``.
"""

import json
import subprocess
from pathlib import Path

FILES = Path(__file__).parent / "files"


def run_compose(file: Path) -> dict[str, str | None] | None:
    """Return the image of each active service, in compose's words; ``None`` if it refuses."""
    env = file.with_suffix(".env")
    first = file.read_text().partition("\n")[0]
    profiles = first.removeprefix("# profiles: ").split() if first.startswith("# prof") else []
    words = ["docker-compose", "--env-file", str(env) if env.exists() else "/dev/null"]
    words += [word for name in profiles for word in ("--profile", name)]
    ran = subprocess.run(
        [*words, "-p", "files", "-f", str(file), "config", "--format", "json"],
        capture_output=True,
        check=False,
    )
    if ran.returncode:
        return None
    services = json.loads(ran.stdout)["services"]
    return {name: service.get("image") for name, service in sorted(services.items())}


def main() -> None:
    """Write the images of all files that compose accepts."""
    found = {file.stem: run_compose(file) for file in sorted(FILES.glob("*.yaml"))}
    accepted = {name: images for name, images in found.items() if images is not None}
    (FILES / "expected.json").write_text(f"{json.dumps(accepted, indent=2)}\n")


if __name__ == "__main__":
    main()
