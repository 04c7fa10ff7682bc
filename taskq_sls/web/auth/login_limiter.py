"""Limits wrong credentials: after some failures in a minute, an address is refused without reading its credentials."""

from __future__ import annotations

import ipaddress
import re
from collections import OrderedDict

MAX_FAILURES = 20
"""Failures of one source within `WINDOW_SECONDS` after which it is refused."""

WINDOW_SECONDS = 60.0

MAX_SOURCES = 4_096
"""Sources that are remembered; the one with the oldest failure is dropped first."""


class LoginLimiter:
    """Counts failures by source, in this process only.

    Each Lambda container counts for itself, so n containers allow n times as many tries. This only stops floods of
    requests; guessing is hopeless anyway, as a token has 256 random bits.
    """

    def __init__(self) -> None:
        self._by_source: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def wait(self, source: str, now: float) -> float | None:
        """Return the seconds until the source may try again, or None if it may now."""
        start, count = self._by_source.get(network(source), (now, 0))
        return start + WINDOW_SECONDS - now if count >= MAX_FAILURES and now < start + WINDOW_SECONDS else None

    def note(self, source: str, now: float) -> None:
        key = network(source)
        start, count = self._by_source.pop(key, (now, 0))
        self._by_source[key] = (now, 1) if now >= start + WINDOW_SECONDS else (start, count + 1)
        while len(self._by_source) > MAX_SOURCES:
            self._by_source.popitem(last=False)


def network(source: str) -> str:
    """Return the addresses that one caller controls: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        # A load balancer may append the port, which the caller can change with each connection.
        host = re.fullmatch(r"\[(.*)\](:\d+)?|([\d.]+):\d+", source)
        address = ipaddress.ip_address(source if host is None else host[1] or host[3])
    except ValueError:
        return source[:64]
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
