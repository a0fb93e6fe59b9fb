"""Where a stranger may send us: a table of addresses in every notation that reaches a socket."""

from __future__ import annotations

import socket

import pytest

from proxy.core.public import is_public

PUBLIC = (
    "8.8.8.8", "1.1.1.1", "93.184.216.34", "172.15.255.255", "172.32.0.1", "192.167.255.255", "100.63.255.255",
    "100.128.0.1", "223.255.255.254", "2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450:4001::1",
    "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
)  # fmt: skip
OURS = (
    # this machine, this network
    "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.1.2.3", "127.255.255.255", "::", "::1", "0:0:0:0:0:0:0:1",
    # private networks, links, carriers
    "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "169.254.169.254",
    "169.254.0.1", "100.64.0.1", "100.127.255.255", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1",
    # benchmarks, documentation, reserved, many
    "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1", "255.255.255.255", "224.0.0.1",
    "239.255.255.255", "2001:db8::1", "ff02::1", "ff0e::1", "100::1",
    # IPv4 within IPv6: mapped, compatible, 6to4, NAT64, Teredo
    "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "0:0:0:0:0:ffff:192.168.0.1",
    "::127.0.0.1", "::7f00:1", "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:1::1", "64:ff9b::127.0.0.1",
    "64:ff9b::a00:1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8", "2001:0:7f00:1::",
    "2001:0:53aa:64c:0:0:f7f7:f7f7",
    # a zone names a link, whatever the address
    "2606:4700:4700::1111%eth0",
)  # fmt: skip
NO_ADDRESS = (
    "",
    "localhost",
    "example.org",
    "1.2.3",
    "1.2.3.4.5",
    "0x7f000001",
    "2130706433",
    "[::1]",
    "8.8.8.8:443",
    " 8.8.8.8",
)


def test_the_table_is_long_enough() -> None:
    assert len({*PUBLIC, *OURS}) >= 60


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", OURS)
def test_ours(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_what_is_no_address_leads_nowhere(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize("text", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0", "017700000001", "0x7f000001"])
def test_other_notations_of_loopback_are_judged_by_what_they_become(text: str) -> None:
    """The system's resolver takes them; what it makes of them is what is connected to."""
    found = {entry[4][0] for entry in socket.getaddrinfo(text, 443, type=socket.SOCK_STREAM)}
    assert found
    assert not any(map(is_public, map(str, found)))
