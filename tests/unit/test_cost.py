"""What docs/cost.md says is what the script works out, and the script follows the stated formulas."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import cost
from taskq_sls.engine.policies.poison import POISON_DELAY, POISON_MAX_DELAY, POISON_RECEIVES
from taskq_sls.results.dynamodb import backend as dynamodb

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cost.md").read_text()


TABLES = {
    "totals": cost.totals_table,
    "payloads": cost.payloads_table,
    "results": cost.results_table,
    "extras": cost.extras_table,
}


@pytest.mark.parametrize(("name", "table"), TABLES.items())
def test_the_page_shows_what_the_script_prints(name: str, table: Callable[[], str]) -> None:
    shown = re.search(rf"<!-- benchmarks\.cost: {name} -->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL)

    assert shown is not None
    assert shown[1] == table(), "the page is stale: python -m benchmarks.cost"


@pytest.mark.parametrize(("level", "units"), cost.UNITS.items())
def test_all_pages_state_the_same_write_units(level: str, units: int) -> None:
    assert re.search(
        rf"^\| `{level}`[^|]*\|[^|]*\| {units} \|$", (ROOT / "docs/reference.md").read_text(), re.MULTILINE
    )
    assert re.search(rf"^``{level}``.* {units}$", dynamodb.__doc__ or "", re.MULTILINE)
    assert f"`{level}` {units}" in PAGE


def test_a_task_is_sent_received_and_deleted_in_batches_of_ten_at_most() -> None:
    assert cost.sqs_requests(1) == pytest.approx(2.1)
    assert cost.sqs_requests(10) == cost.sqs_requests(100) == pytest.approx(0.3)
    assert cost.sqs_requests(10, sent_in_tens=False) == pytest.approx(1.2)


def test_an_invocation_computes_in_turn_and_waits_once() -> None:
    alone = cost.duration("started", 1, 1_769)
    assert alone == 65  # 1 + 2 + 2 x 0.8 of computing, 50 + 2 x 5 of waiting
    assert cost.duration("started", 10, 1_769) == 97, "nine more of 3.6 ms, and no more waiting"
    assert cost.duration("none", 1, 128) == 92, "3 ms on a fourteenth of a processor"
    assert cost.duration("none", 1, 10_240) == cost.duration("none", 1, 1_769), "one task uses one processor"


def test_the_total_is_the_sum_of_its_parts() -> None:
    parts = [0.12, 2.50, 100_000 * (0.097 * 1_769 / 1_024 * 0.0000133334 + 0.0000002), 0.27, 0.25 + 0.0425 + 0.025]

    assert cost.total("started", 10, 1_769) == pytest.approx(sum(parts), abs=0.001)


def test_an_idle_mapping_polls_648_000_times_a_month() -> None:
    assert cost.idle_queue() == pytest.approx(648_000 * 0.40 / 1e6 + 6 * 0.10)


def test_the_page_says_how_long_a_deployment_may_take() -> None:
    waits = [min(POISON_MAX_DELAY, POISON_DELAY * 2**receive) for receive in range(POISON_RECEIVES - 1)]

    assert sum(waits) // 60 == 75
    assert "has 75 minutes" in (ROOT / "docs" / "deploy.md").read_text()


def test_each_64_kilobytes_that_travel_together_are_a_request() -> None:
    assert cost.sqs_requests(10, kilobytes=6.4) == pytest.approx(0.3)
    assert cost.sqs_requests(10, kilobytes=6.5) == pytest.approx(0.2 + 0.2 + 0.1)
    assert cost.sqs_requests(1, kilobytes=64) == pytest.approx(1 + 1 + 1)
    assert cost.sqs_requests(10, kilobytes=500) == pytest.approx(8 + 8 + 0.1), "two fit a batch"
    assert cost.sqs_requests(10, kilobytes=2_000) == pytest.approx(0.3), "a pointer travels"


def test_what_is_too_large_is_paid_to_the_bucket() -> None:
    assert cost.bucket_cost(1_024, cost.LARGEST_MESSAGE, 45) == 0
    assert cost.bucket_cost(2_000, cost.LARGEST_MESSAGE, 45) == pytest.approx(5 + 0.4 + 2_000 * 1.5 * 0.023)


def test_each_kilobyte_of_a_result_beyond_the_first_of_its_record_is_a_unit() -> None:
    assert [cost.result_cost(size) for size in (0.4, 0.5, 2.4)] == pytest.approx([0, 0.625, 1.25])
