"""Workers in processes of their own that are killed, paused, stopped and cut off, at random and at chosen moments.

``TASKQ_CHAOS_SEED=7`` repeats the choices of one storm; its timing is the machine's.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from taskq_sls import Queue
from taskq_sls.core.states import State
from taskq_sls.results.rules import TAKEOVER_GRACE
from tests.support.aws_bench import AwsBench
from tests.support.chaos import Child, Fleet, Trap, TrappedWire
from tests.support.chaos_app import HOLD
from tests.support.waiting import until

MakeFleet = Callable[..., Fleet]

pytestmark = pytest.mark.timeout(600)

TAKEN_OVER_AFTER = HOLD + TAKEOVER_GRACE + 1.0
"""Seconds after which a silent holder's task runs elsewhere: its lease, the grace, and a whole second of visibility."""


@pytest.fixture
def make_fleet(make_aws_bench: Callable[..., AwsBench], tmp_path: Path) -> Iterator[MakeFleet]:
    fleets: list[Fleet] = []

    def make(*queues: str) -> Fleet:
        bench = make_aws_bench(*(Queue(name, visibility_timeout=HOLD) for name in queues or ("default",)))
        fleets.append(Fleet(bench, tmp_path))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.end()


def ready(*children: Child) -> None:
    until(lambda: all(child.ready for child in children), 60, "the workers have started")


def stop_cleanly(fleet: Fleet, children: list[Child]) -> None:
    """Stop workers by SIGTERM: status 0, and nothing hidden is left."""
    for child in children:
        child.terminate()
    assert [child.process.wait(60) for child in children] == [0] * len(children)
    assert [depth[1] for depth in fleet.depths()] == [0] * len(fleet.app.queues)


# A storm


WORKERS = 4
OPTIONS = ("--concurrency", "6", "--threads", "3", "--grace", "1")
TASKS = {"quick": 38, "quick_sync": 30, "flaky": 20, "hopeless": 10, "slow": 26, "slow_sync": 25, "block": 1}
PAUSE = TAKEN_OVER_AFTER + 1.0
LASTS = 14.0
"""Seconds from the first to the last event."""


class Event(NamedTuple):
    """What happens at `at` seconds. `pick` chooses among the workers that are there then, 0 to 1."""

    at: float
    what: str
    pick: float
    tasks: tuple[str, ...] = ()


def storm(dice: random.Random) -> list[Event]:
    """Tasks that come over the whole time, and what befalls the workers meanwhile."""
    kinds = [kind for kind, count in TASKS.items() for _ in range(count)]
    dice.shuffle(kinds)
    count = 16
    events = [Event(LASTS * part / count, "send", 0, tuple(kinds[part::count])) for part in range(count)]
    for what, times in {"kill": 4, "term": 2, "term_twice": 1}.items():
        events += [Event(dice.uniform(0.5, LASTS - 3), what, dice.random()) for _ in range(times)]
    events += [Event(dice.uniform(0.5, 2.5), "pause", dice.random()) for _ in range(2)]
    return sorted(events)


