"""The broker at its worst, and faults by seed: what they do, and what they still promise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from taskq_sls.brokers.base import Outgoing
from taskq_sls.core.delivery import DeadLetter, Delivery
from taskq_sls.core.flow import BlockingFlow, drive
from taskq_sls.core.states import State
from taskq_sls.core.times import DAY
from taskq_sls.errors import AwsError, ConfigError
from taskq_sls.results.memory import MemoryResults
from taskq_sls.results.records import AttemptEnd, Claim, Claimed, Fence
from taskq_sls.testing import AdversarialBroker, Faults, FaultyPort, FaultyResults, ManualClock

NOW = 1_800_000_000.0


class AdversaryHarness:
    """A broker that does only the evil a test asks for."""

    def __init__(self, queue: str = "default", *, faults: Faults | None = None, seed: int = 1, **evil: float) -> None:
        self.clock = ManualClock(NOW)
        self.queue = queue
        chances: dict[str, Any] = {"disorder": 0.0, "duplicates": 0.0, "ghosts": 0.0, **evil}
        self.broker = AdversarialBroker(self.clock, [queue], seed=seed, faults=faults, **chances)

    def send(self, *bodies: str) -> list[Any]:
        fifo = self.queue.endswith(".fifo")
        return drive(
            self.broker.send(
                [Outgoing(self.queue, one, one, 0, "g" if fifo else None, one if fifo else None) for one in bodies]
            )
        )

    def receive(self, visibility: int = 60) -> list[Delivery]:
        return drive(self.broker.receive(self.queue, max_messages=10, wait=0, visibility=visibility))

    def bodies(self) -> list[str]:
        return [message.body for message in self.broker.messages(self.queue)]


def test_a_standard_queue_delivers_out_of_order() -> None:
    bench = AdversaryHarness(disorder=1)
    bench.send(*"abcdefgh")
    received = [delivery.body for delivery in bench.receive()]
    assert received != sorted(received)
    assert sorted(received) == list("abcdefgh")


def test_a_fifo_queue_keeps_its_order_and_delivers_nothing_twice() -> None:
    bench = AdversaryHarness("ledger.fifo", disorder=1, duplicates=1, ghosts=1)
    bench.send(*"abcdefgh")
    received = bench.receive()
    assert [delivery.body for delivery in received] == list("abcdefgh")
    assert bench.receive() == []
    drive(bench.broker.ack(received))
    assert bench.receive() == []


def test_deduplication_is_kept_after_the_delete() -> None:
    bench = AdversaryHarness("ledger.fifo")
    bench.send("a")
    drive(bench.broker.ack(bench.receive()))
    assert bench.send("a") == [None]
    assert bench.receive() == []


def test_a_held_message_is_handed_out_twice_and_the_first_receipt_does_nothing_any_more() -> None:
    bench = AdversaryHarness(duplicates=1)
    bench.send("a")
    [first], [second] = bench.receive(), bench.receive()
    assert first.message_id == second.message_id
    assert drive(bench.broker.ack([first])) == [None]
    [refused] = drive(bench.broker.change_visibility([(first, 0)]))
    assert refused is not None
    assert refused.receipt_expired
    assert bench.bodies() == ["a"]
    drive(bench.broker.ack([second]))
    assert bench.bodies() == []


def test_a_deleted_message_is_delivered_once_more_and_only_once() -> None:
    bench = AdversaryHarness(ghosts=1)
    bench.send("a")
    drive(bench.broker.ack(bench.receive()))
    ghosts = [ghost for _ in range(50) for ghost in bench.receive()]
    assert [ghost.body for ghost in ghosts] == ["a"]
    drive(bench.broker.ack(ghosts))
    assert [ghost for _ in range(50) for ghost in bench.receive()] == []


def test_in_the_calm_it_behaves() -> None:
    faults = Faults(1, before=1, after=0)
    bench = AdversaryHarness(disorder=1, duplicates=1, ghosts=1, faults=faults)
    bench.broker.calm()
    assert bench.send(*"abcdefgh") == [None] * 8
    received = bench.receive()
    assert [delivery.body for delivery in received] == list("abcdefgh")
    assert bench.receive() == []
    drive(bench.broker.ack(received))
    assert [ghost for _ in range(50) for ghost in bench.receive()] == []


Call = Callable[[AdversaryHarness, Delivery], Any]
CALLS: dict[str, Call] = {
    "ack": lambda bench, delivery: bench.broker.ack([delivery]),
    "change_visibility": lambda bench, delivery: bench.broker.change_visibility([(delivery, 0)]),
    "dead_letter": lambda bench, delivery: bench.broker.dead_letter([(delivery, DeadLetter("why"))]),
}
EFFECTS: dict[str, Callable[[AdversaryHarness], bool]] = {
    "ack": lambda bench: not bench.bodies(),
    "change_visibility": lambda bench: len(bench.receive()) == 1,
    "dead_letter": lambda bench: len(bench.broker.messages("default-dlq")) == 1,
}


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_call_fails_before_its_effect_or_after_it(operation: str, after: bool) -> None:
    faults = Faults(1, before=0 if after else 1, after=1 if after else 0, entries=0, operations=[operation])
    bench = AdversaryHarness(faults=faults)
    bench.send("a")
    [delivery] = bench.receive()
    with pytest.raises(AwsError) as raised:
        drive(CALLS[operation](bench, delivery))
    assert raised.value.transient
    assert raised.value.ambiguous or not after
    faults.calm()
    assert EFFECTS[operation](bench) is after


def test_a_send_whose_answer_is_lost_was_accepted() -> None:
    bench = AdversaryHarness(faults=Faults(1, before=0, after=1, operations=["send"]))
    with pytest.raises(AwsError):
        bench.send("a")
    assert bench.bodies() == ["a"]


def test_a_receive_whose_answer_is_lost_hides_the_messages_from_then_on() -> None:
    faults = Faults(1, before=0, after=1, operations=["receive"])
    bench = AdversaryHarness(faults=faults)
    bench.send("a")
    with pytest.raises(AwsError):
        bench.receive(visibility=30)
    faults.calm()
    bench.clock.travel(29)
    assert bench.receive() == []
    bench.clock.travel(1)
    assert [delivery.receive_count for delivery in bench.receive()] == [2]


def test_single_entries_fail_with_and_without_their_effect() -> None:
    bench = AdversaryHarness(faults=Faults(1, before=0, after=0, entries=0.5))
    answers = bench.send(*(str(number) for number in range(40)))
    refused = {str(number) for number, answer in enumerate(answers) if answer is not None}
    assert 0 < len(refused) < 40
    assert all(answer is None or answer.transient for answer in answers)
    arrived = set(bench.bodies())
    assert {str(number) for number in range(40)} - refused <= arrived
    assert refused & arrived
    assert refused - arrived


def test_the_same_seed_does_the_same_again() -> None:
    def course(seed: int) -> list[str]:
        bench = AdversaryHarness(seed=seed, disorder=0.5, duplicates=0.3, ghosts=0.5, faults=Faults(seed))
        seen = []
        for _ in range(30):
            try:
                bench.send(*"abc")
                received = bench.receive()
                seen += [delivery.body for delivery in received]
                drive(bench.broker.ack(received))
            except AwsError as error:
                seen.append(str(error))
        return seen

    assert course(3) == course(3)
    assert course(3) != course(4)


@pytest.mark.parametrize("option", ["disorder", "duplicates", "ghosts"])
@pytest.mark.parametrize("chance", [-0.1, 1.1, "often", True])
def test_a_chance_of_mischief_is_from_0_to_1(option: str, chance: Any) -> None:
    with pytest.raises(ConfigError, match=option):
        AdversarialBroker(ManualClock(), ["default"], seed=1, **{option: chance})


def test_chances_of_faults_are_from_0_to_1_together() -> None:
    with pytest.raises(ConfigError, match="entries"):
        Faults(1, entries=2)
    with pytest.raises(ConfigError, match=r"before \+ after"):
        Faults(1, before=0.6, after=0.6)


def test_what_is_broken_down_fails_until_it_is_mended() -> None:
    faults = Faults(1, before=0, after=0, entries=0)
    bench = AdversaryHarness(faults=faults)
    faults.break_down("send")
    with pytest.raises(AwsError):
        bench.send("a")
    assert bench.receive() == []
    faults.mend()
    assert bench.send("a") == [None]


CLAIM = Claim("t", 0, "job", "default", "me", NOW, NOW + 60, 3, NOW + 20 * DAY, NOW)
FENCE = Fence("t", 0, 1, "me")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("operation", ["claim", "renew", "finish", "release"])
def test_answers_of_the_table_are_lost_too(operation: str, after: bool) -> None:
    inner = MemoryResults()
    if operation != "claim":
        drive(inner.claim(CLAIM))
    faults = Faults(1, before=0 if after else 1, after=1 if after else 0)
    results = FaultyResults(inner, faults)
    calls: dict[str, Callable[[], Any]] = {
        "claim": lambda: results.claim(CLAIM),
        "renew": lambda: results.renew(FENCE, now=NOW, lease_until=NOW + 90),
        "finish": lambda: results.finish(FENCE, AttemptEnd(State.SUCCEEDED, NOW, NOW + 20 * DAY)),
        "release": lambda: results.release(FENCE, now=NOW),
    }
    before = drive(inner.get("t", now=NOW))
    with pytest.raises(AwsError):
        drive(calls[operation]())
    assert (drive(inner.get("t", now=NOW)) != before) is after
    faults.calm()
    assert drive(calls[operation]())  # repeated with the same token, it answers as if nothing had happened


def test_every_operation_of_the_table_passes_through() -> None:
    results = FaultyResults(MemoryResults(), Faults(1, before=0, after=0))
    assert drive(results.claim(CLAIM)) == Claimed(1)
    for operation in sorted(type(results).__mro__[1].__abstractmethods__):  # type: ignore[attr-defined]  # an ABC
        assert operation in vars(FaultyResults)


class Echo:
    """A client that accepts everything, and remembers it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def call(self, operation: str, /, **params: Any) -> dict[str, Any]:
        self.calls.append((operation, params))
        return {"Successful": [{"Id": entry["Id"]} for entry in params.get("Entries", ())]}


