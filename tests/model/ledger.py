"""What was seen while the storm raged, and every rule that was broken."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from taskq_sls.core.states import State
from taskq_sls.results.records import Claim, Fence, TaskRecord

GRACE = 5.0
"""Seconds after the end of a lease before another holder may take over, as promised."""


@dataclass(eq=False, slots=True)
class Run:
    """One time a task's function was entered."""

    id: str
    run: int
    attempt: int
    owner: str | None
    worker: Any
    began: float
    ended: float | None = None
    returned: bool = False
    result: str | None = None


@dataclass
class Ledger:
    """Collects observations; `broken` holds what must not be, by rule.

    Attributes:
        max_attempts: by task name.
    """

    max_attempts: dict[str, int]
    runs: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    releases: Counter[tuple[str, int]] = field(default_factory=Counter)
    claims: Counter[tuple[str, int]] = field(default_factory=Counter)
    crashed_last: int = 0
    takeovers: int = 0
    overlaps: int = 0
    refused_zombies: int = 0
    copies: set[tuple[str, int]] = field(default_factory=set)
    poison_copies: Counter[str] = field(default_factory=Counter)
    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter[str] = field(default_factory=Counter)
    _digest: Any = field(default_factory=hashlib.sha256)

    def breaks(self, rule: str, what: str) -> None:
        self.broken[rule].append(what)

    def note(self, *what: Any) -> None:
        """Goes into the digest of the whole storm."""
        self._digest.update(repr(what).encode())

    @property
    def digest(self) -> str:
        return str(self._digest.hexdigest())

    # -- what happens to records --------------------------------------------------------------------------------

    def changed(self, operation: str, before: TaskRecord | None, after: TaskRecord | None, now: float) -> None:
        """A write may have changed a record, whoever made it."""
        if after is None:
            if before is not None:
                self.breaks("a terminal state is final", f"{before.id} vanished at {operation}")
            return
        if before is not None and _same(before, after):
            return
        self.note(operation, after.id, after.run, after.attempt, after.status, round(now, 3))
        self.counts[f"record {after.status}"] += 1
        if before is None:
            return
        if after.run < before.run:
            self.breaks("a lower run never writes", _step(operation, before, after))
        redriven = before.status is State.FAILED and after.run == before.run + 1
        moved = before.status.terminal and (
            (after.status, after.run, after.result_json) != (before.status, before.run, before.result_json)
        )
        if not redriven and (moved or after.run > before.run):
            self.breaks("a terminal state is final", _step(operation, before, after))
        if after.attempt > self.max_attempts.get(after.task, 10**6):
            self.breaks("attempts never exceed max_attempts", _step(operation, before, after))

    def claimed(self, claim: Claim, before: TaskRecord | None, after: TaskRecord) -> None:
        """A claim took effect."""
        self.claims[claim.id, claim.run] += 1
        if after.status is not State.RUNNING or after.owner != claim.owner:
            self.breaks("claim sets RUNNING, owner and lease", _step("claim", before, after))
        fresh = before is None or before.run < claim.run
        expected = 1 if fresh or before is None else before.attempt + 1
        if after.attempt != expected:
            self.breaks("claim counts one attempt", _step("claim", before, after))
        if before is None or fresh:
            return
        if before.cancel_requested:
            self.breaks("a cancelled task does not start", _step("claim", before, after))
        if before.status is State.RETRYING and before.next_at is not None and before.next_at > claim.now:
            self.breaks("a retry does not start before it is due", _step("claim", before, after))
        if before.status is State.RUNNING:
            self.takeovers += 1
            if before.lease_until is not None and claim.now < before.lease_until + GRACE:
                self.breaks("a lease is taken over 5 s after its end, not before", _step("claim", before, after))
            if before.attempt >= claim.max_attempts:
                self.breaks("an ended lease at the last attempt is not run again", _step("claim", before, after))

    def written(self, operation: str, fence: Fence, before: TaskRecord | None, after: TaskRecord | None) -> None:
        """A write of one attempt was tried: finish, renew or release."""
        if before is None or after is None or _same(before, after):
            self.refused_zombies += before is not None and before.owner != fence.owner
            return
        holder = (before.status, before.owner, before.run, before.attempt)
        if holder != (State.RUNNING, fence.owner, fence.run, fence.attempt):
            self.breaks("a zombie cannot write", f"{_step(operation, before, after)} by {fence}")
        if operation == "finish" and before.cancel_requested and after.status is State.RETRYING:
            self.breaks("a retry with the cancel flag set becomes CANCELLED", _step(operation, before, after))
        if operation == "release":
            self.releases[fence.id, fence.run] += 1
            if after.attempt != before.attempt - 1 or after.lease_until is not None:
                self.breaks("release gives the attempt back", _step(operation, before, after))

    def closed(self, before: TaskRecord, after: TaskRecord, now: float) -> None:
        """An abandoned attempt was ended by somebody else."""
        if _same(before, after):
            return
        if (before.lease_until or 0) > now - GRACE:
            self.breaks("a lease is taken over 5 s after its end, not before", _step("close", before, after))
        if after.status is State.FAILED:
            self.crashed_last += 1
            if before.attempt < self.max_attempts[before.task] or after.reason != "crashed":
                self.breaks("only the last attempt that crashed is closed as FAILED", _step("close", before, after))

    # -- what happens in functions ------------------------------------------------------------------------------

    def began(self, run: Run, record: TaskRecord | None, now: float) -> None:
        """A function was entered."""
        self.note("began", run.id, run.run, run.attempt, round(now, 3))
        for other in self.runs[run.id]:
            if other.ended is not None or other.worker is None:
                continue
            self.overlaps += 1
            if run.owner is not None and not other.worker.was_paused_during(other):
                self.breaks(
                    "no two attempts run at once while a lease holds",
                    f"{run.id}: attempt {run.attempt} at {now:.1f} beside attempt {other.attempt} of {other.began:.1f}",
                )
        self.runs[run.id].append(run)
        if run.owner is None or run.worker.was_paused_during(run):
            return
        if record is None or record.status is not State.RUNNING or record.owner != run.owner:
            self.breaks("only a claimed attempt enters its function", f"{run} with {record}")


def _same(before: TaskRecord, after: TaskRecord) -> bool:
    return before == after


def _step(operation: str, before: TaskRecord | None, after: TaskRecord | None) -> str:
    def words(record: TaskRecord | None) -> str:
        if record is None:
            return "nothing"
        return (
            f"{record.status} run {record.run} attempt {record.attempt} owner {record.owner} lease {record.lease_until} "
            f"next {record.next_at} updated {record.updated_at}"
        )

    id = after.id if after else before.id if before else "?"
    return f"{operation} of {id}: {words(before)} -> {words(after)}"
