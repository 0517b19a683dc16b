"""Networks of clients."""

import pytest
from pydantic import TypeAdapter

from api.fields.networks import Networks, is_within

NETWORKS: TypeAdapter[list[str]] = TypeAdapter(Networks)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_ipv4_in_the_form_of_ipv6_becomes_ipv4(given: str, stored: str) -> None:
    assert NETWORKS.validate_python([given]) == [stored]


@pytest.mark.parametrize("host", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_a_client_fits_both_forms_of_its_network(host: str) -> None:
    for network in ("10.1.0.0/16", "::ffff:10.1.0.0/112"):
        assert is_within(host, [network])
    assert not is_within(host, ["10.2.0.0/16", "::ffff:10.2.0.0/112", "::/0"])