class EchoPort:
    def __init__(self) -> None:
        self.flow = BlockingFlow(ManualClock())
        self.echo = Echo()
        self.closed = False

    def client(self, service: str) -> Echo:
        return self.echo

    def describe(self) -> str:
        return "an echo"

    async def close(self) -> None:
        self.closed = True


def test_calls_to_aws_fail_in_all_their_ways_before_and_after_the_effect() -> None:
    port, faults = EchoPort(), Faults(5, before=0.3, after=0.3)
    client = FaultyPort(port, faults).client("dynamodb")
    answered = 0
    for _ in range(300):
        with contextlib.suppress(AwsError):
            drive(client.call("update_item"))
            answered += 1
    before = sum(count for name, count in faults.counts.items() if "(after)" not in name)
    assert before + len(port.echo.calls) == 300
    assert answered < len(port.echo.calls)
    assert {name.split()[1] for name in faults.counts} == {
        "ThrottlingException",
        "ExpiredTokenException",
        "InternalServerError",
        "ConnectionClosedError",
        "ReadTimeoutError",
        "IncompleteReadError",
    }


def test_entries_of_batch_calls_fail_in_the_answer() -> None:
    port = EchoPort()
    client = FaultyPort(port, Faults(1, before=0, after=0, entries=0.5)).client("sqs")
    entries = [{"Id": str(number)} for number in range(40)]
    answer = drive(client.call("send_message_batch", QueueUrl="q", Entries=entries))
    accepted, failed = ({entry["Id"] for entry in answer[key]} for key in ("Successful", "Failed"))
    assert accepted | failed == {entry["Id"] for entry in entries}
    assert not accepted & failed
    arrived = {entry["Id"] for entry in port.echo.calls[0][1]["Entries"]}
    assert accepted < arrived < accepted | failed


def test_the_port_is_otherwise_the_one_behind_it() -> None:
    inner = EchoPort()
    port = FaultyPort(inner, Faults(1))
    assert port.flow is inner.flow
    assert port.describe() == "an echo (with injected faults)"
    drive(port.close())
    assert inner.closed
