"""Test a registry from this server: with the probe, and with the server's Engine beside it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from shared.coroutines import end
from shared.errors import EngineError, RegistryError
from shared.faults import FAULTS, FaultCode
from shared.jobs.commands import RegistryTest
from shared.jobs.diagnosis import Outcome, ProbeReport, Stage, StageResult
from shared.reference import Reference, parse_registry
from worker.engine import images
from worker.jobs.attempt import NegativeResultError
from worker.jobs.tools import Tools
from worker.login import Grants, Login
from worker.oci.probe import ProbeRequest, probe
from worker.oci.probe_stages import OnStage
from worker.oci.transport.settings import ConnectionSettings

ENGINE_CAN_LOG_IN = "Docker on this server logs in there too"
ENGINE_SECONDS = 8.0
PING_SECONDS = 1.0
ENGINE_PAUSE_SECONDS = 0.5
RUN_AGAIN_SECONDS = 5.0
"""A failure that took longer leaves no time for a second run."""

RunStages = Callable[[ConnectionSettings], Awaitable[ProbeReport]]


async def run_test(
    command: RegistryTest,
    grants: Grants,
    tools: Tools,
    *,
    engine_seconds: float = ENGINE_SECONDS,
    on_stage: OnStage = lambda _: None,
) -> ProbeReport:
    """Test the registry and return the report if it passed every stage.

    ``on_stage`` gets the result of each stage that was run; a second run begins with the first one.

    Raises:
        NegativeResultError: a stage failed; it carries the whole report.
        RegistryError: ``auth_missing``, the test needs a login.
    """
    if not grants.grants:
        raise RegistryError(FaultCode.AUTH_MISSING, f"the job has no login for {command.host}")
    [grant] = grants.grants
    request = ProbeRequest(
        url=grant.login.host,
        login=grant.login,
        repository=grant.repository,
        rights=grant.rights,
        warnings=command.warnings,
    )
    run = partial(
        _run_stages,
        request,
        grant.login,
        tools,
        engine_seconds=engine_seconds,
        on_stage=on_stage,
    )
    report = await _run_with_settings(run, tools)
    fault = report.fault()
    if fault is not None:
        raise NegativeResultError(fault, report)
    return report


async def _run_with_settings(run: RunStages, tools: Tools) -> ProbeReport:
    """Run the stages with the Engine's settings of some seconds ago, if they are known.

    A failure is judged by the present ones: if they differ, the stages are run again.
    """
    begun = time.monotonic()
    recent = tools.recent_settings()
    if recent is None:
        return await run(await tools.connection_settings())
    report = await run(recent)
    if report.fault() is None or time.monotonic() - begun > RUN_AGAIN_SECONDS:
        return report
    present = await tools.connection_settings()
    return report if present.is_same_engine(recent) else await run(present)


async def _run_stages(
    request: ProbeRequest,
    login: Login,
    tools: Tools,
    settings: ConnectionSettings,
    *,
    engine_seconds: float,
    on_stage: OnStage,
) -> ProbeReport:
    logins: list[asyncio.Task[StageResult]] = []
    left: list[Coroutine[Any, Any, None]] = []

    def ask_engine(before: ProbeReport) -> None:
        if _has_safe_destinations(before):
            tools.destinations.remember(login.host, login.tls)
        target = Reference(before.host, before.repository, "latest")
        work = _ask_engine(target, login, tools, engine_seconds)
        logins.append(asyncio.create_task(work))

    try:
        report = await probe(
            request, settings, on_login=ask_engine, on_stage=on_stage, clean_up=left.append
        )
        return await _add_engine(report, logins, on_stage)
    finally:
        try:
            await end(*logins)
        finally:
            # Not before: the registry serves the Engine's login first.
            for work in left:
                tools.clean_ups.start(work)


def _has_safe_destinations(report: ProbeReport) -> bool:
    """Return whether the test checked every token server that the registry names at ``/v2/``."""
    return any(
        result.stage is Stage.AUTH and result.outcome is Outcome.OK for result in report.stages
    )


async def _add_engine(
    report: ProbeReport, logins: Sequence[asyncio.Task[StageResult]], on_stage: OnStage
) -> ProbeReport:
    """Add the stage of the Engine's login, which was started beside the last stages."""
    if report.fault() is not None:
        return report.with_stage(StageResult(stage=Stage.ENGINE, outcome=Outcome.NOT_RUN))
    if not logins:
        text = "not asked: Docker logs in at Docker Hub itself, and not at its mirror"
        skipped = StageResult(stage=Stage.ENGINE, outcome=Outcome.SKIPPED, evidence=text)
        return report.with_stage(skipped, not_verified=ENGINE_CAN_LOG_IN)
    result = await logins[0]
    on_stage(result)
    if result.outcome is Outcome.OK:
        return report.with_stage(result, verified=ENGINE_CAN_LOG_IN)
    return report.with_stage(result, not_verified=ENGINE_CAN_LOG_IN)


