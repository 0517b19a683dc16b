"""The metrics, read by Prometheus's own parser."""

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx2
import psycopg
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from api.operations.http_metrics import CountRequests, HttpMetrics
from api.operations.metrics import Metrics
from api.operations.row_counts import ATTEMPTS, UNDER_WAY
from shared.ids import make_id
from shared.jobs.commands import Kind
from shared.models import RotationState
from tests.api.asking import create_registry, open_client
from tests.api.events.reading import heartbeat, open_reader, serving
from tests.api.fleet import TestServer
from tests.databases import Database
from worker.control.maintenance.job_statistics import count_ended_jobs

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def database(own_database: Database) -> Database:
    """Some of these tests change tables."""
    return own_database


async def scrape(app: Starlette) -> Samples:
    """All samples, counted afresh."""
    answer = await Metrics().answer(app.state.resources)
    return parse(bytes(answer.body).decode())


def parse(text: str) -> Samples:
    families = text_string_to_metric_families(text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


async def count_ended(database: Database) -> None:
    """Do what control does every second."""
    url = database.url("wharf_control")
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as connection:
        await count_ended_jobs(connection)


def at(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"wharf_{name}", frozenset(labels.items())))


async def pull(client: httpx2.AsyncClient, image: str = "nginx") -> str:
    answer = await client.post("/api/image.pull", json={"image": image})
    return str(answer.json()["jobId"])


async def test_an_empty_control_plane_has_metrics_too(app: Starlette) -> None:
    samples = await scrape(app)

    assert at(samples, "controls") == 0
    assert at(samples, "event_readers") == 0
    assert at(samples, "rate_limited_total") == 0
    assert at(samples, "removed_server_roles") == 0
    ratio = at(samples, "notification_queue_ratio")
    assert ratio is not None
    assert ratio < 0.1
    for kind in Kind:
        assert at(samples, "jobs", kind=kind, state="queued") == 0
        assert at(samples, "queue_age_seconds", kind=kind) == 0
        assert at(samples, "jobs_finished_total", kind=kind, outcome="failed", code="") == 0
        assert at(samples, "job_wait_seconds_count", kind=kind) == 0
        assert at(samples, "job_run_seconds_bucket", kind=kind, le="+Inf") == 0
    assert at(samples, "transfer_bytes_total", kind="image.pull") == 0
    assert at(samples, "http_requests_total", procedure="other", status="200") == 0


async def test_a_broker_that_fills_is_reported(app: Starlette, database: Database) -> None:
    database.execute(
        "INSERT INTO control (control_id, version, broker_error, broker_memory)"
        " VALUES ('c', '0', 'full', 0.95)"
    )

    samples = await scrape(app)

    assert (at(samples, "broker_bad"), at(samples, "broker_memory_ratio")) == (1, 0.95)


async def test_digests_that_control_asked_for_are_counted_by_outcome(
    app: Starlette, client: httpx2.AsyncClient, database: Database, server: TestServer
) -> None:
    checks = [("missing", None), ("not_reached", "dns_failure"), ("not_reached", "dns_failure")]
    for number, (outcome, code) in enumerate(checks):
        database.execute(
            "INSERT INTO digest_check (job_id, outcome, code) VALUES (%s, %s, %s)",
            *(await pull(client, f"app:{number}"), outcome, code),
        )

    samples = await scrape(app)

    assert at(samples, "recent_digest_checks", outcome="missing", code="") == 1
    assert at(samples, "recent_digest_checks", outcome="not_reached", code="dns_failure") == 2


