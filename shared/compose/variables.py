"""Fill in a compose file's variables from their defaults, never from our environment."""

import re

from shared.errors import InvalidComposeError

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_INNERMOST = re.compile(rf"\$\{{{_NAME}:?-([^${{}}]*)\}}")
_VARIABLE = re.compile(rf"\$\{{?({_NAME})")


def fill_defaults(text: str) -> str:
    """Replace variables by their defaults, also nested: ``app:${TAG:-1.4}`` → ``app:1.4``.

    https://docs.docker.com/reference/compose-file/interpolation/

    Raises:
        InvalidComposeError: a variable without a default; it names the variable.
    """
    while (filled := _INNERMOST.sub(r"\1", text)) != text:
        text = filled
    if "$" not in text:
        return text
    unset = _VARIABLE.search(text)
    raise InvalidComposeError(
        f"the variable {unset[1]} has no default" if unset else "a $ does not begin a variable",
        remedy="Add a default, as in ${TAG:-1.4}, or fill in the variables of the file first.",
    )