async def _ask_engine(target: Reference, login: Login, tools: Tools, seconds: float) -> StageResult:
    """Log in with the Engine, which has its own DNS, proxy, certificates and clock.

    An Engine that does not answer, or may not be asked, says nothing about the registry: the test
    passes, with a warning.
    """
    begun = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            await _log_in(target, login, tools)
    except (EngineError, RegistryError, TimeoutError) as error:
        result = await _make_result(error, target.registry, login, tools)
    else:
        result = StageResult(stage=Stage.ENGINE, outcome=Outcome.OK)
    return result.model_copy(update={"milliseconds": _since(begun)})


async def _log_in(target: Reference, login: Login, tools: Tools) -> None:
    """Log in with the Engine; an Engine that is just restarting is asked a second time."""
    given = await tools.engine_login(login, target)
    if given is None:
        return
    host = parse_registry(login.host)
    try:
        await images.authenticate(tools.engine, host, given)
    except EngineError as error:
        if error.code != FaultCode.ENGINE_UNREACHABLE:
            raise
        await asyncio.sleep(ENGINE_PAUSE_SECONDS)
        await images.authenticate(tools.engine, host, given)


async def _make_result(
    error: EngineError | RegistryError | TimeoutError, registry: str, login: Login, tools: Tools
) -> StageResult:
    if isinstance(error, TimeoutError) and await _answers(tools):
        code = FaultCode.CONN_TIMEOUT
        evidence = "Docker on this server answers, but it got no answer from the registry in time"
    elif isinstance(error, TimeoutError):
        evidence = "not asked: Docker on this server did not answer in time"
        return _make_warning(FaultCode.ENGINE_UNREACHABLE, evidence)
    else:
        code, evidence = FaultCode(error.code), error.message
    if code is FaultCode.CONN_RESET and login.tls.client_certificate:
        # With TLS 1.3 a server often cuts the connection of a client without a certificate.
        code = FaultCode.TLS_CLIENT_CERT
        evidence = f"{evidence}; the registry has a client certificate that Docker may not use"
    if code is FaultCode.ENGINE_UNREACHABLE:
        return _make_warning(code, f"not asked: {evidence}")
    if code is FaultCode.TLS_NOT_OFFERED and login.tls.plain_http and await _is_podman(tools):
        text = (
            "not asked: Podman logs in over TLS only; its registries.conf has to allow plain HTTP"
        )
        return StageResult(stage=Stage.ENGINE, outcome=Outcome.SKIPPED, evidence=text)
    if code is FaultCode.BLOCKED_BY_PROXY and isinstance(error, EngineError):
        # The registry has just answered from here; so this is a proxy before Docker's socket.
        text = "not asked: a proxy before Docker's socket refuses the call POST /auth"
        return StageResult(stage=Stage.ENGINE, outcome=Outcome.SKIPPED, evidence=text)
    return StageResult(
        stage=Stage.ENGINE,
        outcome=Outcome.FAILED,
        code=code,
        evidence=evidence,
        remedy=tools.engine_certificates.advise(FAULTS[code].remedy, code, registry, login),
    )


async def _is_podman(tools: Tools) -> bool:
    with suppress(EngineError):
        return (await tools.engine.info()).is_podman
    return False


async def _answers(tools: Tools) -> bool:
    try:
        async with asyncio.timeout(PING_SECONDS):
            await tools.engine.ping()
    except (EngineError, TimeoutError):
        return False
    return True


def _make_warning(code: FaultCode, evidence: str) -> StageResult:
    return StageResult(
        stage=Stage.ENGINE,
        outcome=Outcome.WARNING,
        code=code,
        evidence=evidence,
        remedy=FAULTS[code].remedy,
    )


def _since(begun: float) -> float:
    return round((time.monotonic() - begun) * 1000, 1)
