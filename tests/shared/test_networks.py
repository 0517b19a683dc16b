"""Addresses that are refused whatever is allowed, and the classes of the others."""

from ipaddress import ip_address

import pytest

from shared.errors import RefusedNetworkError
from shared.networks import parse_networks
from shared.settings import DEFAULT_WEBHOOK_NETWORKS

EVERYWHERE = parse_networks("public,private,loopback,0.0.0.0/0,::/0")


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::1",
        "0.0.0.0",
        "::",
        "240.0.0.1",
        "ff02::1",
        "64:ff9b:1::1",
        *("::ffff:169.254.169.254", "::169.254.169.254", "::ffff:0:169.254.169.254"),
        *("64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1", "64:ff9b::168.63.129.16"),
    ],
)
def test_an_address_that_no_setting_allows_is_refused_in_each_spelling(address: str) -> None:
    with pytest.raises(RefusedNetworkError):
        EVERYWHERE.require(address)


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("93.184.216.34", "public"),
        ("64:ff9b::93.184.216.34", "public"),
        ("2002:5db8:d822::1", "public"),
        ("2606:4700::1111", "public"),
        ("10.0.0.1", "private"),
        ("fd12::1", "private"),
        ("::10.0.0.1", "private"),
        ("64:ff9b::10.0.0.1", "private"),
        ("2002:a00:1::1", "private"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("64:ff9b::127.0.0.1", "loopback"),
    ],
)
def test_an_address_is_what_it_leads_to_and_stays_as_it_is(address: str, word: str) -> None:
    others = parse_networks(",".join({"public", "private", "loopback"} - {word}))

    assert parse_networks(word).require(address) == ip_address(address)
    with pytest.raises(RefusedNetworkError):
        others.require(address)


def test_messages_go_to_public_addresses_only_unless_the_operator_says_so() -> None:
    networks = parse_networks(DEFAULT_WEBHOOK_NETWORKS)

    networks.require("93.184.216.34")
    for address in ("10.0.0.1", "192.168.0.1", "fd12::1", "127.0.0.1"):
        with pytest.raises(RefusedNetworkError):
            networks.require(address)
