"""What `taskq doctor` finds about this machine's clock."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest

from taskq_sls.core.clock import ManualClock
from taskq_sls.core.flow import drive
from taskq_sls.deploy.doctor.account import check_clock
from taskq_sls.errors import AwsError

NOW = 1_800_000_000.0


class Endpoint:
    """A port whose only answer carries a date, as an error or not."""

    def __init__(self, date: str | None, *, refuses: bool = False) -> None:
        headers = {} if date is None else {"date": date}
        self._answer = {"ResponseMetadata": {"HTTPHeaders": headers}}
        self._refuses = refuses

    def client(self, service: str) -> Endpoint:
        return self

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        if self._refuses:
            raise AwsError(operation, "QueueDoesNotExist", "no such queue", status=400, body=self._answer)
        return self._answer


def found(date: str | None, **options: Any) -> list[tuple[str, str]]:
    findings = drive(check_clock(Endpoint(date, **options), ManualClock(NOW), "shop-default"))  # type: ignore[arg-type]  # as much of a port as is asked
    return [(finding.level, finding.detail) for finding in findings]


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize(
    ("offset", "level", "told"),
    [
        (0, "ok", "within 5 s"),
        (5, "ok", "within 5 s"),
        (-5, "ok", "within 5 s"),
        (-3600, "fail", "3599 s ahead of the endpoint's"),
        (3600, "fail", "3600 s behind the endpoint's"),
    ],
)
def test_the_clock_is_compared_with_the_date_of_an_answer(offset: int, level: str, told: str, refuses: bool) -> None:
    [(as_level, detail)] = found(formatdate(NOW + offset, usegmt=True), refuses=refuses)
    assert as_level == level
    assert told in detail


@pytest.mark.parametrize("date", [None, "yesterday", ""])
def test_an_answer_without_a_date_says_nothing(date: str | None) -> None:
    assert found(date) == []
