"""Read the signatures of one image at its registry, and compare them with a policy."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference, parse_registry
from shared.signatures.keys import PublicKey
from shared.signatures.policy import SignaturePolicy
from worker.login import Login
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.signatures.reading import read_documents
from worker.oci.signatures.verification import Requirements, Verdict, verify
from worker.oci.transport.settings import ConnectionSettings

READ_WITHIN = timedelta(seconds=15)
"""The time limit after which a slow registry is reported, before the attempt times out."""

MAX_EVIDENCE_CHARACTERS = 1000


@dataclass(frozen=True)
class Examined:
    """The image's digest, the verdict, and sentences about what could not be read."""

    digest: str
    verdict: Verdict
    gaps: tuple[str, ...]


async def examine(
    target: Reference,
    login: Login | None,
    policy: SignaturePolicy,
    settings: ConnectionSettings,
    *,
    within: timedelta = READ_WITHIN,
) -> Examined:
    """Compare the signatures beside an image with a policy.

    Raises:
        RegistryError: ``image_not_found``, ``pull_denied``; ``conn_timeout`` … if the registry does
            not answer ``within`` the time.
    """
    required = Requirements(
        tuple(PublicKey.parse(one) for one in policy.public_keys),
        frozenset(policy.predicate_types),
    )
    host = parse_registry(target.registry)
    try:
        async with (
            asyncio.timeout(within.total_seconds()),
            RegistryClient(host, login, settings) as registry,
        ):
            digest = target.digest
            if digest is None:
                found = await manifests.describe(registry, target.repository, target.target)
                digest = found.digest
            documents, gaps = await read_documents(registry, target.repository, digest)
    except TimeoutError as error:
        raise RegistryError(
            FaultCode.CONN_TIMEOUT,
            f"the signatures of {target} could not be read within {within.total_seconds():g} s",
        ) from error
    return Examined(digest, verify(digest, documents, required), gaps)


def require_passed(
    policy: SignaturePolicy, target: Reference, examined: Examined
) -> tuple[str, ...]:
    """Return what a policy only warns about.

    Raises:
        RegistryError: under ``enforce``, the code of the first violation.
    """
    violations = examined.verdict.violations
    if violations and policy.mode == "enforce":
        first, *others = violations
        evidence = "; ".join([*(one.message for one in others), *examined.gaps])
        raise RegistryError(
            first.code,
            f"the policy refuses {target}: {first.message}",
            evidence=evidence[:MAX_EVIDENCE_CHARACTERS],
        )
    return tuple(f"{one.message} ({one.code})" for one in violations)
