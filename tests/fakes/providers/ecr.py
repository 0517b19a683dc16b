"""A registry of ECR as its users see it: Basic, with tokens of the user ``AWS`` that end."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from aiohttp import web

from tests.fakes.providers.cloud import Cloud, Serve, Tokens, refusal

EXPIRED = "Your authorization token has expired. Reauthenticate and try again."


@dataclass
class EcrRegistry(Cloud):
    """One registry; ``pasted`` is a token that was copied from AWS's command line."""

    host: str = "123456789.dkr.ecr.us-east-1.amazonaws.com"
    pasted: str = "<ecr-token>"

    def __post_init__(self) -> None:
        self.tokens = Tokens(self.clock, timedelta(hours=12))
        self.tokens.issue("AWS", name=self.pasted)

    def hosts(self) -> Mapping[str, Serve]:
        return {self.host: self._serve}

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        login = self.basic(request)
        if login is None or login[0] != "AWS" or login[1] not in self.tokens.issued:
            realm = f'Basic realm="https://{self.host}/",service="ecr.amazonaws.com"'
            return web.Response(
                status=401, text="Not Authorized\n", headers={"WWW-Authenticate": realm}
            )
        if self.tokens.find(login[1]) is None:
            return refusal(403, "DENIED", EXPIRED)
        return await self.forward(request)
