"""Reports of scanners in the shapes of the real programs, and programs that print them."""

import json
from pathlib import Path
from typing import Any

TRIVY_VERSION = {
    "Version": "0.58.1",
    "VulnerabilityDB": {
        "Version": 2,
        "NextUpdate": "2026-11-30T06:17:51.2Z",
        "UpdatedAt": "2026-11-29T06:17:51.2Z",
        "DownloadedAt": "2026-11-29T09:00:00Z",
    },
}
TRIVY_REPORT: dict[str, Any] = {
    "SchemaVersion": 2,
    "CreatedAt": "2026-11-29T10:00:00Z",
    "ArtifactName": "image.tar",
    "ArtifactType": "container_image",
    "Metadata": {"OS": {"Family": "debian", "Name": "12.8"}},
    "Results": [
        {
            "Target": "image.tar (debian 12.8)",
            "Class": "os-pkgs",
            "Type": "debian",
            "Vulnerabilities": [
                {
                    "VulnerabilityID": "CVE-2025-0001",
                    "PkgID": "openssl@3.0.15-1~deb12u1",
                    "PkgName": "openssl",
                    "InstalledVersion": "3.0.15-1~deb12u1",
                    "FixedVersion": "3.0.16-1~deb12u1",
                    "Status": "fixed",
                    "Severity": "CRITICAL",
                    "Title": "openssl: a buffer\nis overrun",
                    "CVSS": {"nvd": {"V3Score": 9.8}},
                },
                {
                    "VulnerabilityID": "CVE-2025-0002",
                    "PkgName": "zlib1g",
                    "InstalledVersion": "1:1.2.13.dfsg-1",
                    "Status": "affected",
                    "Severity": "LOW",
                },
            ],
        },
        {"Target": "Python", "Class": "lang-pkgs", "Type": "python-pkg"},
    ],
}
GRYPE_REPORT: dict[str, Any] = {
    "matches": [
        {
            "vulnerability": {
                "id": "CVE-2025-0001",
                "namespace": "debian:distro:debian:12",
                "severity": "Critical",
                "fix": {"versions": ["3.0.16-1~deb12u1"], "state": "fixed"},
            },
            "relatedVulnerabilities": [],
            "artifact": {"name": "openssl", "version": "3.0.15-1~deb12u1", "type": "deb"},
        },
        {
            "vulnerability": {
                "id": "CVE-2025-0002",
                "severity": "Negligible",
                "fix": {"versions": [], "state": "wont-fix"},
            },
            "artifact": {"name": "zlib1g", "version": "1:1.2.13.dfsg-1", "type": "deb"},
        },
    ],
    "source": {"type": "image"},
    "descriptor": {
        "name": "grype",
        "version": "0.87.0",
        "db": {"built": "2026-11-29T06:17:51Z", "schemaVersion": 5},
    },
}
GRYPE_NEW_DATABASE = {"status": {"built": "2026-11-29T06:17:51Z", "schemaVersion": "v6.0.2"}}


def install(folder: Path, name: str, *, fails: bool = False) -> None:
    """Put a program into the folder that prints the recorded report of that scanner.

    It writes its first argument to the file ``calls`` in the folder.
    """
    folder.mkdir(exist_ok=True)
    if name == "trivy":
        reports = {"version": TRIVY_VERSION, "image": TRIVY_REPORT}
    else:
        reports = {"docker-archive:*": GRYPE_REPORT}
    cases = [
        f"{case}) cat <<'END'\n{json.dumps(report)}\nEND\n;;" for case, report in reports.items()
    ]
    broken = "echo 'FATAL database error: no route to host' >&2; exit 1"
    body = broken if fails else "\n".join(['case "$1" in', *cases, "*) exit 2;;", "esac"])
    program = folder / name
    program.write_text(f"#!/bin/sh\necho \"$1\" >> '{folder}/calls'\n{body}\n")
    program.chmod(0o755)
