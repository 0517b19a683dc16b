"""The two clients: `Wharfinger` blocks, `AsyncWharfinger` is for an event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import httpx2

from wharfinger.asynchronous import AsyncProcedures
from wharfinger.caller import Caller
from wharfinger.connection import AsyncConnection, BlockingConnection
from wharfinger.options import Options, choose_key, choose_url
from wharfinger.synchronous import Procedures


class Wharfinger(Procedures):
    """A client of the API with one attribute for each noun: ``client.registry.all()``.

    Without arguments, ``WHARF_URL`` and ``WHARF_API_KEY`` are used. Threads may share a client.
    Close it, or use it in a ``with`` statement.

    Raises:
        ApiError: the URL or the key cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        options: Options | None = None,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        options, chosen = options or Options(), choose_url(url)
        self._client = httpx2.Client(
            base_url=chosen,
            headers={"x-api-key": choose_key(api_key)},
            timeout=options.timeout,
            verify=options.tls_context,
            transport=transport,
        )
        super().__init__(Caller(BlockingConnection(self._client, sleep, now), chosen, options))

    def __repr__(self) -> str:
        return f"Wharfinger({str(self._client.base_url)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class AsyncWharfinger(AsyncProcedures):
    """The same client for an event loop: ``await client.registry.all()``.

    Raises:
        ApiError: the URL or the key cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        options: Options | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        options, chosen = options or Options(), choose_url(url)
        self._client = httpx2.AsyncClient(
            base_url=chosen,
            headers={"x-api-key": choose_key(api_key)},
            timeout=options.timeout,
            verify=options.tls_context,
            transport=transport,
        )
        super().__init__(Caller(AsyncConnection(self._client, sleep, now), chosen, options))

    def __repr__(self) -> str:
        return f"AsyncWharfinger({str(self._client.base_url)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
