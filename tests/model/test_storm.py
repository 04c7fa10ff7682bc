"""The delivery protocol in a storm: thousands of tasks over queues and a table that do the worst they may.

Each test names a rule by its words and looks at all storms. A storm follows from its seed alone:
``TASKQ_STORM_SEED=7`` repeats one, ``TASKQ_STORM_SEEDS=200`` tries more of them, ``TASKQ_STORM_TASKS=5000`` makes
each larger.
"""

from __future__ import annotations

import functools
import os
from collections import Counter

import pytest

from tests.model.aftermath import check_all
from tests.model.storm import Storm, weather_of

TASKS = int(os.environ.get("TASKQ_STORM_TASKS", "500"))
SEEDS = (
    [int(os.environ["TASKQ_STORM_SEED"])]
    if "TASKQ_STORM_SEED" in os.environ
    else list(range(1, 1 + int(os.environ.get("TASKQ_STORM_SEEDS", "6"))))
)

pytestmark = pytest.mark.timeout(60 + len(SEEDS) * TASKS // 10)


@functools.cache
def broken_in(seed: int) -> tuple[dict[str, list[str]], Counter[str]]:
    """What was broken in the storm of a seed, and what was seen of it."""
    storm = Storm(seed, weather_of(seed, TASKS)).run()
    seen = storm.ledger.counts + Counter(
        tasks=len(storm.sent),
        takeovers=storm.ledger.takeovers,
        overlaps=storm.ledger.overlaps,
        zombies=storm.ledger.refused_zombies,
        crashed=storm.ledger.crashed_last,
        releases=storm.ledger.releases.total(),
        redriven=len(storm.redriven),
    )
    return check_all(storm), seen


RULES = {
    "every task is in one final state": "every task ends in exactly one final state for its run",
    "a terminal state is final": "terminal states are written once; only a redrive of a failure opens the next run",
    "what is finished does not run again": "a duplicate delivery of a finished, cancelled or expired task does not run",
    "SUCCEEDED means that it ran to its end": "the recorded effect exists, and is that of the attempt the record names",
    "no two attempts run at once while a lease holds": "two deliveries of the same task never run at the same time",
    "only a claimed attempt enters its function": "an attempt is one start within a run, counted by claim",
    "claim sets RUNNING, owner and lease": "claim sets RUNNING, owner and lease",
    "claim counts one attempt": "claim adds one to the attempt; a new run counts from one",
    "a refused claim changes nothing": "each operation is one conditional write",
    "a lease is taken over 5 s after its end, not before": "RUNNING with the lease ended at least 5 s ago",
    "an ended lease at the last attempt is not run again": "an ended lease with attempt = max is not run again",
    "only the last attempt that crashed is closed as FAILED": "finish FAILED, reason crashed, dead-letter",
    "max_attempts=1 is at most once": "max_attempts=1 is therefore at-most-once",
    "attempts never exceed max_attempts": "throttles, releases, early arrivals and waiting duplicates do not count",
    "a zombie cannot write": "finish, renew and release require the token: a zombie cannot overwrite a newer run",
    "release gives the attempt back": "release clears the lease and gives the attempt back",
    "a cancelled task does not start": "queued and retrying tasks that were cancelled never start",
    "a retry with the cancel flag set becomes CANCELLED": "finish(RETRYING) with the cancel flag set becomes CANCELLED",
    "a task too old at its first attempt does not run": "expires_in is checked at the first attempt",
    "a retry does not start before it is due": "RETRYING with next_at reached",
    "a lower run never writes": "a delivery of a lower run than the record's is Done",
    "a redriven copy is a new run and really runs": "any redrive is a new run",
    "every failure is a dead letter": "the original is deleted only after the copy is accepted",
    "nothing is deleted before its outcome is durable": "a message is deleted only after its outcome is durable",
    "no message is left behind": "after the storm the queues are empty",
    "no message is lost": "what cannot be decoded or found is dead-lettered, what is not recorded has run",
    "order holds within a group": "FIFO: order holds within a group",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.replace(" ", "_"))
@pytest.mark.parametrize("seed", SEEDS)
def test_in_a_storm(seed: int, rule: str) -> None:
    broken, _ = broken_in(seed)
    found = broken.get(rule, [])
    assert not found, (
        f"{RULES[rule]!r} was broken {len(found)} times; TASKQ_STORM_SEED={seed} TASKQ_STORM_TASKS={TASKS} repeats it:\n"
        + "\n".join(found[:5])
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_no_rule_is_broken_that_has_no_test(seed: int) -> None:
    assert set(broken_in(seed)[0]) <= set(RULES)


@pytest.mark.skipif(len(SEEDS) * TASKS < 2000, reason="too few tasks for everything to happen")
@pytest.mark.parametrize(
    "sight",
    [
        "takeovers",
        "overlaps",
        "zombies",
        "crashed",
        "releases",
        "redriven",
        "record CANCELLED",
        "record EXPIRED",
        "record RETRYING",
        "cancel cancelled",
        "cancel requested",
        "cancel too_late",
        "outcome Lost",
        "outcome Release",
        "dead-letter copies",
    ],
)
def test_the_storms_are_bad_enough_to_show(sight: str) -> None:
    assert sum(broken_in(seed)[1][sight] for seed in SEEDS) > 0


def test_a_storm_follows_from_its_seed_alone() -> None:
    first, second = (Storm(7, weather_of(7, 60)).run().ledger.digest for _ in range(2))
    assert first == second
