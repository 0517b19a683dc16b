"""Variables of a compose file that say their own default; ours are nobody's business there."""

import re

from shared.errors import InvalidComposeError

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_INNERMOST = re.compile(rf"\$\{{{_NAME}:?-([^${{}}]*)\}}")
_VARIABLE = re.compile(rf"\$\{{?({_NAME})")


def fill_defaults(text: str) -> str:
    """``app:${TAG:-1.4}`` → ``app:1.4``, also nested, as if nothing were set.

    https://docs.docker.com/reference/compose-file/interpolation/

    Raises:
        InvalidComposeError: a variable without a default; it says which.
    """
    while (filled := _INNERMOST.sub(r"\1", text)) != text:
        text = filled
    if "$" not in text:
        return text
    unset = _VARIABLE.search(text)
    raise InvalidComposeError(
        f"the variable {unset[1]} has no default" if unset else "a $ that is no variable",
        remedy="Give it one, as ${TAG:-1.4}, or send the file with its variables filled in.",
    )