async def test_waiting_running_and_ended_jobs_are_counted(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    await pull(client, "a")
    job = await server.next_job()
    await heartbeat(server, job.job_id, 1, 700, 300)
    await server.finish(job, "succeeded", result={})
    await pull(client, "b")
    await server.fail_next({"code": "registry_error", "message": "x", "retryable": False})
    await pull(client, "c")
    await server.next_job()
    waiting = await pull(client, "d")
    database.execute(
        "UPDATE job SET run_at = now() - interval '90 seconds' WHERE job_id = %s", waiting
    )
    database.execute("INSERT INTO control (control_id, version) VALUES ('c', '0')")
    await count_ended(database)

    samples = await scrape(app)

    kind = {"kind": "image.pull"}
    assert at(samples, "jobs", **kind, state="queued") == 1
    assert at(samples, "jobs", **kind, state="running") == 1
    assert 90 <= (at(samples, "queue_age_seconds", **kind) or 0) < 100
    assert at(samples, "jobs_finished_total", **kind, outcome="succeeded", code="") == 1
    assert at(samples, "jobs_finished_total", **kind, outcome="failed", code="registry_error") == 1
    assert at(samples, "transfer_bytes_total", **kind) == 1000
    assert at(samples, "job_run_seconds_count", **kind) == 2
    assert 0 < (at(samples, "job_run_seconds_sum", **kind) or 0) < 10
    assert at(samples, "recent_attempts", outcome="succeeded") == 1
    assert at(samples, "recent_attempts", outcome="open") == 1
    assert at(samples, "servers", state="online") == 1
    assert at(samples, "controls") == 1


async def test_a_lost_lease_and_the_retry_are_counted_however_long_the_job_runs(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    await pull(client)
    await server.next_job()
    database.execute("UPDATE job SET lease_until = now() - interval '1 second'")
    await server.sweep()
    database.execute("UPDATE job SET run_at = now()")
    await server.next_job()
    hours_ago = await scrape_at(app, timedelta(hours=5))

    for samples in (await scrape(app), hours_ago):
        assert at(samples, "recent_attempts", outcome="lost") == 1
        assert at(samples, "recent_retries", outcome="open") == 1
        assert at(samples, "jobs_failed_before", kind="image.pull", state="running") == 1


async def scrape_at(app: Starlette, later: timedelta) -> Samples:
    """As if the jobs were so much older."""
    metrics = Metrics(clock=lambda: time.time() + later.total_seconds())
    answer = await metrics.answer(app.state.resources)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(bytes(answer.body).decode())
        for sample in family.samples
    }


async def test_servers_are_online_away_or_new(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    for name in ("never", "gone"):
        await client.post("/api/server.create", json={"name": name})
    database.execute("UPDATE server SET removed_at = now() WHERE name = 'gone'")
    database.execute(
        "UPDATE server SET seen_at = now() - interval '16 seconds' WHERE name = 'alpha'"
    )

    samples = await scrape(app)

    assert at(samples, "servers", state="away") == 1
    assert at(samples, "servers", state="new") == 1
    assert at(samples, "servers", state="online") == 0


async def test_rows_that_control_sets_aside_are_counted_until_they_are_handled(
    app: Starlette, database: Database
) -> None:
    for row, next_at in (("a", "now()"), ("b", "now()"), ("c", "now() - interval '3 minutes'")):
        database.execute(
            "INSERT INTO set_aside (service, row_id, code, message, next_at)"
            f" VALUES ('automatic_rollback', '{row}', 'ref_invalid', '', {next_at})"
        )

    samples = await scrape(app)

    assert at(samples, "rows_set_aside", service="automatic_rollback", code="ref_invalid") == 2


async def test_the_page_needs_no_key_names_nothing_and_is_kept_for_five_seconds(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer
) -> None:
    async with open_client(app, None) as nobody:
        before = await nobody.get("/metrics")
        await pull(client, "registry.example/secret-project")
        after = await nobody.get("/metrics")

    assert before.status_code == 200
    assert before.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert before.text == after.text
    now = [name for name, _ in await scrape(app)]
    assert "secret-project" not in str(now) and "alpha" not in str(await scrape(app))


async def test_open_streams_are_counted(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer
) -> None:
    job_id = await pull(client)
    async with serving(app) as (_, url), open_reader(url, job_id) as reader:
        await reader.until("snapshot", state="queued")

        assert at(await scrape(app), "event_readers") == 1


async def test_without_the_database_it_is_503(app: Starlette) -> None:
    await app.state.resources.pool.close()
    async with open_client(app, None) as nobody:
        assert (await nobody.get("/metrics")).status_code == 503


async def test_durations_are_counted_in_every_bucket_that_holds_them(
    app: Starlette, database: Database
) -> None:
    for up_to, jobs, seconds in ((0.5, 3, 1.2), (60.0, 2, 80.0), (70.0, 1, 65.0)):
        database.execute(
            "INSERT INTO job_duration VALUES ('image.push', 'running', %s, %s, %s)",
            *(up_to, jobs, seconds),
        )

    samples = await scrape(app)

    def bucket(bound: str) -> float | None:
        return at(samples, "job_run_seconds_bucket", kind="image.push", le=bound)

    assert [bucket(one) for one in ("0.25", "0.5", "30.0", "60.0")] == [0, 3, 3, 5]
    # A bound of another version counts at the next one.
    assert [bucket(one) for one in ("300.0", "+Inf")] == [6, 6]
    assert at(samples, "job_run_seconds_count", kind="image.push") == 6
    assert at(samples, "job_run_seconds_sum", kind="image.push") == pytest.approx(146.2)


async def test_requests_are_counted_by_procedure_and_status_and_none_makes_a_label(
    app: Starlette, client: httpx2.AsyncClient
) -> None:
    for path in ("registry.all", "registry.all", "secret-name.one", "job.one?jobId=secret-id"):
        await client.get(f"/api/{path}")
    await client.get("/api/trpc/registry.all,server.all?batch=1")
    await client.get("/api/trpc/another-secret")
    await client.get("/secret-page")
    await client.get("/healthz")
    async with open_client(app, None) as nobody:
        await nobody.get("/api/registry.all")
        text = (await nobody.get("/metrics")).text

    samples = parse(text)
    found = {
        (dict(labels)["procedure"], dict(labels)["status"]): value
        for (name, labels), value in samples.items()
        if name == "wharf_http_requests_total" and value
    }
    assert found == {
        ("registry.all", "200"): 2,
        ("registry.all", "401"): 1,
        ("job.one", "404"): 1,
        ("unknown", "404"): 2,
        ("batch", "200"): 1,
        ("other", "404"): 1,
        ("/healthz", "200"): 1,
    }
    assert at(samples, "http_request_seconds_count", procedure="registry.all") == 3
    assert "secret" not in text


async def test_a_request_that_fails_or_loses_its_client_is_counted_too() -> None:
    metrics = HttpMetrics()

    async def fail(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ValueError("a defect")

    async def be_left(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise asyncio.CancelledError

    async def never(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(ValueError, match="a defect"):
        await CountRequests(fail, metrics)({"type": "http"}, never, never)
    with pytest.raises(asyncio.CancelledError):
        await CountRequests(be_left, metrics)({"type": "http"}, never, never)

    samples = parse(generate_latest(metrics).decode())
    assert at(samples, "http_requests_total", procedure="other", status="500") == 1
    assert at(samples, "http_requests_total", procedure="other", status="499") == 1


@pytest.mark.parametrize("query", [UNDER_WAY, ATTEMPTS])
async def test_nothing_scans_the_jobs_that_ended_long_ago(
    query: str, client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    database.execute("ALTER TABLE job DISABLE TRIGGER USER")
    database.execute(
        "INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class, command,"
        " state, finished_at, max_failures, timeout_seconds)"
        " SELECT '00000000-0000-7000-8000-' || lpad(n::text, 12, '0'), organization_id, %s,"
        " 'image.pull', 1, 'transfer', '{}', 'cancelled', now(), 1, 1"
        " FROM generate_series(1, 20000) n, organization",
        server.server_id,
    )
    database.execute(
        "INSERT INTO job_attempt (job_id, attempt, server_id, outcome, ended_at)"
        " SELECT job_id, 1, server_id, 'cancelled', now() FROM job"
    )
    database.execute("ANALYZE job, job_attempt")

    since = "018bcfe5-687b-7000-8000-000000000000"
    rows = database.execute("EXPLAIN " + query.replace("%(since)s", f"'{since}'"))

    assert "Seq Scan" not in "\n".join(str(row[0]) for row in rows)


async def test_services_of_all_control_processes_at_work_are_added_up(
    app: Starlette, database: Database
) -> None:
    for age, runs in (("0 s", 3), ("5 s", 4), ("11 s", 100)):
        database.execute(
            "INSERT INTO control (control_id, version, seen_at, services)"
            " VALUES (%s, '1', now() - %s::interval, %s)",
            age,
            age,
            Jsonb({"sweep": {"runs": runs, "failures": 1, "seconds": 0.5}}),
        )

    samples = await scrape(app)

    assert at(samples, "control_service_runs", service="sweep") == 7
    assert at(samples, "control_service_failures", service="sweep") == 2
    assert at(samples, "control_service_seconds", service="sweep") == 1


async def test_sources_of_logins_are_counted_by_state_and_the_first_end_is_shown(
    app: Starlette, client: httpx2.AsyncClient, database: Database
) -> None:
    keys = {"kind": "ecr", "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "secretAccessKey": "secret"}
    cloud = {"registryUrl": "123456789012.dkr.ecr.eu-central-1.amazonaws.com", "credential": keys}
    assert at(await scrape(app), "credential_expires_seconds") is None
    for name, hours, error in (
        ("pending", None, None),
        ("current", 6, None),
        ("failing", 2, '{"code": "x"}'),
        ("without_login", -1, '{"code": "x"}'),
    ):
        answer = await client.post("/api/registry.create", json={"registryName": name, **cloud})
        registry_id = answer.json()["registryId"]
        database.execute(
            "UPDATE registry SET password_expires_at = now() + make_interval(hours => %s)"
            " WHERE registry_id = %s",
            *(hours, registry_id),
        )
        database.execute(
            "UPDATE credential_source SET error = %s WHERE registry_id = %s", error, registry_id
        )

    samples = await scrape(app)

    for state in ("pending", "current", "failing", "without_login"):
        assert at(samples, "credentials", state=state) == 1
    assert -3700 < (at(samples, "credential_expires_seconds") or 0) < -3500


async def test_certificates_of_registries_are_counted_by_state_and_the_first_end_is_shown(
    app: Starlette, client: httpx2.AsyncClient, database: Database
) -> None:
    assert at(await scrape(app), "registry_certificate_expires_seconds") is None
    for name, days in (("a", [400, 31]), ("b", [29, -1]), ("c", [])):
        registry_id = (await create_registry(client, registryName=name))["registryId"]
        database.execute(
            "UPDATE registry SET certificates = (SELECT coalesce(jsonb_agg(jsonb_build_object("
            " 'not_after', now() + make_interval(days => days))), '[]')"
            " FROM unnest(%s::int[]) AS days) WHERE registry_id = %s",
            *(days, registry_id),
        )

    samples = await scrape(app)

    for state, number in (("current", 2), ("due", 1), ("expired", 1)):
        assert at(samples, "registry_certificates", state=state) == number
    assert -86500 < (at(samples, "registry_certificate_expires_seconds") or 0) < -86300


async def test_registries_are_counted_by_their_newest_rotation(
    app: Starlette, client: httpx2.AsyncClient, database: Database
) -> None:
    assert at(await scrape(app), "rotation_age_seconds") == 0
    for name, *states in (("a", "refused", "dropped"), ("b", "dropped", "refused"), ("c",)):
        registry_id = (await create_registry(client, registryName=name))["registryId"]
        for number, state in enumerate(states):
            database.execute(
                "INSERT INTO rotation (rotation_id, organization_id, registry_id, state, error,"
                " created_at, finished_at) SELECT %s, organization_id, registry_id, %s, %s,"
                " now() + make_interval(secs => %s), now() FROM registry WHERE registry_id = %s",
                *(make_id(), state, "{}" if state == "refused" else None, number, registry_id),
            )
    answer = await client.post(
        "/api/registry.rotate",
        json={"registryId": registry_id, "password": "the new password"},
        headers={"Prefer": "respond-async"},
    )
    assert answer.json()["state"] == "testing"
    database.execute(
        "UPDATE rotation SET created_at = now() - interval '5 minutes' WHERE state = 'testing'"
    )

    samples = await scrape(app)

    for state in RotationState:
        expected = 1 if state in {"testing", "dropped", "refused"} else 0
        assert at(samples, "registry_rotations", state=state) == expected
    assert 300 <= (at(samples, "rotation_age_seconds") or 0) < 310


async def test_limits_of_registries_and_the_jobs_that_wait_for_them_are_counted(
    app: Starlette, client: httpx2.AsyncClient, server: TestServer
) -> None:
    assert at(await scrape(app), "registry_quota_remaining") is None
    seen = {"host": "docker.io", "limit": 100, "window_seconds": 3600}
    for remaining in (42, 0):
        await pull(client)
        job = await server.next_job()
        report = {**seen, "remaining": remaining}
        await server.finish(job, "succeeded", result={}, quotas=[report])
        samples = await scrape(app)
        assert at(samples, "registry_quota_remaining") == remaining
    await pull(client)

    samples = await scrape(app)

    assert at(samples, "registry_quotas_blocked") == 1
    assert at(samples, "jobs_waiting_for_quota") == 1
