"""What must be true of records, queues and runs when a storm is over."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from taskq_sls import State
from tests.model.storm import QUEUES, Sent, Storm
from tests.model.witness import name_of, read

FENCED = ("started", "queued")


def check_all(storm: Storm) -> dict[str, list[str]]:
    """Everything that was or is broken, by rule."""
    broken = {rule: list(found) for rule, found in storm.ledger.broken.items()}
    for rule, check in CHECKS.items():
        if found := list(check(storm)):
            broken.setdefault(rule, []).extend(found)
    return broken


def _fenced(storm: Storm) -> Iterator[Sent]:
    return (sent for sent in storm.sent.values() if sent.level in FENCED)


def one_final_state(storm: Storm) -> Iterator[str]:
    buried = _buried(storm)
    for sent in storm.sent.values():
        record = storm.records.get(sent.id)
        # Without a claim nobody counts crashes: a task that kills its process goes on until SQS itself moves it.
        moved = sent.level == "finished" and record is None and sent.id in buried
        if sent.level != "none" and not moved and (record is None or not record.status.terminal):
            yield f"{sent.id}: {record}"


def _buried(storm: Storm) -> set[str]:
    return {name_of(body) for bodies in storm.dead.values() for body in bodies}


def success_has_run(storm: Storm) -> Iterator[str]:
    for id, record in storm.records.items():
        if record.status is not State.SUCCEEDED:
            continue
        result = json.loads(record.result_json or "null")
        if not any(run.returned and run.result == result for run in storm.ledger.runs[id]):
            yield f"{id}: {result} was never returned"
        if storm.sent[id].level in FENCED and result != f"{record.run}:{record.attempt}:{record.owner}":
            yield f"{id}: {result} is not of the attempt that the record names: {record}"


def attempts_are_bounded(storm: Storm) -> Iterator[str]:
    ledger = storm.ledger
    for sent in _fenced(storm):
        most = storm.tasks[sent.kind].options.retry.max_attempts
        entered = Counter(run.run for run in ledger.runs[sent.id])
        for run, times in entered.items():
            if times > most + ledger.releases[sent.id, run]:
                yield f"{sent.id} run {run}: entered {times} times, {most} attempts"
            if times > ledger.claims[sent.id, run]:
                yield f"{sent.id} run {run}: entered {times} times, claimed {ledger.claims[sent.id, run]}"
    for (id, run), times in ledger.claims.items():
        if id in storm.sent and times > (
            storm.tasks[storm.sent[id].kind].options.retry.max_attempts + ledger.releases[id, run]
        ):
            yield f"{id} run {run}: claimed {times} times"


def once_is_once(storm: Storm) -> Iterator[str]:
    for sent in _fenced(storm):
        if sent.kind == "once":
            for run, times in Counter(run.run for run in storm.ledger.runs[sent.id]).items():
                if times - storm.ledger.releases[sent.id, run] > 1:
                    yield f"{sent.id} run {run}: entered {times} times"


def finished_stays_finished(storm: Storm) -> Iterator[str]:
    for sent in _fenced(storm):
        record = storm.records.get(sent.id)
        if record is None or record.finished_at is None:
            continue
        for run in storm.ledger.runs[sent.id]:
            if run.run == record.run and run.began > record.finished_at and not run.worker.was_paused_during(run):
                yield f"{sent.id}: entered at {run.began}, over at {record.finished_at}"
            # Given back at a shutdown, its attempt did not count: the next one is the first again.
            if record.status is State.EXPIRED and not storm.ledger.releases[sent.id, run.run]:
                yield f"{sent.id}: expired, but was entered"


def nothing_is_left(storm: Storm) -> Iterator[str]:
    for queue, bodies in storm.left.items():
        for body in bodies:
            yield f"{queue}: {body}"


def nothing_is_lost(storm: Storm) -> Iterator[str]:
    buried = _buried(storm)
    for sent in storm.sent.values():
        ran = any(run.returned for run in storm.ledger.runs[sent.id])
        if sent.level == "none" and not ran and sent.id not in buried and not _aged(sent, storm):
            yield f"{sent.id} neither ran to its end nor is a dead letter"
    for id in storm.poison:
        if id not in buried:
            yield f"poison {id} is no dead letter"


def _aged(sent: Sent, storm: Storm) -> bool:
    return sent.expires_at is not None and not storm.ledger.runs[sent.id]


def failures_are_dead_letters(storm: Storm) -> Iterator[str]:
    letters = {
        (message.id, message.run)
        for queue in QUEUES
        for body in storm.dead[queue.name]
        if (message := read(body)) is not None
    }
    for sent in _fenced(storm):
        record = storm.records.get(sent.id)
        if record is not None and record.status is State.FAILED and (sent.id, record.run + 1) not in letters:
            yield f"{sent.id} FAILED in run {record.run} and has no dead letter"


def redriven_copies_ran(storm: Storm) -> Iterator[str]:
    for id, runs in storm.redriven.items():
        record = storm.records.get(id)
        entered = {run.run for run in storm.ledger.runs[id]}
        for run in runs:
            if storm.sent[id].level not in FENCED:
                if run not in entered:
                    yield f"{id} run {run} did not run"
            elif record is None or record.run < run or not storm.ledger.claims[id, run]:
                yield f"{id} run {run} was not opened: {record}"
            elif record.run == run and record.status is State.SUCCEEDED and run not in entered:
                yield f"{id} run {run} did not run"


CHECKS = {
    "every task is in one final state": one_final_state,
    "SUCCEEDED means that it ran to its end": success_has_run,
    "attempts never exceed max_attempts": attempts_are_bounded,
    "max_attempts=1 is at most once": once_is_once,
    "what is finished does not run again": finished_stays_finished,
    "no message is left behind": nothing_is_left,
    "no message is lost": nothing_is_lost,
    "every failure is a dead letter": failures_are_dead_letters,
    "a redriven copy is a new run and really runs": redriven_copies_ran,
}