class Storm:
    """Carries out events, and puts a new worker in the place of each that ended."""

    def __init__(self, fleet: Fleet, dice: random.Random) -> None:
        self.fleet = fleet
        self.kinds: dict[str, str] = {}
        self._dice = dice
        self._workers = [fleet.start(*OPTIONS) for _ in range(WORKERS)]
        self._resume: list[tuple[float, Child]] = []
        self._statuses: list[int] = []

    def rage(self, events: list[Event]) -> None:
        ready(*self._workers)
        begins = time.monotonic()
        for event in events:
            while time.monotonic() < begins + event.at:
                self._tend()
                time.sleep(0.02)
            self._befall(event)
        while self._resume:
            self._tend()
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until every task has ended and no message is left; then stop the workers."""

        def settled() -> bool:
            self._tend()
            return self.fleet.settled(self.kinds)

        until(settled, 300, "everything is settled", lambda: self.fleet.unsettled(self.kinds))
        ready(*self._workers)
        stop_cleanly(self.fleet, self._workers)
        assert set(self._statuses) <= {0}

    def _befall(self, event: Event) -> None:
        if event.what == "send":
            for kind in sorted(set(event.tasks)):
                calls = [self._arguments(kind) for _ in range(event.tasks.count(kind))]
                self.kinds.update(dict.fromkeys(self.fleet.enqueue_many(kind, calls), kind))
            return
        # On a slow machine the last event may have left no worker that is ready.
        there = self._wait_for(lambda child: True, 60)
        if event.what in ("pause", "kill"):
            # Rather one in the middle of something.
            there = self._wait_for(self._is_slow_with, 10) or there
        there = [child for child in there if child.process.poll() is None]
        if not there:
            return
        victim = there[int(event.pick * len(there))]
        if event.what == "pause":
            victim.pause()
            self._resume.append((time.monotonic() + PAUSE, victim))
        elif event.what == "kill":
            victim.kill()
        elif event.what == "term":
            victim.terminate()
        else:
            victim.terminate_at_once()

    def _wait_for(self, fits: Callable[[Child], bool], seconds: float) -> list[Child]:
        """The workers that are there and fit, once there are any."""
        ends = time.monotonic() + seconds
        while True:
            there = [child for child in self._workers if child.ready and not child.signalled and fits(child)]
            if there or time.monotonic() > ends:
                return there
            self._tend()
            time.sleep(0.02)

    def _tend(self) -> None:
        for when, child in self._resume[:]:
            if when <= time.monotonic():
                self._resume.remove((when, child))
                child.resume()
        for place, child in enumerate(self._workers):
            if child.process.poll() is None:
                continue
            if child.killed_at is None:
                self._statuses.append(child.process.returncode)
            self._workers[place] = self.fleet.start(*OPTIONS)

    def _arguments(self, kind: str) -> tuple[float, ...]:
        if kind == "block":
            return (HOLD + 1.5,)
        return (round(self._dice.uniform(1, 3), 3),) if kind.startswith("slow") else ()

    def _is_slow_with(self, child: Child) -> bool:
        return any(run.task.startswith("slow") for run in self.fleet.open_runs(child))


def test_every_task_survives_a_storm_in_exactly_one_final_state(make_fleet: MakeFleet) -> None:
    seed = int(os.environ.get("TASKQ_CHAOS_SEED") or random.randrange(10**6))
    print(f"TASKQ_CHAOS_SEED={seed}")
    dice = random.Random(seed)
    fleet = make_fleet()
    raging = Storm(fleet, dice)
    raging.rage(storm(dice))
    raging.settle()
    runs = fleet.runs()
    print(f"{len(runs)} runs, {len(fleet.children)} processes, {len(fleet.taken_over())} taken over")

    designed = {id: State.FAILED if kind == "hopeless" else State.SUCCEEDED for id, kind in raging.kinds.items()}
    records = fleet.records(designed)
    assert {id: record.status for id, record in records.items()} == designed
    most = {id: 3 if kind == "hopeless" else 20 for id, kind in raging.kinds.items()}
    assert [id for id, record in records.items() if record.attempt > most[id]] == []
    assert [run for run in runs if run.attempt > most[run.id]] == []

    returned = {(run.id, run.attempt) for run in runs if run.how == "returned"}
    succeeded = {(id, record.attempt) for id, record in records.items() if record.status is State.SUCCEEDED}
    assert succeeded - returned == set()
    assert set(fleet.dead_letters()) == {id for id, kind in raging.kinds.items() if kind == "hopeless"}
    assert fleet.drained()
    assert fleet.overlaps(HOLD, TAKEOVER_GRACE) == []
    assert {id for id, _ in succeeded} <= set(fleet.stored.at), "the table's answers were seen"
    assert all(fleet.stored.at[run.id] >= run.ended for run in runs if (run.id, run.attempt) in succeeded and run.ended)
    assert fleet.repetitions() == []
    # And it was a storm: tasks were cut down with their worker, and ended by another.
    assert fleet.taken_over()


# Killed at a chosen point


class Point(NamedTuple):
    """One task, when its worker dies, and what must be in the end."""

    task: str
    trap: tuple[str, str, str] | None
    state: State
    attempt: int
    runs: int


DONE, FAILED = State.SUCCEEDED, State.FAILED
POINTS = {
    "before-claim": Point("quick", ("before", "UpdateItem", "RUNNING"), DONE, attempt=1, runs=1),
    "after-claim": Point("quick", ("after", "UpdateItem", "RUNNING"), DONE, attempt=2, runs=1),
    "in-function": Point("deadly", None, DONE, attempt=2, runs=2),
    "before-finish": Point("quick", ("before", "UpdateItem", "SUCCEEDED"), DONE, attempt=2, runs=2),
    "after-finish": Point("quick", ("after", "UpdateItem", "SUCCEEDED"), DONE, attempt=1, runs=1),
    "in-last-attempt": Point("deadly_once", None, FAILED, attempt=1, runs=1),
    "after-copy": Point("hopeless_once", ("after", "SendMessageBatch", "dlq"), FAILED, attempt=1, runs=1),
}


def test_a_worker_killed_at_any_point_leaves_its_task_to_end_in_one_final_state(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(*POINTS)
    wire = TrappedWire(fleet.bench.wire)
    server = fleet.bench.server._running
    assert server is not None
    ids, victims = {}, []
    server._server.app = wire
    try:
        for name, point in POINTS.items():
            ids[name] = fleet.enqueue(point.task, queue=name)
            victims.append(fleet.start("--queues", name))
            if point.trap is not None:
                moment, operation, word = point.trap
                whose = ids[name] if operation == "UpdateItem" else f"{fleet.app.name}-{name}"
                wire.traps.append(Trap(moment, operation, (whose, word), victims[-1]))
        until(lambda: all(victim.process.poll() == -9 for victim in victims), 60, "all are dead")
    finally:
        server._server.app = fleet.bench.wire

    worker = fleet.start()
    until(lambda: fleet.settled(ids.values()), 120, "everything is settled")
    stop_cleanly(fleet, [worker])

    ended = {}
    for name, id in ids.items():
        record = fleet.records([id])[id]
        ended[name] = (record.status, record.attempt, sum(run.id == id for run in fleet.runs()))
    assert ended == {name: (point.state, point.attempt, point.runs) for name, point in POINTS.items()}
    assert set(fleet.dead_letters()) == {ids[name] for name, point in POINTS.items() if point.state is FAILED}


# Stopped


def test_workers_that_are_stopped_under_load_leave_nothing_hidden_and_a_second_signal_stops_at_once(
    make_fleet: MakeFleet,
) -> None:
    fleet = make_fleet("many", "one")
    ids: list[str] = []
    long: set[str] = set()
    for task in ("slow_sync", "slow"):  # sync ones first, so that more are held than there are threads
        sent = fleet.enqueue_many(task, [(0.5,), (600,)] * 7, "many")
        ids += sent
        long.update(sent[1::2])
        long.update(fleet.enqueue_many(task, [(600,)] * 14, "one"))
    options = ("--threads", "2", "--concurrency", "8")
    several = [fleet.start("--queues", "many", "--grace", "1", *options) for _ in range(2)]
    patient = fleet.start("--queues", "one", "--grace", "600", *options)
    ready(*several, patient)

    def busy(child: Child) -> bool:
        return any(run.id in long for run in fleet.open_runs(child))

    # Not with short ones alone, which would end by themselves.
    until(lambda: all(busy(child) for child in [*several, patient]), 60, "all are busy with long tasks")

    patient.terminate()
    for child in several:
        child.terminate()
    assert [child.process.wait(60) for child in several] == [0, 0]
    visible, hidden, delayed = fleet.depths()[0]
    states = [record.status for record in fleet.records(ids).values()]
    assert (hidden, delayed) == (0, 0)
    assert {State.QUEUED} <= set(states) <= {State.QUEUED, State.SUCCEEDED}
    assert visible == len(ids) - states.count(State.SUCCEEDED)

    until(lambda: patient.stopping, 60, "the patient one has seen its signal")  # or two would be seen as one
    assert patient.process.poll() is None
    patient.terminate()
    patient.process.wait(60)
    assert patient.actions["worker_killed"] >= 1  # once more, if its end takes longer than it is given


# Cut off


EPISODES = ("poll_fault", "claim_fault", "heartbeat_fault", "hide_fault", "ack_fault")
"""What is said once, however often it is tried."""

OUTAGES = {
    "the-endpoint-goes-away": ("503", "reset", "lost"),
    "credentials-expire": ("expired", "expired"),
}


@pytest.mark.parametrize("faults", OUTAGES.values(), ids=OUTAGES)
def test_workers_live_through_an_outage_under_load_and_say_so_once(
    make_fleet: MakeFleet, faults: tuple[str, ...]
) -> None:
    fleet = make_fleet()
    wire = fleet.bench.wire
    children = [fleet.start("--concurrency", "40", "--threads", "2") for _ in range(3)]
    ready(*children)
    calls: dict[str, list[tuple[Any, ...]]] = {
        "slow": [(2,)],
        "slow_sync": [(0.5,)],
        "quick": [()],
        "flaky": [()],
        "hopeless": [()],
    }
    kinds = {id: task for task, arguments in calls.items() for id in fleet.enqueue_many(task, arguments * 8)}
    until(fleet.runs, 60, "the first tasks run")

    begins = time.monotonic()
    early: list[Counter[str]] = []
    for fault in faults:
        wire.fault = fault
        until(lambda: wire.under_way == 0, 60, "what was asked before the outage is answered")
        time.sleep(1.2)
        # From here on no call succeeds.
        early = early or [child.actions for child in children]
    # A worker whose claims fail first stops polling before a poll has failed.
    until(
        lambda: all(child.actions["poll_fault"] or child.actions["polls_paused"] for child in children),
        60,
        "all have noticed",
    )
    late = [child.actions for child in children]
    wire.fault = None
    lasted = time.monotonic() - begins

    until(lambda: fleet.settled(kinds), 120, "everything is settled")
    until(
        lambda: all(
            child.actions["poll_fault"] == child.actions["poll_fault_over"]
            and child.actions["polls_paused"] == child.actions["polls_resumed"]
            for child in children
        ),
        90,
        "all poll again",
    )
    assert [child.process.poll() for child in children] == [None] * 3
    stop_cleanly(fleet, children)

    expected = {id: State.FAILED if kind == "hopeless" else State.SUCCEEDED for id, kind in kinds.items()}
    assert {id: record.status for id, record in fleet.records(kinds).items()} == expected
    assert set(fleet.dead_letters()) == {id for id, kind in kinds.items() if kind == "hopeless"}
    if lasted < HOLD * 2 / 3 + TAKEOVER_GRACE:  # else leases have ended meanwhile, and tasks been taken over
        assert fleet.overlaps(HOLD, TAKEOVER_GRACE) == []
        assert fleet.repetitions() == []
    # Not all in all: of several calls under way when the outage ends, one may fail after another has succeeded.
    for before, after in zip(early, late, strict=True):
        said = {action: after[action] - before[action] for action in EPISODES}
        assert max(said.values()) <= 1, said
    assert max(child.actions["poll_fault"] for child in children) <= 1
