"""The body of an HTTP answer, read as it comes."""

import aiohttp

from worker.oci.transport.errors import make_connection_error


class Stream:
    """Holds its connection until it is closed; ``where`` is the other end, ``host:port``."""

    def __init__(self, response: aiohttp.ClientResponse, where: str) -> None:
        self._response = response
        self._where = where

    async def read(self) -> bytes:
        """The next bytes, as many as are there; none at the end.

        Raises:
            RegistryError: the connection was cut, or nothing came for the idle time.
        """
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise make_connection_error(error, self._where) from error

    def close(self) -> None:
        """End the exchange, wherever it is: what was not sent yet will not be."""
        self._response.close()
