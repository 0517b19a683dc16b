"""The body of an HTTP response, read as it arrives."""

import aiohttp

from worker.oci.transport.errors import make_connection_error


class Stream:
    """A streamed body; it holds its connection until closed. ``authority`` is ``host:port``."""

    def __init__(self, response: aiohttp.ClientResponse, authority: str) -> None:
        self._response = response
        self._authority = authority

    async def read(self) -> bytes:
        """Return the next bytes that are available; none at the end.

        Raises:
            RegistryError: the connection was cut, or nothing came for the idle time.
        """
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise make_connection_error(error, self._authority) from error

    def close(self) -> None:
        """End the exchange, even if it is incomplete."""
        self._response.close()
