"""TLS as a client of whatever the machine trusts."""

import ssl
from functools import cache

import httpx2


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context of all requests of this process.

    `httpx2` makes one a request unless it is given one, for HTTP too: that takes longer than to ask
    a server on the same machine.
    """
    return httpx2.create_ssl_context()
