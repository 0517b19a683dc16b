"""TLS for clients, with the certificates that the machine trusts."""

import ssl
from functools import cache

import httpx2


@cache
def tls_context() -> ssl.SSLContext:
    """Return the context of all requests of this process.

    Without it `httpx2` makes one for each request, even over HTTP. That takes longer than a request
    to the same machine.
    """
    return httpx2.create_ssl_context()
