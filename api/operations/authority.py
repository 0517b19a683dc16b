"""``/ca.pem``: the certificate of the internal CA, for servers that join and know its SHA-256."""

from starlette.responses import PlainTextResponse, Response

NOT_SET = "This installation has no internal CA: WHARF_CA_CERTIFICATE is not set.\n"


def answer_ca(ca: str | None) -> Response:
    """Answer the certificate in PEM; 404 without a CA."""
    if ca is None:
        return PlainTextResponse(NOT_SET, 404)
    return Response(ca, media_type="application/x-pem-file")
