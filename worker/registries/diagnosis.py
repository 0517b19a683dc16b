"""Test a registry from this server: first with the probe, then with the server's Engine."""

import asyncio
import time

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
from worker.oci.transport.settings import ConnectionSettings

ENGINE_CAN_LOG_IN = "Docker on this server logs in there too"
ENGINE_SECONDS = 5.0


async def run_test(command: RegistryTest, grants: Grants, tools: Tools) -> ProbeReport:
    """Test the registry and return the report if it passed every stage.

    Raises:
        NegativeResultError: a stage failed; it carries the whole report.
        RegistryError: ``auth_missing``, the test needs a login.
    """
    if not grants.grants:
        raise RegistryError(FaultCode.AUTH_MISSING, f"the job has no login for {command.host}")
    [grant] = grants.grants
    settings, engine_error = await _settings(tools)
    report = await probe(
        ProbeRequest(
            url=grant.login.host,
            login=grant.login,
            repository=grant.repository,
            rights=grant.rights,
            warnings=command.warnings,
        ),
        settings,
    )
    report = await _ask_engine(report, grant.login, tools, engine_error)
    fault = report.fault()
    if fault is not None:
        raise NegativeResultError(fault, report)
    return report


async def _settings(tools: Tools) -> tuple[ConnectionSettings, EngineError | None]:
    try:
        return await tools.connection_settings(), None
    except EngineError as error:
        return ConnectionSettings(tools.networks), error


async def _ask_engine(
    report: ProbeReport, login: Login, tools: Tools, engine_error: EngineError | None
) -> ProbeReport:
    """Add the stage of the Engine's login: it has its own DNS, proxy, certificates and clock."""
    if report.fault() is not None:
        return report.with_stage(StageResult(stage=Stage.ENGINE, outcome=Outcome.NOT_RUN))
    begun = time.monotonic()
    try:
        if engine_error is not None:
            raise engine_error
        async with asyncio.timeout(ENGINE_SECONDS):
            seen = Reference(report.host, report.repository, "latest")
            given = await tools.engine_login(login, seen)
            if given is not None:
                await images.authenticate(tools.engine, parse_registry(login.host), given)
    except (EngineError, RegistryError, TimeoutError) as error:
        code, evidence = _fault(error)
        failed = StageResult(
            stage=Stage.ENGINE,
            outcome=Outcome.FAILED,
            code=code,
            milliseconds=_since(begun),
            evidence=evidence,
            remedy=FAULTS[code].remedy,
        )
        return report.with_stage(failed, not_verified=ENGINE_CAN_LOG_IN)
    passed = StageResult(stage=Stage.ENGINE, outcome=Outcome.OK, milliseconds=_since(begun))
    return report.with_stage(passed, verified=ENGINE_CAN_LOG_IN)


def _fault(error: EngineError | RegistryError | TimeoutError) -> tuple[FaultCode, str]:
    if not isinstance(error, TimeoutError):
        return FaultCode(error.code), error.message
    return FaultCode.CONN_TIMEOUT, f"Docker did not answer within {ENGINE_SECONDS:g} s"


def _since(begun: float) -> float:
    return round((time.monotonic() - begun) * 1000, 1)
