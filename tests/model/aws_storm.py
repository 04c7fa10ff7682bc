"""The same storm over moto's queues and table, with the faults at the port to AWS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.backends import get_backend

from taskq_sls.aws.blocking import BlockingAws
from taskq_sls.brokers.sqs import SqsBroker
from taskq_sls.core.flow import AsyncFlow, Flow, drive
from taskq_sls.deploy.provision import provision
from taskq_sls.results.dynamodb.backend import DynamoResults
from taskq_sls.testing import FaultyPort
from tests.model.aws_witness import MotoTruth, WitnessedPort
from tests.model.sim_worker import BeatFlow
from tests.model.storm import Storm


class AwsStorm(Storm):
    """A storm whose backends are SqsBroker and DynamoResults. Runs inside of `mock_aws`."""

    def wire(self) -> None:
        real = BlockingAws(self.clock)
        settings = self.app.settings
        drive(provision(real, settings, list(self.app.queues.values())))
        witnessed = WitnessedPort(real, self.ledger, self.clock)
        faulty = FaultyPort(witnessed, self.faults)
        sqs, dynamodb = faulty.client("sqs"), faulty.client("dynamodb")

        def broker(flow: Flow) -> Any:
            return SqsBroker(sqs, flow, settings, self.clock, real.describe)

        def results(client: Any, flow: Flow) -> DynamoResults:
            return DynamoResults(client, flow, settings.table, real.describe)

        self.truth = witnessed.truth = MotoTruth(settings.table)
        self.broker, self.results = broker(AsyncFlow(self.clock)), results(dynamodb, AsyncFlow(self.clock))
        self.beat_broker, self.beat_results = broker(BeatFlow(self.clock)), results(dynamodb, BeatFlow(self.clock))
        backend = get_backend("sqs")
        self._queues: Callable[[str], Any] = lambda name: next(
            regions[region].queues[settings.queue_name(name)]
            for regions in backend.values()
            for region in regions
            if settings.queue_name(name) in regions[region].queues
        )

    def calm_down(self) -> None:
        self.calm = True
        self.faults.calm()

    def next_visible(self, queue: str) -> float | None:
        times = [max(message.visible_at, message.delayed_until) for message in self._queues(queue)._messages]
        # moto shows a message in the millisecond after its time.
        return (min(times) + 1) / 1000 if times else None

    def bodies(self, queue: str) -> list[str]:
        return [message.body for message in self._queues(queue)._messages]
