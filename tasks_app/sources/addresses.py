"""Which addresses of the network belong to everybody. What a stranger names may lead nowhere else."""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

SocketAddress = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]
"""Family and address, as `socket.connect` takes it; the first part of the address is a number, never a name."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def resolve(host: str, port: int) -> list[SocketAddress]:
    """Every address of `host`. Raises OSError when the name has none, UnicodeError when it is none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [
        (family, address)
        for family, _, _, _, address in found
        if family in (socket.AF_INET, socket.AF_INET6) and isinstance(address[0], str)
    ]


def is_public(text: str) -> bool:
    """Whether the numeric address lies in the open internet: not private, loopback, link-local, shared or multicast.

    IPv6 addresses that only wrap an IPv4 address are as public as that one.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return _is_public_v4(address) if isinstance(address, IPv4Address) else _is_public_v6(address)


def _is_public_v4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_public_v6(address: IPv6Address) -> bool:
    wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
    if wrapped is None and address in _NAT64:
        wrapped = IPv4Address(int(address) & 0xFFFFFFFF)
    if wrapped is not None:
        return _is_public_v4(wrapped)
    return address in _GLOBAL_UNICAST and address.is_global
