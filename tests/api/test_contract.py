"""The OpenAPI document holds: what is made from it is answered as it says."""

import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import BaseSchema, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.http.openapi.document import make_document
from api.routers import PROCEDURES
from shared.settings import ApiSettings
from shared.vault import PrivateKey
from tests.api.asking import ADMIN_KEY
from tests.api.test_main import environment, is_alive
from tests.databases import Database
from worker.local.postgres import LocalPostgres
from worker.local.processes import Child, free_port

EXAMPLES = int(os.environ.get("WHARF_TEST_EXAMPLES", "4"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
PUBLIC_KEY = str(PrivateKey.generate().public)


for kind in ("application/x-tar", "application/gzip"):
    schemathesis.serializer.alias(kind, "application/octet-stream")


def _settings(database_url: str) -> ApiSettings:
    return ApiSettings.model_validate(
        {"database_url": database_url, "vault_public_key": PUBLIC_KEY, "admin_key": ADMIN_KEY}
    )


DOCUMENT = make_document(PROCEDURES.values())
REQUESTS = [
    (path, method, mode)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE
    or any(operation.get(part) for part in ("parameters", "requestBody", "security"))
]
"""Each operation as declared and, if there is something to leave out or to change, otherwise."""


@pytest.fixture(scope="module")
def contract() -> BaseSchema:
    """Made when the first test begins, not in each process that collects tests."""
    return schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture(scope="module")
def url(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One process and one database for all of it."""
    database, port = Database.create(postgres), free_port()
    child = Child.start(
        "api",
        [sys.executable, "-m", "api", "--port", str(port)],
        log=tmp_path_factory.mktemp("api") / "api.log",
        env={
            **environment(_settings(database.url("wharf_api"))),
            "WHARF_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        },
    )
    try:
        child.wait_until(
            lambda: is_alive(f"http://127.0.0.1:{port}"), deadline=timedelta(seconds=30)
        )
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()
        database.drop()


@pytest.mark.parametrize(("path", "method", "mode"), REQUESTS)
def test_every_answer_is_declared(
    contract: BaseSchema, url: str, path: str, method: str, mode: GenerationMode
) -> None:
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(contract[path][method].as_strategy(generation_mode=mode))
    def answer(case: Case[Any]) -> None:
        case.call_and_validate(base_url=url, headers={"x-api-key": ADMIN_KEY}, checks=CHECKS)

    answer()
