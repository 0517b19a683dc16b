"""Guard a form against overwriting what somebody else has changed since it was opened.

The form carries the values that its page was filled with. If the present ones differ, the form is
refused with what has changed; the page then carries the present ones, so that it can be sent again.
"""

import json
from collections.abc import Mapping

from api.errors import ChangedMeanwhileError

FIELD = "seen"
MAX_SHOWN = 100


def write_seen(stored: Mapping[str, str]) -> str:
    """Return the values for the form's hidden field; they are those that the page shows."""
    return json.dumps(dict(stored), sort_keys=True)


def require_unchanged(form: Mapping[str, str], stored: Mapping[str, str]) -> None:
    """Compare the values that the form was opened with to the present ones.

    A form without the field is not guarded.

    Raises:
        ChangedMeanwhileError: they differ; it names the fields, with both values.
    """
    if FIELD not in form:
        return
    before = _read(form[FIELD])
    changed = sorted(name for name in {*before, *stored} if before.get(name) != stored.get(name))
    if changed:
        texts = [
            f"{name}: {_show(before.get(name))} → {_show(stored.get(name))}" for name in changed
        ]
        raise ChangedMeanwhileError(
            f"it was changed by somebody else since this page was opened: {'; '.join(texts)}",
            remedy="Look at the changes. Send the form again to replace them by what it has now.",
        )


def _read(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _show(value: object) -> str:
    text = " ".join(str(value or "").split())
    return (text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…") or "empty"
