"""Addresses where something answers that is no registry."""

from shared.faults import FaultCode as Code
from tests.faults.fault import Fault, everywhere
from tests.faults.responses import page, redirect, says

NOT_A_REGISTRY = everywhere(Code.NOT_A_REGISTRY)

NO_REGISTRY = (
    Fault("a page for everything", NOT_A_REGISTRY, respond=page(200, "Welcome")),
    Fault("a page with 404 for everything", NOT_A_REGISTRY, respond=page(404, "Not Found")),
    Fault("text with 404 for everything", NOT_A_REGISTRY, respond=says(404, "404 page not found")),
    Fault(
        "JSON with 404 for everything",
        NOT_A_REGISTRY,
        respond=says(404, '{"message": "no such route"}', "application/json"),
    ),
    Fault(
        "JSON of another API",
        NOT_A_REGISTRY,
        respond=says(200, '{"status": "ok", "version": 3}', "application/json"),
    ),
    Fault("200 and nothing", NOT_A_REGISTRY, respond=says(200)),
    Fault("a redirect to its login page", NOT_A_REGISTRY, respond=redirect("/login")),
    Fault("a redirect loop", NOT_A_REGISTRY, respond=redirect("/v2/")),
    Fault("405 for everything", NOT_A_REGISTRY, respond=page(405, "Method Not Allowed")),
    Fault(
        "nginx asks for a client certificate",
        everywhere(Code.TLS_CLIENT_CERT),
        respond=says(
            400,
            "<html><head><title>400 No required SSL certificate was sent</title></head><body>"
            "<center><h1>400 Bad Request</h1></center><center>No required SSL certificate was sent"
            "</center><hr><center>nginx</center></body></html>",
            "text/html",
        ),
    ),
    Fault("407 for everything", everywhere(Code.PROXY_ERROR), respond=page(407, "Proxy")),
)
