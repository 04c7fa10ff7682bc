"""Any sequence of operations has the same answers and leaves the same records in memory and in DynamoDB."""

import itertools
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.core.context import Progress
from taskq_sls.core.flow import drive
from taskq_sls.core.message import ErrorInfo
from taskq_sls.core.states import State
from taskq_sls.deploy.provision import provision_table
from taskq_sls.results.base import Query, ResultBackend
from taskq_sls.results.dynamodb.backend import DynamoResults
from taskq_sls.results.memory import MemoryResults
from taskq_sls.results.records import AttemptEnd, Claim, Claimed, Fence
from tests.support.record_builders import NOW, a_claim

IDS = ["a", "b"]
LIFE = 400.0
"""Time to live in seconds: short, so that some records run out within a sequence."""

tables = (f"differential-{number}" for number in itertools.count())

passing = st.sampled_from([0.0, 1.0, 4.999, 5.0, 30.0, 66.0, 200.0])
progress = st.sampled_from([None, None, Progress(1), Progress(2, 4, "half")])
finishes = st.tuples(
    st.sampled_from([State.RETRYING, State.RETRYING, State.SUCCEEDED, State.FAILED, State.FAILED, State.CANCELLED]),
    st.sampled_from([None, 0.0, 30.0]),
    progress,
)
ids = st.sampled_from(IDS)
nth = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("claim"), ids, st.integers(0, 2), st.integers(1, 3)),
    st.tuples(st.just("claim"), ids, st.just(0), st.just(3)),
    st.tuples(st.just("claim again"), nth),
    st.tuples(st.just("renew"), nth, progress),
    st.tuples(st.just("finish"), nth, finishes),
    st.tuples(st.just("finish"), st.just(0), finishes),
    st.tuples(st.just("release"), nth),
    st.tuples(st.just("close"), ids, finishes),
    st.tuples(st.just("expire"), ids, st.integers(0, 1)),
    st.tuples(st.just("put_queued"), ids),
    st.tuples(st.just("put_finished"), ids, finishes),
    st.tuples(st.just("cancel"), ids),
)
sequences = st.lists(st.tuples(passing, steps), min_size=5, max_size=25)


class Twin:
    """One backend and what its callers remember of it."""

    def __init__(self, results: ResultBackend) -> None:
        self.results = results
        self.claims: list[tuple[Claim, Fence]] = []

    def do(self, step: tuple[Any, ...], now: float, number: int) -> Any:
        kind, *arguments = step
        action = getattr(self, kind.replace(" ", "_"))
        return drive(action(*arguments, now, number))

    def newest(self, back: int) -> tuple[Claim, Fence] | None:
        return self.claims[-1 - back] if back < len(self.claims) else None

    async def claim(self, id: str, run: int, max_attempts: int, now: float, number: int) -> Any:
        claim = the_claim(id, run, now, number, max_attempts=max_attempts)
        answer = await self.results.claim(claim)
        if isinstance(answer, Claimed):
            self.claims.append((claim, Fence(id, run, answer.attempt, claim.owner)))
        return answer

    async def claim_again(self, back: int, now: float, number: int) -> Any:
        known = self.newest(back)
        return known and await self.results.claim(known[0]._replace(now=now, lease_until=now + 60, ttl=now + LIFE))

    async def renew(self, back: int, progress: Progress | None, now: float, number: int) -> Any:
        known = self.newest(back)
        return known and await self.results.renew(known[1], now=now, lease_until=now + 60, progress=progress)

    async def finish(self, back: int, how: Any, now: float, number: int) -> Any:
        known = self.newest(back)
        return known and await self.results.finish(known[1], the_finish(how, now))

    async def release(self, back: int, now: float, number: int) -> Any:
        known = self.newest(back)
        return known and await self.results.release(known[1], now=now)

    async def close(self, id: str, how: Any, now: float, number: int) -> Any:
        record = await self.results.get(id, now=now)
        return record and await self.results.close_abandoned(record, the_finish(how, now))

    async def expire(self, id: str, run: int, now: float, number: int) -> Any:
        return await self.results.expire(the_claim(id, run, now, number))

    async def put_queued(self, id: str, now: float, number: int) -> Any:
        return await self.results.put_queued(the_claim(id, 0, now, number))

    async def put_finished(self, id: str, how: Any, now: float, number: int) -> Any:
        return await self.results.put_finished(the_claim(id, 0, now, number), 1, the_finish(how, now))

    async def cancel(self, id: str, now: float, number: int) -> Any:
        return await self.results.cancel(id, task=f"task-{id}", queue="default", now=now, ttl=now + LIFE)

    def stands(self, now: float) -> Any:
        """All that can be read."""
        queries = [Query(tasks=("task-a", "task-b")), *(Query(status=state) for state in State if state in LISTED)]
        return [
            *(drive(self.results.get(id, now=now)) for id in IDS),
            *(drive(self.results.list(query, now=now)) for query in queries),
        ]


LISTED = (State.RETRYING, State.FAILED)


def the_claim(id: str, run: int, now: float, number: int, **other: Any) -> Claim:
    fields: dict[str, Any] = {"owner": f"owner-{number}", "task": f"task-{id}", "enqueued_at": NOW, "ttl": now + LIFE}
    if number % 3 == 0:
        fields |= {"labels": {"number": str(number)}, "parent": "p", "enqueued_at": now, "queue": "other"}
    if number % 4 == 0:  # another task under the same id, or the same one after it was moved
        fields |= {"task": f"moved-{id}", "aliases": (f"task-{id}", "older") if number % 8 else ()}
    return a_claim(id, run=run, now=now, **fields | other)


def the_finish(how: Any, now: float) -> AttemptEnd:
    state, delay, progress = how
    failure = state in (State.FAILED, State.RETRYING)
    return AttemptEnd(
        state,
        now=now,
        ttl=now + LIFE,
        result_json="1" if state is State.SUCCEEDED else None,
        error=ErrorInfo("builtins.ValueError", "no", "") if failure else None,
        reason="error" if failure else None,
        next_at=None if delay is None else now + delay,
        progress=progress,
    )


@settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sequences)
def test_memory_and_dynamodb_cannot_be_told_apart(
    blocking_aws: BlockingAws, sequence: list[tuple[float, tuple[Any, ...]]]
) -> None:
    table = next(tables)
    drive(provision_table(blocking_aws, table))
    dynamo = DynamoResults(blocking_aws.client("dynamodb"), blocking_aws.flow, table, blocking_aws.describe)
    memory, dynamodb = Twin(MemoryResults()), Twin(dynamo)
    now = NOW
    for number, (seconds, step) in enumerate(sequence):
        now += seconds
        assert dynamodb.do(step, now, number) == memory.do(step, now, number), (number, step)
        for id in IDS:
            assert drive(dynamo.get(id, now=now)) == drive(memory.results.get(id, now=now)), (number, step)
    assert dynamodb.stands(now) == memory.stands(now)
