"""Answers to the sender of a push."""

from pydantic import RootModel

from api.fields.shapes import Output


class Deployed(Output):
    """The deployment of the push; a repeated notification has the same one."""

    deployment_id: str
    application_id: str
    image: str


class Built(Output):
    """The deployment of the pushed commit, which is built first; a repeated one is the same."""

    deployment_id: str
    application_id: str
    branch: str
    commit: str


class Ignored(Output):
    """Nothing is deployed, and the sender need not retry; ``ignored`` is a stable code."""

    ignored: str
    message: str


class Received(RootModel[Deployed | Built | Ignored]):
    """The answer to a registry or a git host."""
