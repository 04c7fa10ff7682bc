"""Where a service is: AWS itself, or an endpoint of one's own."""

from __future__ import annotations

from urllib.parse import urlsplit

from .blocking import Clients
from .config import ClientOptions

_AWS = (
    *(".amazonaws.com", ".api.aws"),
    *(".amazonaws.com.cn", ".api.amazonwebservices.com.cn"),
    *(".amazonaws.eu", ".api.amazonwebservices.eu"),
    # The ISO partitions.
    *(".c2s.ic.gov", ".sc2s.sgov.gov", ".cloud.adc-e.uk", ".csp.hci.ic.gov"),
    *(".api.aws.ic.gov", ".api.aws.scloud", ".api.cloud-aws.adc-e.uk", ".api.aws.hci.ic.gov"),
)
"""Domains of AWS's endpoints and of its dual-stack ones, by partition (botocore's ``partitions.json``)."""


def aws_host(service: str) -> str | None:
    """The host of a service where this environment leads to AWS itself; None where it names another endpoint.

    Nothing is called.

    Raises:
        ConfigError: region or endpoint are missing or malformed.
    """
    clients = Clients(ClientOptions())
    try:
        host = urlsplit(clients.get(service).meta.endpoint_url).hostname or ""
    finally:
        clients.close()
    return host if host.endswith(_AWS) else None
