"""Sentences about a connection and a login, as findings of the test of a registry."""

from datetime import timedelta

from shared.jobs.diagnosis import Outcome
from worker.oci.auth.handshake import Authentication
from worker.oci.probe_stages import Finding
from worker.oci.transport.endpoint import Endpoint
from worker.oci.transport.route import Route

EXPIRY_WARNING = timedelta(days=21)


def describe_plain_http(endpoint: Endpoint) -> Finding:
    if endpoint.is_insecure:
        permission = "an administrator allows it and " if endpoint.is_permitted else ""
        text = (
            f"plain HTTP, since {permission}this server's Docker lists the host as insecure: "
            "the network in between can read the password"
        )
        return Finding(text, Outcome.WARNING, is_verified=False)
    return Finding("plain HTTP within this machine", Outcome.SKIPPED, is_verified=False)


def describe_certificate(route: Route) -> Finding:
    certificate = route.certificate
    if certificate is None:
        return Finding("the certificate is accepted")
    days = certificate.remaining_time().days
    outcome = Outcome.WARNING if certificate.remaining_time() < EXPIRY_WARNING else Outcome.OK
    return Finding(f"{certificate}, {days} days left", outcome)


def describe_authentication(authentication: Authentication) -> str:
    if not authentication.realm_host:
        return "the registry accepts this login"
    where = (
        f"{authentication.realm_host}, which is another host,"
        if authentication.is_foreign
        else authentication.realm_host
    )
    if authentication.actions is None:
        return f"{where} issued a token"
    return f"{where} issued a token for: {', '.join(sorted(authentication.actions)) or 'nothing'}"
