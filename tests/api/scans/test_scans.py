"""Scan policies, the scans that builds lead to, and the search for a package."""

from typing import Any

import httpx2

from shared.jobs.commands import ImageScan, parse_command
from shared.jobs.store.release import Released
from tests.api.deploying import DIGEST, create_deployable, reconcile
from tests.api.fleet import TestServer
from tests.api.signatures.test_signatures import ask, look
from tests.databases import Database

SBOM = {"format": "spdx", "tool": "syft", "toolVersion": "1.18.1", "packages": 3}
PACKAGES = {
    "deb": ["openssl@3.0.15-1~deb12u1", "libc6@2.36-9", "no version", 7, ["nested"]],
    "npm": ["@types/node@22.1.0"],
    "nothing": "text",
}
FINDING = {
    "vulnerability": "CVE-2025-0001",
    "package": "openssl",
    "version": "3.0.15-1~deb12u1",
    "severity": "critical",
}
FOUND = {
    "scanner": "trivy",
    "scannerVersion": "0.58.1",
    "databaseBuiltAt": "2026-11-29T06:17:51Z",
    "counts": {"critical": 1},
    "findings": [FINDING],
}

UNLISTED = """
UPDATE image_report SET vulnerabilities = vulnerabilities
  || '{"counts": {"critical": 2}, "leftOut": 1}'
"""

RUNNING = {
    "digest": DIGEST,
    "imageId": DIGEST,
    "containerId": "c" * 64,
    "gapSeconds": 0.5,
}


def report(**parts: Any) -> dict[str, Any]:
    return {"reference": "any", "digest": DIGEST, **parts}


async def run_all(server: TestServer, scanned: dict[str, Any]) -> list[Released]:
    """Do the jobs of a build and its deployment; ``scanned`` is how the scan finishes."""
    done: list[Released] = []
    while jobs := await server.release():
        for job in jobs:
            await server.claim(job)
            if job.kind == "image.scan":
                await server.finish(job, **scanned)
            elif job.kind == "container.replace":
                result = {**RUNNING, "reference": job.command["reference"]}
                await server.finish(job, "succeeded", result=result)
            else:
                result = {"reference": "any", "digest": DIGEST}
                await server.finish(job, "succeeded", result=result)
            done.append(job)
        await reconcile(server)
    return done


