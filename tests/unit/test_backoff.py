"""How long is waited before something is tried again."""

from __future__ import annotations

import pytest

from taskq_sls.core.backoff import Backoff, outage_seconds


@pytest.fixture
def without_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq_sls.core.backoff.random.uniform", lambda low, high: high)


@pytest.mark.usefixtures("without_jitter")
def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


@pytest.mark.usefixtures("without_jitter")
def test_a_success_brings_back_the_first_wait() -> None:
    backoff = Backoff(0.5, factor=4.0)
    assert [backoff.next(), backoff.next()] == [0.5, 2.0]
    backoff.reset()
    assert backoff.next() == 0.5


def test_up_to_half_of_a_wait_is_left_out_at_random() -> None:
    waits = [Backoff(10.0).next() for _ in range(100)]
    assert all(5.0 <= wait <= 10.0 for wait in waits)
    assert len(set(waits)) > 1


def test_messages_come_back_5_to_60_seconds_after_an_outage_and_not_at_once() -> None:
    waits = [outage_seconds() for _ in range(100)]
    assert all(5.0 <= wait <= 60.0 for wait in waits)
    assert len(set(waits)) > 1
