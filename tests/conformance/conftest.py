"""Fixtures of the conformance suites."""

from __future__ import annotations

from tests.support.broker_fixtures import (  # noqa: F401  # fixtures are found here by name
    broker_bench,
    broker_clients,
    broker_clock,
    broker_environment,
    broker_moto_server,
    fauxqs_server,
)
