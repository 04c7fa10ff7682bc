"""The storm: producers, workers that crash, sleep and stop, cancels, redrives, and faults in every call.

Everything follows from the seed. When it is over, all is calm, the queues are drained and the ledger is closed.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taskq_sls import Queue, Retry, RetryLater, TaskContext, TaskQ, TaskRecord
from taskq_sls.brokers.base import Broker, Outgoing
from taskq_sls.client.services import Services
from taskq_sls.core.delivery import Delivery
from taskq_sls.core.flow import AsyncFlow, drive
from taskq_sls.core.message import deduplication_id
from taskq_sls.core.queues import dead_letter_name
from taskq_sls.errors import AwsError, EnqueueError, TaskQError
from taskq_sls.results.memory import MemoryResults
from taskq_sls.testing import Faults, FaultyResults
from tests.model.ledger import Ledger, Run
from tests.model.sim_worker import BeatFlow, Crashed, SimWorker
from tests.model.virtual_time import VirtualClock, run_virtually
from tests.model.witness import WitnessedBroker, WitnessedResults, name_of, read

HOLD = 30
QUEUES = (Queue("default", visibility_timeout=HOLD), Queue("ledger.fifo", visibility_timeout=HOLD))
MOST_RUNS = 3
"""Runs after which a dead letter is left where it is."""

DRAINED_AFTER = 3 * 86_400.0
"""Simulated seconds in which every queue must be empty once all is calm."""


@dataclass(frozen=True)
class Weather:
    """How bad it is.

    Args:
        tasks: how many are enqueued.
        workers: processes at once.
        crash: chance to die at each step of a process.
        slow: chance of each step to take up to 3 s.
        fate: mean seconds between two crashes, pauses or stops from outside.
        faults: chance of each call to fail before its effect, and the same after.
        outage: seconds for which no end of an attempt can be stored, once; beyond 15 minutes the library gives up.
    """

    tasks: int = 500
    workers: int = 4
    crash: float = 0.001
    slow: float = 0.1
    fate: float = 20.0
    faults: float = 0.04
    entries: float = 0.03
    duplicates: float = 0.02
    ghosts: float = 0.05
    outage: float = 0.0
    poison: int = 5
    cancels: float = 0.08
    redrives: bool = True


def weather_of(seed: int, tasks: int) -> Weather:
    """Each seed has weather of its own, so that every evil has its day."""
    dice = random.Random(f"weather {seed}")
    return Weather(
        tasks=tasks,
        workers=dice.choice((2, 4, 6)),
        crash=dice.choice((0.0, 0.0005, 0.002)),
        fate=dice.choice((10.0, 20.0, 60.0)),
        faults=dice.choice((0.0, 0.02, 0.05, 0.1)),
        entries=dice.choice((0.0, 0.03, 0.1)),
        duplicates=dice.choice((0.0, 0.02, 0.05)),
        ghosts=dice.choice((0.0, 0.05, 0.3)),
        outage=dice.choice((0.0, 1_200.0)),
    )


@dataclass
class Sent:
    """A task that a producer was told, or must believe, is in the queue."""

    id: str
    kind: str
    level: str
    expires_at: float | None
    group: str | None = None
    place: int = 0


class NotWorthIt(Exception):
    """The task gives up."""


class Broken(Exception):
    """The task fails, perhaps not the next time."""


class Storm:
    """One simulation, from the first enqueue to the last look at the records."""

    def __init__(self, seed: int, weather: Weather) -> None:
        self.seed = seed
        self.weather = weather
        self.dice = random.Random(f"storm {seed}")
        self.clock = VirtualClock()
        self.app = TaskQ("storm", queues=QUEUES, middleware=(), clock=self.clock)
        self.tasks = _declare(self)
        self.ledger = Ledger({task.name: task.options.retry.max_attempts for task in self.app.registry})
        self.faults = Faults(seed, before=weather.faults, after=weather.faults, entries=weather.entries)
        self.sent: dict[str, Sent] = {}
        self.groups: dict[str, list[str]] = {}
        self.poison: list[str] = []
        self.redriven: dict[str, set[int]] = {}
        self.records: dict[str, TaskRecord] = {}
        self.left: dict[str, list[str]] = {}
        self.dead: dict[str, list[str]] = {}
        self.workers: list[SimWorker] = []
        self.over = False
        self.calm = False
        self._numbers = 0
        self._background: dict[asyncio.Task[Any], None] = {}
        self.ends: list[str] = []

    # -- what it runs over --------------------------------------------------------------------------------------

    def wire(self) -> None:
        """Backends in memory."""
        weather = self.weather
        base = MemoryResults()
        self.broker: Any = WitnessedBroker(
            self.clock,
            QUEUES,
            seed=self.seed,
            faults=self.faults,
            duplicates=weather.duplicates,
            ghosts=weather.ghosts,
        )
        self.broker.ledger, self.broker.results = self.ledger, base
        self.truth: Any = base
        witnessed = WitnessedResults(base, self.ledger, self.clock)  # type: ignore[abstract]  # the module adds the rest
        self.results: Any = FaultyResults(witnessed, self.faults)
        self.beat_broker: Broker = self.broker
        self.beat_results: Any = self.results

    def calm_down(self) -> None:
        self.calm = True
        self.broker.calm()

    def next_visible(self, queue: str) -> float | None:
        due: float | None = self.broker.next_visible_at(queue)
        return due

    def bodies(self, queue: str) -> list[str]:
        """Of all messages in a queue, hidden ones too."""
        return [message.body for message in self.broker.messages(queue)]

    # -- the course of it ---------------------------------------------------------------------------------------

    def run(self) -> Storm:
        """Let it rage, let it end, drain everything and look."""
        self.wire()
        logging.disable(logging.CRITICAL)
        state = random.getstate()
        random.seed(self.seed)  # the jitter of the library
        try:
            run_virtually(self.clock, self._rage())
        finally:
            logging.disable(logging.NOTSET)
            random.setstate(state)
        return self

    async def _rage(self) -> None:
        self.app.services = _Handed(self)  # type: ignore[assignment]  # what producers are given
        for _ in range(self.weather.workers):
            self._hire()
        helpers = [self._spawn(self._fate())]
        if self.weather.outage:
            helpers.append(self._spawn(self._break_down()))
        if self.weather.redrives:
            helpers += [self._spawn(self._redrive(queue.name)) for queue in QUEUES]
        await self._produce()
        await self._until(lambda: len(self._unfinished()) < self.weather.tasks // 20, 4 * 3600)
        for helper in helpers:
            helper.cancel()
        await asyncio.wait(helpers)
        self.calm_down()
        for worker in self.workers:
            worker.crash_chance = 0.0
            worker.lazy = True
            if not worker.dead and worker.stopping:
                worker.crash()
        while sum(not worker.dead for worker in self.workers) < self.weather.workers:
            self._hire()
        self.over = not await self._until(self._drained, DRAINED_AFTER)
        self.left = {queue.name: self.bodies(queue.name) for queue in QUEUES}
        self.dead = {queue.name: self.bodies(dead_letter_name(queue.name)) for queue in QUEUES}
        for id in self.sent:
            record = await self.truth.get(id, now=self.clock.time())
            if record is not None:
                self.records[id] = record
        for worker in self.workers:
            worker.crash()
        for task in list(self._background):
            task.cancel()
        await asyncio.sleep(0)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = self.clock.time() + seconds
        while not condition():
            if self.clock.time() > deadline:
                return False
            await asyncio.sleep(5)
        return True

    def _drained(self) -> bool:
        return not any(self.bodies(queue.name) for queue in QUEUES)

    def _unfinished(self) -> list[str]:
        return [body for queue in QUEUES for body in self.bodies(queue.name)]

    def _hire(self) -> None:
        self._numbers += 1
        beats = Services(BeatFlow(self.clock), lambda: self.beat_broker, lambda: self.beat_results, _nothing)
        worker = SimWorker(
            self._numbers,
            self.app,
            self.clock,
            self.broker,
            self.results,
            beats,
            dice=random.Random(f"worker {self.seed} {self._numbers}"),
            crash=0.0 if self.calm else self.weather.crash,
            slow=0.0 if self.calm else self.weather.slow,
            next_visible=self.next_visible,
            processed=self._processed,
        )
        self.workers = [old for old in self.workers if not old.dead]
        worker.lazy = self.calm
        self.workers.append(worker)
        worker.start()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._background[task] = None
        task.add_done_callback(lambda task: self._background.pop(task, None))
        return task

    def _processed(self, delivery: Delivery, outcome: Any) -> None:
        self.ledger.counts[f"outcome {type(outcome).__name__}"] += 1

    async def _fate(self) -> None:
        """Crashes, pauses and stops from outside; whoever died is replaced a little later."""
        while True:
            await asyncio.sleep(self.dice.expovariate(1 / self.weather.fate))
            living = [worker for worker in self.workers if not worker.dead and not worker.stopping]
            if len(living) < self.weather.workers:
                self._hire()
            if not living:
                continue
            worker = self.dice.choice(living)
            match self.dice.choice(("crash", "pause", "nap", "stop", "stop")):
                case "crash":
                    worker.crash()
                case "pause":
                    worker.pause(self.dice.uniform(1, 3) * HOLD, long=True)
                case "nap":
                    worker.pause(self.dice.uniform(0, 8), long=False)
                case _:
                    self._spawn(worker.stop(self.dice.choice((0.0, 0.0, 5.0, 60.0))))

    async def _break_down(self) -> None:
        """The table takes no ends of attempts for a while."""
        await asyncio.sleep(self.weather.tasks / 8)
        self.faults.break_down("finish", "put_finished")
        await asyncio.sleep(self.weather.outage)
        self.faults.mend()
        await asyncio.Event().wait()

    # -- producers ----------------------------------------------------------------------------------------------

    async def _produce(self) -> None:
        kinds = ["job"] * 10 + ["once"] * 3 + ["noted"] * 4 + ["timed"] * 2 + ["unfenced", "unrecorded"] + ["entry"] * 4
        for number in range(self.weather.tasks):
            kind = self.dice.choice(kinds)
            expires_in = self.dice.uniform(1, 60) if self.dice.random() < 0.05 else None
            await self._enqueue(f"{kind}-{number:05}", kind, expires_in)
            if number % max(1, self.weather.tasks // max(1, self.weather.poison)) == 3:
                await self._send_poison(number)
            await asyncio.sleep(self.dice.expovariate(4))

    async def _enqueue(self, id: str, kind: str, expires_in: float | None) -> None:
        task = self.tasks[kind]
        level = task.options.record
        options: dict[str, Any] = {"id": id, "labels": {"level": level}}
        place, group = 0, None
        if kind == "entry":
            group = f"group-{self.dice.randrange(5)}"
            self.groups.setdefault(group, []).append(id)
            place = len(self.groups[group]) - 1
            options |= {"group": group}
            expires_in = None
        elif self.dice.random() < 0.1:
            options["delay"] = self.dice.randrange(1, 60)
            expires_in = None
        if expires_in is not None:
            options["expires_in"] = expires_in
        expires_at = None if expires_in is None else self.clock.time() + expires_in
        # Before the send: its answer may be lost, and its message be delivered, before it returns.
        self.sent[id] = Sent(id, kind, level, expires_at, group, place)
        while True:
            try:
                await task.with_options(**options).aenqueue()
                break
            except (AwsError, EnqueueError):
                # The same id again: an ambiguous send may be repeated safely.
                await asyncio.sleep(self.dice.uniform(0.1, 1))
        if level in ("started", "queued") and self.dice.random() < self.weather.cancels:
            self._spawn(self._cancel(id, task, self.dice.expovariate(1 / self.dice.choice((2, 20)))))

    async def _cancel(self, id: str, task: Any, after: float) -> None:
        await asyncio.sleep(after)
        now = self.clock.time()
        try:
            await self.results.cancel(
                id, task=task.name, queue=task.options.queue, now=now, ttl=now + task.options.result_ttl
            )
        except AwsError:
            return

    async def _send_poison(self, number: int) -> None:
        body = self.dice.choice(
            (
                f'{{"v": 1, "no": "task {number}"}}',
                f"not JSON {number}",
                f'{{"v": 1, "id": "p{number}", "task": "nobody"}}',
            )
        )
        self.poison.append(name_of(body))
        while True:
            try:
                if await self.broker.send([Outgoing("default", body, f"p{number}")]) == [None]:
                    return
            except AwsError:
                continue

    # -- the operator who redrives ------------------------------------------------------------------------------

    async def _redrive(self, queue: str) -> None:
        dead = dead_letter_name(queue)
        while True:
            await asyncio.sleep(self.dice.uniform(10, 60))
            try:
                letters = await self.broker.receive(dead, max_messages=10, wait=0, visibility=120)
            except TaskQError:
                continue
            for letter in letters:
                message = read(letter.body)
                if message is None or message.run >= MOST_RUNS or self.dice.random() < 0.2:
                    continue
                dedup = deduplication_id(message.id, message.task, message.run, 0) if queue.endswith(".fifo") else None
                group = letter.group if queue.endswith(".fifo") else None
                try:
                    answers = await self.broker.send([Outgoing(queue, letter.body, message.id, 0, group, dedup)])
                    if answers == [None]:
                        self.redriven.setdefault(message.id, set()).add(message.run)
                        await self.broker.ack([letter])
                except TaskQError:
                    continue

    # -- what tasks do ------------------------------------------------------------------------------------------

    async def work(self, context: TaskContext) -> str:
        """The one function behind all tasks: looks around, and ends as its id, run and attempt say."""
        worker: SimWorker = context.state
        fence = worker.fence(context)
        run = Run(context.id, context.run, context.attempt, fence.owner if fence else None, worker, self.clock.time())
        worker.runs.append(run)
        self._look_around(run)
        self.ledger.began(run, await self.truth.get(context.id, now=self.clock.time()), self.clock.time())
        try:
            end = await self._act(context, worker)
            run.returned, run.result = True, end
            return end
        finally:
            run.ended = run.ended or self.clock.time()
            worker.runs.remove(run)

    async def _act(self, context: TaskContext, worker: SimWorker) -> str:
        dice = random.Random(f"{self.seed} {context.id} {context.run} {context.attempt}")
        temper = random.Random(f"{self.seed} {context.id}").random()
        seconds = dice.expovariate(1 / 2)
        if dice.random() < 0.08:
            seconds = dice.uniform(HOLD, 5 * HOLD)  # longer than a lease: the heartbeat must carry it
        await asyncio.sleep(seconds)
        await worker.step()
        fence = worker.fence(context)
        owner = fence.owner if fence else ""
        healed = context.run > 0 and dice.random() < 0.7
        if temper < 0.12 and not healed:
            raise Broken("never works")
        if temper < 0.15 and not healed:
            raise NotWorthIt("no")
        if temper < 0.18 and not self.calm and not healed:
            worker.crash()  # takes its process along, each time
            raise Crashed
        if temper < 0.35 and dice.random() < 0.5:
            raise Broken("works next time")
        if temper < 0.38 and dice.random() < 0.5:
            raise RetryLater(dice.uniform(1, 90))
        return f"{context.run}:{context.attempt}:{owner}"

    def _look_around(self, run: Run) -> None:
        """FIFO order, and age, seen from inside of the function."""
        sent = self.sent[run.id]
        now = self.clock.time()
        first = run.run == 0 and run.attempt == 1 and not self.ledger.runs[run.id]
        # A claim may take its time; a worker that slept has looked at the clock before.
        if first and sent.expires_at and now > sent.expires_at + 15 and not run.worker.was_paused_during(run):
            self.ledger.breaks("a task too old at its first attempt does not run", f"{run.id} at {now}")
        if sent.group is None or run.run:
            return
        for earlier in self.groups[sent.group][: sent.place]:
            record = drive(self.truth.get(earlier, now=now))
            if record is None or (record.run == 0 and not record.status.terminal):
                self.ledger.breaks("order holds within a group", f"{run.id} before {earlier}: {record}")


class _Handed:
    """The services that `app` hands to producers."""

    def __init__(self, storm: Storm) -> None:
        self._services = Services(AsyncFlow(storm.clock), lambda: storm.broker, lambda: storm.results, _nothing)

    async def on_loop(self, *, waiting: bool = False) -> Services:
        return self._services


async def _nothing() -> None:
    return


def _declare(storm: Storm) -> dict[str, Any]:
    quick = Retry(max_attempts=4, backoff=4, max_delay=120, give_up_on=(NotWorthIt,))

    def declare(name: str, **options: Any) -> Any:
        async def function(context: TaskContext) -> str:
            return await storm.work(context)

        return storm.app.task(name=name, **{"retry": quick, "queue": "default", **options})(function)

    return {
        "job": declare("job"),
        "once": declare("once", retry=Retry(max_attempts=1)),
        "noted": declare("noted", record="queued"),
        "timed": declare("timed", timeout=20),
        "unfenced": declare("unfenced", record="finished"),
        "unrecorded": declare("unrecorded", record="none"),
        "entry": declare("entry", queue="ledger.fifo"),
    }
