"""Which addresses belong to the public Internet: where a stranger may send us without reaching what is only ours."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """True for an address of a public host; of one that carries another within it, both must be.

    Addresses that a gateway would turn into IPv4 (mapped, 6to4, NAT64) are judged by what they stand for. A zone
    (`fe80::1%eth0`) names a local link, and Teredo a relay of the sender's choice: never public (the latter is among
    what the registry calls not global).
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return _is_public_v4(address) if isinstance(address, IPv4Address) else _is_public_v6(address)


def _is_public_v4(address: IPv4Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return _is_public_v4(address.ipv4_mapped)
    if address in _NAT64:
        return _is_public_v4(IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None:
        return _is_public_v4(address.sixtofour)
    return address in _UNICAST and address.is_global
