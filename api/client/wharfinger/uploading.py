"""Upload the context of a build."""

from pathlib import Path

from wharfinger.caller import Caller
from wharfinger.calls import Call
from wharfinger.content import open_content
from wharfinger.models import BuildContext


async def upload_context(caller: Caller, application_id: str, source: bytes | Path) -> BuildContext:
    """Upload the sources of an application, from which ``application.build`` builds.

    ``source`` is a tar, plain or compressed, as a file or as bytes; or a directory, which is
    packed with all that it holds.

    Raises:
        ApiError: the API refused it.
    """
    with open_content(source) as content:
        return await caller.perform(
            Call(
                "application.uploadContext",
                BuildContext,
                "POST",
                {"applicationId": application_id},
                content=content,
            )
        )
