"""Service principals of Azure: the forms of their fields."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.credentials.acr import AcrSource

PRINCIPAL: dict[str, Any] = {
    "kind": "acr",
    "tenantId": "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "clientId": "11112222-3333-4444-5555-666677778888",
    "clientSecret": "acr~client.secret-0123456789",
}


def test_a_service_principal_shows_its_ids_and_not_its_secret() -> None:
    source = AcrSource.model_validate(PRINCIPAL)

    assert source.shown() == {
        "kind": "acr",
        "tenant_id": PRINCIPAL["tenantId"],
        "client_id": PRINCIPAL["clientId"],
    }
    assert not source.uses_machine
    assert PRINCIPAL["clientSecret"] not in repr(source)


def test_a_domain_names_a_tenant_too() -> None:
    source = AcrSource.model_validate({**PRINCIPAL, "tenantId": "contoso.onmicrosoft.com"})

    assert source.tenant_id == "contoso.onmicrosoft.com"


@pytest.mark.parametrize(
    "changes",
    [
        {"tenantId": "../common"},
        {"tenantId": "a/b.c"},
        {"clientId": "my-application"},
        {"clientSecret": ""},
        {"clientSecret": None},
        {"federatedTokenFile": "/var/run/token"},
        {"clientSecret": None, "federatedTokenFile": "token"},
    ],
)
def test_another_form_is_refused_without_the_secret(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        AcrSource.model_validate({**PRINCIPAL, **changes})

    assert PRINCIPAL["clientSecret"] not in str(raised.value)
