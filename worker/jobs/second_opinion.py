"""Ask the registry where an Engine does not say why a transfer failed, or would take long to."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shared.errors import EngineError, RegistryError, WharfError
from shared.faults import FAULTS, FaultCode
from shared.jobs.diagnosis import Right, Stage
from shared.reference import Reference, parse_registry
from worker.engine.errors import EngineOperation
from worker.engine.redaction import redact
from worker.jobs.engine_certificates import EngineCertificates
from worker.jobs.tools import Tools
from worker.jobs.verdicts import PLACE_CODES, EngineReport, RegistryReport, name_subject, weigh
from worker.login import EngineLogin, Login
from worker.oci.images.platform import Platform
from worker.oci.inquiry import LIMIT, Findings, Inquiry, inquire
from worker.oci.providers.quotas import counts_manifests
from worker.oci.providers.remedies import find_remedy

ASKED_CODES = frozenset({FaultCode.RATE_LIMITED})
"""Codes that are certain, but whose ``Retry-After`` only our own client sees."""

LIMITED_PULL_REMEDY = (
    "Wait, or copy the image to your own registry: this login has used up its limit."
)
LIMITED_PUSH_REMEDY = "Wait: this login has used up its limit."


@dataclass(frozen=True)
class Transfer:
    """A pull or push that an Engine is asked for; ``platform`` is that of the image to pull."""

    right: Right
    reference: Reference
    login: Login | None = None
    platform: Platform | None = None

    def __str__(self) -> str:
        """Return the start of a sentence about its failure."""
        return str(EngineOperation(self.right, self.reference))


@asynccontextmanager
async def second_opinion(
    transfer: Transfer, tools: Tools, *, has_moved: Callable[[], bool] = lambda: True
) -> AsyncIterator[None]:
    """Weigh an error of the Engine within the block against what the registry says then.

    ``has_moved`` tells whether a byte was transferred; if none was, the Engine may have been busy
    with other transfers of this worker.

    Raises:
        EngineError: the weighed error, with the Engine's words as its message or evidence.
    """
    begun = time.monotonic()
    with tools.transfers.counting(transfer.right):
        try:
            yield
        except EngineError as error:
            if not is_worth_asking(error):
                raise
            seconds = time.monotonic() - begun
            waited_for = 0 if has_moved() else tools.transfers.others(transfer.right)
            raise await explain(
                error, transfer, tools, seconds=seconds, waited_for=waited_for
            ) from error


def is_worth_asking(error: EngineError) -> bool:
    """Return whether the registry may know more about the error of a transfer."""
    return not error.is_certain or error.code in ASKED_CODES


async def explain(
    error: EngineError,
    transfer: Transfer,
    tools: Tools,
    *,
    seconds: float = 0.0,
    waited_for: int = 0,
) -> EngineError:
    """Return the error of a failed transfer, weighed against what the registry says now."""
    found = await ask(transfer, tools, with_parts=True)
    return combine(
        error, transfer, found, tools.engine_certificates, seconds=seconds, waited_for=waited_for
    )


def combine(
    error: EngineError,
    transfer: Transfer,
    found: Findings,
    certificates: EngineCertificates,
    *,
    seconds: float = 0.0,
    waited_for: int = 0,
) -> EngineError:
    """Return the error that both sides' findings lead to, without the login's secret."""
    report = EngineReport(
        FaultCode(error.code),
        error.message,
        error.is_certain,
        remedy="" if error.remedy == FAULTS[FaultCode(error.code)].remedy else error.remedy,
        evidence=error.evidence,
        seconds=seconds,
        waited_for=waited_for,
    )
    opinion = weigh(str(transfer), report, _report(found))
    return EngineError(
        opinion.code,
        redact(opinion.message, transfer.login),
        remedy=_adapt(opinion.remedy, opinion.code, transfer, certificates),
        evidence=redact(opinion.evidence, transfer.login),
        stage=opinion.stage,
        retry_after_seconds=opinion.retry_after_seconds,
        is_certain=opinion.is_certain,
    )


async def look_ahead(transfer: Transfer, tools: Tools) -> Findings:
    """Raise what the registry says at once, and what the Engine would report after a minute.

    A registry that only the Engine may reach is left to the Engine.

    Raises:
        RegistryError: the registry refuses the transfer.
    """
    found = await ask(transfer, tools, with_parts=False)
    error = found.error
    if error is None or error.code in PLACE_CODES:
        return found
    raise _make_refusal(error, transfer, found.stage, tools) from error


async def find_engine_login(transfer: Transfer, tools: Tools) -> EngineLogin | None:
    """Return the login that the Engine may be given for a transfer, as `Tools.engine_login`.

    Where that cannot be checked, the registry is asked with the login, which may be the reason.

    Raises:
        RefusedNetworkError: the registry's address is not allowed here.
        RegistryError: ``auth_unsafe_realm``, or why the registry cannot be asked.
    """
    try:
        return await tools.engine_login(transfer.login, transfer.reference)
    except RegistryError as error:
        if error.is_certain:
            raise _make_refusal(error, transfer, Stage.AUTH, tools) from error
        found = await ask(transfer, tools, with_parts=False)
        raise _make_refusal(found.error or error, transfer, found.stage, tools) from error


def _make_refusal(
    error: RegistryError, transfer: Transfer, stage: Stage, tools: Tools
) -> RegistryError:
    return RegistryError(
        FaultCode(error.code),
        name_subject(str(transfer), error.message),
        remedy=_adapt(error.remedy, FaultCode(error.code), transfer, tools.engine_certificates),
        evidence=error.evidence,
        stage=stage,
        retry_after_seconds=error.retry_after_seconds,
    )


async def ask(transfer: Transfer, tools: Tools, *, with_parts: bool) -> Findings:
    """Return what the registry says about a transfer; nothing, if only the Engine can ask it.

    Where each manifest that is read counts as a pull, none is read.
    """
    nothing = Findings(Stage.PARSE)
    try:
        async with asyncio.timeout(LIMIT.total_seconds()):
            settings = await tools.connection_settings()
    except (WharfError, TimeoutError):
        return nothing
    is_counted = counts_manifests(transfer.reference.registry)
    found = await inquire(
        Inquiry(
            transfer.reference,
            transfer.login,
            transfer.right,
            platform=None if is_counted else transfer.platform,
            with_parts=with_parts and not is_counted,
        ),
        settings,
    )
    hostname = parse_registry(transfer.reference.registry).hostname
    is_elsewhere = found.error is not None and found.error.code in PLACE_CODES
    return nothing if is_elsewhere and settings.proxy.applies_to(hostname) else found


def _adapt(
    remedy: str, code: FaultCode, transfer: Transfer, certificates: EngineCertificates
) -> str:
    """Return the remedy in the terms of the registry's provider, if it is the general one.

    A transfer that has a login is not advised to log in.
    """
    registry = transfer.reference.registry
    remedy = certificates.advise(remedy, code, registry, transfer.login)
    if remedy != FAULTS[code].remedy:
        return remedy
    has_login = transfer.login is not None and transfer.login.secret.get_secret_value()
    if code is FaultCode.RATE_LIMITED and has_login:
        return LIMITED_PULL_REMEDY if transfer.right == "pull" else LIMITED_PUSH_REMEDY
    return find_remedy(registry, code) or remedy


def _report(found: Findings) -> RegistryReport:
    error = found.error
    return RegistryReport(
        found.stage,
        FaultCode(error.code) if error else None,
        message=error.message if error else "",
        remedy=error.remedy if error else "",
        evidence=error.evidence if error else "",
        retry_after_seconds=error.retry_after_seconds if error else None,
        is_complete=found.is_complete,
        is_open=found.is_open,
        has_logged_in=found.has_logged_in,
        has_image=found.image is not None,
        seconds=found.seconds,
    )
