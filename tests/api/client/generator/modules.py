"""All generated modules of the client."""

import subprocess
import sys
from pathlib import Path

from api.http.openapi.document import make_document
from api.routers import PROCEDURES
from tests.api.client.generator.kinds import write_kinds
from tests.api.client.generator.models import write_models
from tests.api.client.generator.operations import read_operations
from tests.api.client.generator.procedures import CLIENT, write_procedures

KINDS = CLIENT.parents[1] / "cli" / "procedure_kinds.py"
MODULES = (*(CLIENT / name for name in ("models.py", "synchronous.py", "asynchronous.py")), KINDS)


def make_modules() -> dict[Path, str]:
    """Return the text of each of `MODULES`, which are made from the API's own document."""
    document = make_document(PROCEDURES.values())
    operations = list(read_operations(document))
    texts = (
        write_models(document["components"]["schemas"], operations),
        write_procedures(operations, is_async=False),
        write_procedures(operations, is_async=True),
        write_kinds(operations),
    )
    return {path: _format(path, text) for path, text in zip(MODULES, texts, strict=True)}


def _format(path: Path, text: str) -> str:
    """Return the text without unused imports, in the format of the repository."""
    ruff = str(Path(sys.executable).with_name("ruff"))
    fix = ["check", "--quiet", "--fix-only", "--select", "F401,I"]
    for command in (fix, ["format", "--quiet"]):
        done = subprocess.run(
            [ruff, *command, "--stdin-filename", str(path), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        text = done.stdout
    return text
