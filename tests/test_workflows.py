"""Actions of others in CI are pinned to the commit that was reviewed."""

import re
from pathlib import Path

WORKFLOWS = Path(__file__).parent.parent / ".github" / "workflows"
USES = re.compile(r"^\s*-?\s*uses:\s*(\S+)", re.MULTILINE)


def test_every_action_is_pinned_by_its_commit() -> None:
    used = [name for path in WORKFLOWS.glob("*.yml") for name in USES.findall(path.read_text())]

    assert used
    assert [name for name in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name)] == []