async def test_an_application_has_the_organizations_policy_until_it_gets_its_own(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    chosen = {"applicationId": (await create_deployable(client, [server]))["applicationId"]}
    exception = {"vulnerability": "CVE-2025-0001", "reason": "x", "until": "2027-01-01T00:00:00Z"}

    nothing = await look(client, "scanPolicy.one", **chosen)
    await ask(client, "scanPolicy.set", mode="enforce", exceptions=[exception])
    inherited = await look(client, "scanPolicy.one", **chosen)
    own = await ask(client, "scanPolicy.set", sbom="spdx", maxSeverity="low", **chosen)
    back = await ask(client, "scanPolicy.set", inherit=True, **chosen)

    assert (nothing["sbom"], nothing["mode"], nothing["source"]) == ("off", "off", "organization")
    assert inherited["exceptions"][0]["until"] == "2027-01-01T00:00:00.000Z"
    assert (own["sbom"], own["maxSeverity"], own["source"]) == ("spdx", "low", "application")
    assert back == inherited
    await ask(client, "scanPolicy.set", 400, inherit=True)
    local = {**exception, "until": "2027-01-01T00:00:00"}
    await ask(client, "scanPolicy.set", 400, exceptions=[local])


async def test_a_build_is_scanned_and_its_packages_are_found_where_they_run(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    chosen = {"applicationId": application["applicationId"]}
    await ask(client, "scanPolicy.set", sbom="spdx", mode="warn")
    found = report(sbom=SBOM, packages=PACKAGES, vulnerabilities=FOUND, warnings=["w"])
    accepted = await ask(client, "application.deploy", **chosen)

    done = await run_all(server, {"outcome": "succeeded", "result": found})

    [scan] = [job for job in done if job.kind == "image.scan"]
    command = parse_command(scan.kind, scan.command)
    assert isinstance(command, ImageScan) and command.attach and command.scan
    assert command.reference.endswith(f"@{DIGEST}") and command.policy.sbom == "spdx"
    build = await look(client, "build.one", buildId=accepted["deploymentId"])
    assert build["state"] == "succeeded" and build["jobIds"][-1] == scan.job_id
    assert build["scan"]["packages"] == 3 and build["scan"]["counts"]["critical"] == 1
    job = await look(client, "job.one", jobId=scan.job_id)
    assert job["result"]["warnings"] == ["w"] and "packages" not in job["result"]
    assert "findings" not in job["result"]["vulnerabilities"]
    known = await look(client, "scan.one", digest=DIGEST)
    assert known["vulnerabilities"]["findings"][0]["vulnerability"] == "CVE-2025-0001"
    assert known["vulnerabilities"]["databaseBuiltAt"] == "2026-11-29T06:17:51.000Z"
    packages = await look(client, "sbom.packages", digest=DIGEST)
    assert [one["name"] for one in packages] == ["libc6", "openssl", "@types/node"]
    older = await look(client, "sbom.search", name="OpenSSL", below="3.0.16")
    newer = await look(client, "sbom.search", name="openssl", below="3.0.15-1~deb12u1", **chosen)
    assert newer["matches"] == [] and older["applicationsWithoutSbom"] == 0
    [match] = older["matches"]
    assert (match["package"], match["version"]) == ("openssl", "3.0.15-1~deb12u1")
    assert (match["isBelow"], match["digest"]) == (True, DIGEST)
    assert match["applicationName"] == application["name"]
    assert match["serverId"] == server.server_id


async def test_an_enforced_policy_keeps_an_image_from_being_deployed_until_it_is_accepted(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    application = await create_deployable(client, [server])
    chosen = {"applicationId": application["applicationId"]}
    await ask(client, "scanPolicy.set", mode="enforce")
    refused = {"code": "vulnerabilities_found", "message": "m", "retryable": False}
    error = {**refused, "report": report(vulnerabilities=FOUND)}
    unscanned = await ask(client, "application.redeploy", 412, **chosen)
    accepted = await ask(client, "application.deploy", **chosen)

    done = await run_all(server, {"outcome": "failed", "error": error})

    assert [job.kind for job in done] == ["image.build", "image.push", "image.scan"]
    build = await look(client, "build.one", buildId=accepted["deploymentId"])
    assert (build["state"], build["error"]["code"]) == ("failed", "vulnerabilities_found")
    assert build["scan"]["counts"]["critical"] == 1 and "report" not in build["error"]
    assert unscanned["data"]["cause"]["code"] == "scan_missing"
    vulnerable = await ask(client, "application.redeploy", 412, **chosen)
    assert vulnerable["data"]["cause"]["code"] == "vulnerabilities_found"
    exception = {"vulnerability": "CVE-2025-0001", "reason": "x", "until": "2999-01-01T00:00:00Z"}
    await ask(client, "scanPolicy.set", mode="enforce", exceptions=[exception])
    await ask(client, "application.redeploy", **chosen)
    # The accepted one is listed, another critical one is not.
    database.execute(UNLISTED)
    unlisted = await ask(client, "application.redeploy", 412, **chosen)
    assert "its report lists only 1 of them" in unlisted["message"]
    errors = database.execute("SELECT error FROM job_attempt WHERE outcome = 'failed'")
    assert errors == [(refused,)]


async def test_an_image_is_scanned_on_request(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    image = f"ghcr.io/myorg/app@{DIGEST}"
    await ask(client, "scan.run", 400, image="ghcr.io/myorg/app:1")
    await ask(client, "scan.run", 400, image=image, attach=True)
    missing = await client.get("/api/scan.one", params={"digest": DIGEST})

    await ask(client, "scan.run", image=image)
    await server.succeed_next(report(vulnerabilities=FOUND))

    assert missing.status_code == 404
    assert (await look(client, "scan.one", digest=DIGEST))["sbom"] is None
